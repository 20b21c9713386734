/* SPDX-License-Identifier: MIT */
/* Held packets: none leaves before its position is safe (rule 1), all that may leave do, in one verdict. */
#include <criterion/criterion.h>

#include "../../user/hold.h"

Test(hold, nothing_leaves_before_its_position)
{
	struct rrc_hold *h = rrc_hold_new();
	uint32_t id = 0;

	cr_assert_eq(rrc_hold_push(h, 1, 1, 100, 0), 0);
	cr_assert_eq(rrc_hold_push(h, 4, 3, 200, 0), 0);
	cr_assert_eq(rrc_hold_pop(h, 99, 10, &id), 0);
	cr_assert_eq(rrc_hold_count(h), 4u);
	cr_assert_eq(rrc_hold_pop(h, 199, 10, &id), 1);
	cr_assert_eq(id, 1u);
	cr_assert_eq(rrc_hold_pop(h, 200, 20, &id), 1);
	cr_assert_eq(id, 4u);
	cr_assert_eq(rrc_hold_count(h), 0u);
	rrc_hold_free(h);
}

Test(hold, one_verdict_for_all_that_may_leave_and_growth_keeps_order)
{
	struct rrc_hold *h = rrc_hold_new();
	uint32_t id = 0;

	for (uint32_t i = 1; i <= 5000; i++)
		cr_assert_eq(rrc_hold_push(h, i, 1, i, i), 0);
	cr_assert_eq(rrc_hold_pop(h, 4321, 10000, &id), 1);
	cr_assert_eq(id, 4321u);
	cr_assert_eq(rrc_hold_count(h), 679u);
	cr_assert_eq(rrc_hold_stats(h)->packets, 4321u);
	cr_assert_eq(rrc_hold_stats(h)->max_ns, 9999u);
	rrc_hold_free(h);
}
