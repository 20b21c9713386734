/* SPDX-License-Identifier: MIT */
/* The length of epochs: long where little is recorded, short enough for the limit, at once when it must be. */
#include <criterion/criterion.h>

#include "epoch.h"

#define MS	1000000ull
#define SILENCE (90 * MS)

static uint64_t choose(uint64_t limit, uint64_t epoch, uint64_t took, uint64_t records)
{
	struct rrc_epoch_seen s = { epoch, took, records, 1000 * MS };

	return rrc_epoch_choose(limit, SILENCE, &s);
}

/* As it settles when nothing changes. */
static uint64_t settled(uint64_t limit, uint64_t took, uint64_t records)
{
	uint64_t epoch = 100 * MS;

	for (int i = 0; i < 40; i++)
		epoch = choose(limit, epoch, took, records);
	return epoch;
}

Test(epoch, little_is_recorded_so_epochs_are_long)
{
	cr_assert_eq(settled(1000 * MS, 10 * MS, 0), RRC_EPOCH_MOST_NS);
	cr_assert_eq(settled(1000 * MS, 10 * MS, 100), RRC_EPOCH_MOST_NS);
	cr_assert_eq(choose(1000 * MS, 100 * MS, 10 * MS, 100), 200 * MS, "it grows step by step");
}

/* Replay of an epoch and of what came during the next checkpoint, silence and the rest are below the limit. */
Test(epoch, a_recovery_stays_below_the_limit)
{
	for (uint64_t limit = 500; limit <= 3000; limit += 500)
		for (uint64_t took = 10; took <= 200; took += 95)
			for (uint64_t records = 10000; records <= 1000000; records *= 3) {
				uint64_t e = settled(limit * MS, took * MS, records);
				double replay = (double)records * RRC_EPOCH_RECORD_NS / 1e9;
				double all = (double)(e + took * MS) * (replay < 1 ? replay : 1) +
					     SILENCE + RRC_EPOCH_FIXED_NS;

				cr_assert(all <= (double)(limit * MS) || e == RRC_EPOCH_LEAST_NS,
					  "limit %d, took %d, records %d: %d ms", (int)limit,
					  (int)took, (int)records, (int)(e / MS));
				cr_assert(e == RRC_EPOCH_MOST_NS || e == RRC_EPOCH_LEAST_NS ||
						  all >= (double)(limit * MS) * 0.5,
					  "shorter than it need be: %d ms", (int)(e / MS));
			}
}

Test(epoch, more_load_shortens_it_at_once)
{
	cr_assert_leq(choose(1000 * MS, 5000 * MS, 10 * MS, 1000000), 750 * MS);
	cr_assert_eq(choose(1000 * MS, 700 * MS, 2000 * MS, 1000000), RRC_EPOCH_LEAST_NS);
	cr_assert_eq(choose(200 * MS, 100 * MS, 10 * MS, 1), RRC_EPOCH_LEAST_NS,
		     "a limit that cannot be kept");
	cr_assert_gt(settled(2000 * MS, 50 * MS, 1000000), settled(1000 * MS, 50 * MS, 1000000));
}

/* A long epoch was begun, and then there was load. */
Test(epoch, load_that_comes_ends_an_epoch)
{
	struct rrc_epoch_seen s = { 5000 * MS, 20 * MS, 0, 4000 * MS };

	cr_assert_not(rrc_epoch_over(1000 * MS, SILENCE, &s), "nothing was recorded");
	s.records = 100000;
	cr_assert_not(rrc_epoch_over(1000 * MS, SILENCE, &s), "half a second of replay");
	s.records = 155000;
	cr_assert(rrc_epoch_over(1000 * MS, SILENCE, &s));
	s = (struct rrc_epoch_seen){ 5000 * MS, 20 * MS, 1000000, 700 * MS };
	cr_assert_not(rrc_epoch_over(1000 * MS, SILENCE, &s),
		      "a replay takes no longer than it did");
	s.over_ns = 730 * MS;
	cr_assert(rrc_epoch_over(1000 * MS, SILENCE, &s));
	s.over_ns = RRC_EPOCH_LEAST_NS - 1;
	cr_assert_not(rrc_epoch_over(1, SILENCE, &s), "but not all the time");
}
