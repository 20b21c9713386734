// SPDX-License-Identifier: MIT
/* The lock log from outside: what is drained, settled and fed, on an area that no process has. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "locklog.h"
#include "util.h"

static struct rrc_locklog new_area(void)
{
	struct rrc_locklog ll = { 0 };

	ll.area = mmap(NULL, sizeof(*ll.area), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert(ll.area != MAP_FAILED);
	return ll;
}

static struct rrc_ll_event turn(uint32_t n, uint16_t lock, uint32_t owner, uint32_t changes)
{
	return (struct rrc_ll_event){ .n = n,
				      .kind = RRC_LL_MUTEX,
				      .lock = lock,
				      .value = (uint64_t)owner << RRC_LL_OWNER_SHIFT |
					       (uint64_t)changes << RRC_LL_CHANGES_SHIFT };
}

Test(locklog, word_fields)
{
	uint64_t w = turn(0, 0, 1022, 0x3fffffff).value | RRC_LL_GENERATION | 77;

	cr_assert_eq(RRC_LL_OWNER(w), 1022);
	cr_assert_eq(RRC_LL_CHANGES(w), 0x3fffffff);
	cr_assert_eq(RRC_LL_REPEATS(w), 77);
}

Test(locklog, drain_wraps)
{
	static struct rrc_ll_event room[RRC_LL_RING];
	struct rrc_locklog_batch b = { .events = room };
	struct rrc_locklog ll = new_area();
	struct rrc_ll_slot *s = &ll.area->slot[3];
	uint32_t i, start = UINT32_MAX - 10; /* the counters wrap, too */

	s->tail = start;
	for (i = 0; i < RRC_LL_RING; i++)
		ll.area->ring[3][(start + i) % RRC_LL_RING].n = i;
	s->head = start + RRC_LL_RING;
	s->ops = 9000;
	s->done = 8999;
	rrc_locklog_drain(&ll, 3, &b);
	cr_assert_eq(b.count, RRC_LL_RING);
	cr_assert_eq(b.ops, 9000);
	cr_assert_eq(b.done, 8999);
	for (i = 0; i < RRC_LL_RING; i++)
		cr_assert_eq(room[i].n, i);
	cr_assert_eq(s->tail, s->head);
	rrc_locklog_drain(&ll, 3, &b);
	cr_assert_eq(b.count, 0);
	rrc_locklog_close(&ll);
}

Test(locklog, settle_keeps_the_last_of_one_operation)
{
	struct rrc_ll_event e[] = { turn(1, 5, 0, 0), turn(2, 5, 0, 1), turn(2, 5, 3, 2),
				    turn(2, 5, 3, 4), turn(7, 5, 0, 9) };

	cr_assert_eq(rrc_locklog_settle(e, 5), 3);
	cr_assert_eq(e[0].n, 1);
	cr_assert_eq(RRC_LL_CHANGES(e[1].value), 4);
	cr_assert_eq(e[2].n, 7);
	cr_assert_eq(rrc_locklog_settle(e, 0), 0);
}

Test(locklog, events_get_the_time_that_their_counter_means)
{
	struct rrc_ll_moment first = { 1000000, 50000000 }, now = { 21000000, 60000000 };
	struct rrc_ll_event e[] = { turn(1, 5, 0, 0), turn(2, 5, 0, 1), turn(3, 5, 3, 2) };

	e[0].when = 20000000; /* two ticks a nanosecond */
	e[1].when = 21000200; /* another CPU's may be a little ahead */
	e[2].when = 0; /* a clock reading, say */
	rrc_locklog_times(e, 3, &first, &now);
	cr_assert_eq(e[0].when, 59500000);
	cr_assert_eq(e[1].when, 60000100);
	cr_assert_eq(e[2].when, 0);
	e[0].when = 1000100;
	now = (struct rrc_ll_moment){ 1000200, 50000100 };
	rrc_locklog_times(e, 1, &first, &now);
	cr_assert_eq(e[0].when, 0, "too near to know the counter's rate");
}

Test(locklog, a_moment_is_now)
{
	uint64_t before = rrc_now_ns(CLOCK_MONOTONIC);
	struct rrc_ll_moment a = rrc_locklog_moment(), b = rrc_locklog_moment();

	cr_assert(a.ns >= before && b.ns >= a.ns && b.tsc > a.tsc);
	cr_assert(b.ns <= rrc_now_ns(CLOCK_MONOTONIC));
}

static struct rrc_locklog_feed *feeds_of(struct rrc_ll_event *a, uint32_t done_a,
					 struct rrc_ll_event *b, uint32_t done_b)
{
	struct rrc_locklog_feed *f = calloc(RRC_LL_SLOTS, sizeof(*f));

	f[1] = (struct rrc_locklog_feed){ a, 1, a->n, done_a };
	f[2] = (struct rrc_locklog_feed){ b, 1, b->n, done_b };
	return f;
}

