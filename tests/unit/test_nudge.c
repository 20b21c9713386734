// SPDX-License-Identifier: MIT
/* What the attempts on one checkpoint learn from each other. */
#include <criterion/criterion.h>

#include "../../replayer/nudge.h"

static struct rrc_place at(uint32_t tid, uint32_t after, uint32_t op, uint64_t head)
{
	return (struct rrc_place){ tid, after, op, head };
}

Test(nudge, the_second_attempt_is_careful_and_nothing_else)
{
	struct rrc_nudges n = { 0 };
	struct rrc_place p = at(13, 90, 7126, 100);

	cr_assert(rrc_nudges_learn(&n, &p, 1));
	cr_assert(n.careful);
	cr_assert_eq(n.n, 0);
	cr_assert_eq(n.first, 0);
}

Test(nudge, the_way_comes_first_then_an_operation_is_held_back)
{
	struct rrc_nudges n = { .careful = true };
	struct rrc_place p = at(13, 90, 7126, 100);

	cr_assert(rrc_nudges_learn(&n, &p, 8));
	cr_assert_eq(n.n, 1);
	cr_assert_eq(n.list[0].how, RRC_NUDGE_FIRST);
	cr_assert(rrc_nudges_learn(&n, &p, 8));
	cr_assert_eq(n.n, 1);
	cr_assert_eq(n.list[0].how, RRC_NUDGE_HOLD);
	cr_assert_eq(n.list[0].op, 7125);
	cr_assert_eq(n.list[0].at.tid, 13);
	cr_assert_eq(n.list[0].at.after, 90);
}

Test(nudge, the_same_place_is_tried_in_other_ways)
{
	struct rrc_nudges n = { .careful = true };
	struct rrc_place p = at(13, 90, 7126, 100);
	struct rrc_nudge before;

	rrc_nudges_learn(&n, &p, 8);
	for (unsigned int i = 1; i < 8; i++) {
		before = n.list[0];
		cr_assert(rrc_nudges_learn(&n, &p, 8), "try %u", i);
		cr_assert_eq(n.n, 1, "one place is one nudge");
		cr_assert(before.how != n.list[0].how || before.op != n.list[0].op,
			  "try %u is another one", i);
	}
	cr_assert_not(rrc_nudges_learn(&n, &p, 8), "eight were in vain");
}

Test(nudge, what_got_past_a_place_is_kept)
{
	struct rrc_nudges n = { .careful = true };
	struct rrc_place first = at(13, 90, 7126, 100), second = at(7, 300, 0, 400);
	struct rrc_nudge kept;

	rrc_nudges_learn(&n, &first, 8);
	rrc_nudges_learn(&n, &first, 8);
	kept = n.list[0];
	cr_assert(rrc_nudges_learn(&n, &second, 8));
	cr_assert_eq(n.n, 2);
	cr_assert_eq(n.list[0].how, kept.how);
	cr_assert_eq(n.list[0].op, kept.op);
	cr_assert_eq(n.list[1].at.tid, 7);
}

Test(nudge, an_earlier_place_than_before_is_no_progress)
{
	struct rrc_nudges n = { .careful = true };
	struct rrc_place far = at(13, 90, 7126, 100), near = at(7, 20, 0, 30);

	rrc_nudges_learn(&n, &far, 8);
	cr_assert(rrc_nudges_learn(&n, &near, 8));
	cr_assert_eq(n.n, 1);
	cr_assert_eq(n.list[0].at.tid, 13, "the place that is to be passed stays");
}

Test(nudge, at_the_checkpoint_another_thread_starts_first)
{
	struct rrc_nudges n = { .careful = true };
	struct rrc_place p = at(13, UINT32_MAX, 0, 0);

	rrc_nudges_learn(&n, &p, 8);
	cr_assert_eq(n.first, 1);
	rrc_nudges_learn(&n, &p, 8);
	cr_assert_eq(n.first, 2);
}

Test(nudge, nobody_to_blame_ends_as_well)
{
	struct rrc_nudges n = { .careful = true };
	struct rrc_place p = at(0, UINT32_MAX, 0, 5);
	unsigned int tries = 0;

	while (rrc_nudges_learn(&n, &p, 8) && tries < 100)
		tries++;
	cr_assert_lt(tries, 100);
	cr_assert_geq(tries, 1);
}

Test(nudge, places_are_bounded)
{
	struct rrc_nudges n = { .careful = true };
	size_t i = 0;

	for (; i < 10000; i++) {
		struct rrc_place p = at(3, (uint32_t)i, 0, i + 1);

		if (!rrc_nudges_learn(&n, &p, 8))
			break;
	}
	cr_assert_eq(i, RRC_NUDGES);
	cr_assert_eq(n.n, RRC_NUDGES);
}
