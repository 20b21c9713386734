/* SPDX-License-Identifier: MIT */
/*
 * Other timing, on purpose (rule 5). Where a replay diverged, some thread met another one's unsynchronised write
 * earlier or later than on the primary. The next attempt holds that thread back there, or lets it run ahead, each
 * time a little differently; what got it past the place is kept for the attempts that follow.
 */
#ifndef RRC_NUDGE_H
#define RRC_NUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rrc_engine;
struct rrc_engine_report;
struct tracee;

/* Where a thread went another way than in the log. */
struct rrc_place {
	uint32_t tid; /* in the container; 0: no thread is to blame */
	uint32_t
		after; /* index of the record that it ran on from; UINT32_MAX: from the checkpoint */
	uint32_t op; /* its operation of the lock log; 0: it was at a call */
	uint64_t head; /* records that were passed */
};

enum rrc_nudge_how {
	RRC_NUDGE_NONE,
	RRC_NUDGE_HOLD, /* before an operation of the lock log: until nobody else moves */
	RRC_NUDGE_DELAY, /* before it runs on from the record: so long, or until nobody else moves */
	RRC_NUDGE_FIRST, /* its way to the next call comes before all that overlapped it … */
	RRC_NUDGE_LAST, /* … or after them (later.h) */
	RRC_NUDGE_RUSH, /* it runs on and others do not until it comes to its next call */
};

struct rrc_nudge {
	struct rrc_place at;
	enum rrc_nudge_how how;
	uint32_t op;
	uint64_t ns; /* 0: until nobody else moves */
	unsigned int step;
};

#define RRC_NUDGES 64
#define RRC_PLACES 8 /* so many times the attempts that one place is worth, on the whole */

/* What the attempts on one checkpoint have taught so far. Zeroed at first. */
struct rrc_nudges {
	struct rrc_nudge list[RRC_NUDGES];
	size_t n;
	bool careful; /* every event of the lock logs has its place, and one thread runs at a time (clockmarks.h) */
	unsigned int first; /* which thread starts first after the checkpoint */
};

/* After a divergence. false: `limit` attempts at this place were in vain, or nothing is left to try. */
bool rrc_nudges_learn(struct rrc_nudges *n, const struct rrc_place *where, unsigned int limit);

/* t is about to run on from its record (or, UINT32_MAX, from the checkpoint). true: it must not yet, and is let
 * go later. */
bool rrc_nudge_resuming(struct rrc_engine *e, struct tracee *t, uint32_t record);

/* What was asked for t's way to its next call from there, for later.h: FIRST, LAST or NONE. */
enum rrc_nudge_how rrc_nudge_order(const struct rrc_engine *e, const struct tracee *t,
				   uint32_t record);

/* The next call of a way that is to be the first of those that overlap it and begins between these times (of
 * the primary): when it was made. 0: there is none. */
uint64_t rrc_nudge_first(const struct rrc_engine *e, uint64_t from_ns, uint64_t to_ns);

/* t's lock log stops it where it was asked to. */
void rrc_nudge_held(struct rrc_engine *e, struct tracee *t);

/* The head has to wait, for one that runs ahead: until when, CLOCK_MONOTONIC in ns, or 0. */
uint64_t rrc_nudge_rush(struct rrc_engine *e);

/* When the engine has to look again because somebody is held, ns from now; 0: nobody is. */
uint64_t rrc_nudge_look(const struct rrc_engine *e);

/* Lets go who was held long enough; quiet: nothing else moved meanwhile. 1: somebody was let go. */
int rrc_nudge_release(struct rrc_engine *e, bool quiet);

#endif