Test(locklog, a_turn_that_two_claim)
{
	struct rrc_ll_event a = turn(4, 9, 0, 6), b = turn(8, 9, 0, 6), c = turn(5, 9, 2, 7);
	struct rrc_locklog_feed *f = feeds_of(&a, 3, &b, 8);

	rrc_locklog_resolve(f); /* b had it */
	cr_assert_eq(f[1].count, 0);
	cr_assert_eq(f[1].total, 3);
	cr_assert_eq(f[2].count, 1);
	free(f);

	f = feeds_of(&a, 3, &b, 7); /* neither is done, but c came after slot 1's */
	f[4] = (struct rrc_locklog_feed){ &c, 1, 5, 5 };
	rrc_locklog_resolve(f);
	cr_assert_eq(f[1].count, 1);
	cr_assert_eq(f[2].count, 0);
	cr_assert_eq(f[2].total, 7);
	free(f);

	b = turn(8, 10, 0, 6); /* another lock: both stay */
	f = feeds_of(&a, 3, &b, 7);
	rrc_locklog_resolve(f);
	cr_assert_eq(f[1].count, 1);
	cr_assert_eq(f[2].count, 1);
	free(f);
}

Test(locklog, runs_are_as_long_as_the_next_owner_found_them)
{
	struct rrc_locklog ll = new_area();
	/* lock 7 is slot 1's at the cut, with 3 repeats; slot 2's turn at lock 9 was told before the cut */
	struct rrc_ll_event a[] = { turn(4, 7, 2, 21), turn(9, 9, 2, 6) };
	struct rrc_ll_event b[] = { turn(5, 7, 1, 20), turn(6, 7, 1, 22) };
	struct rrc_locklog_feed *f = feeds_of(a, 9, b, 6);
	uint32_t *runs;

	f[1].count = f[2].count = 2;
	a[0].value |= 4;
	a[1].value |= 1;
	b[0].value |= 8;
	ll.area->lock[7].word = turn(0, 0, 1, 20).value | 3;
	ll.area->lock[9].word = turn(0, 0, 1, 5).value;
	runs = rrc_locklog_runs(&ll, f);
	cr_assert(runs);
	cr_assert_eq(ll.area->limit[7], 9);
	cr_assert_eq(ll.area->limit[9], 2);
	cr_assert_eq(ll.area->limit[8], 0);
	cr_assert_eq(runs[0], 1, "slot 1 has it for a moment: change 22 finds no repeat");
	cr_assert_eq(runs[1], 0, "nobody takes lock 9 from slot 1 any more");
	cr_assert_eq(runs[2], 5);
	cr_assert_eq(runs[3], 0);
	free(runs);
	free(f);
	rrc_locklog_close(&ll);
}

Test(locklog, replay_and_live_change_every_word_that_matters)
{
	struct rrc_locklog ll = new_area();
	struct rrc_ll_area *a = ll.area;
	uint32_t i;

	a->lock[7].word = turn(0, 0, 3, 12).value | 5;
	a->slot[2].ops = 40;
	a->slots = 3;
	rrc_locklog_replay(&ll, 1000);
	cr_assert_eq(a->mode, RRC_LL_REPLAY);
	cr_assert_eq(a->patience_ns, 1000);
	cr_assert_eq(a->fed, 0);
	for (i = 0; i < RRC_LL_LOCKS; i++) /* also those that nobody took yet */
		cr_assert(a->lock[i].word & RRC_LL_GENERATION);
	cr_assert_eq(RRC_LL_CHANGES(a->lock[7].word), 12);
	rrc_locklog_feed(&ll, 2, 0x1000, 0, 0, 38);
	cr_assert_eq(a->slot[2].total, 40, "what was begun at the cut is not undone");
	rrc_locklog_fed(&ll);
	cr_assert_eq(a->fed, 1);
	a->lock[7].waiters = 1;
	rrc_locklog_live(&ll);
	cr_assert_eq(a->mode, RRC_LL_LIVE);
	cr_assert(!(a->lock[7].word & RRC_LL_GENERATION), "who goes to sleep now is woken");
	rrc_locklog_close(&ll);
}

Test(locklog, everything_has_a_name)
{
	uint32_t i;

	for (i = 0; i < RRC_LL_KINDS; i++)
		cr_assert_str_neq(rrc_locklog_kind((uint8_t)i), "unknown", "kind %u", i);
	for (i = 0; i <= RRC_LL_EXITED; i++)
		cr_assert(rrc_locklog_state(i), "state %u", i);
	cr_assert_str_eq(rrc_locklog_kind(RRC_LL_SEM | RRC_LL_PLAIN), "sem_wait");
	cr_assert_str_eq(rrc_locklog_kind(200), "unknown");
	cr_assert_str_eq(rrc_locklog_state(99), "unknown");
}

Test(locklog, no_area)
{
	struct rrc_locklog ll;
	struct rrc_error err = { 0 };

	cr_assert_eq(rrc_locklog_open(getpid(), &ll, &err), -ENOENT);
	cr_assert(ll.area == NULL);
}
