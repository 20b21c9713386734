/* SPDX-License-Identifier: MIT */
/*
 * The lock logs of the container's processes (lib/locklog.h), as the collector wants them: found as processes
 * come, drained behind the ring, switched on at the first cut. Processes without one have none.
 */
#ifndef RRC_LOCKS_H
#define RRC_LOCKS_H

#include <stdint.h>

#include "err.h"
#include "record.h"

struct rrc_locks;

enum rrc_locks_taken {
	RRC_LOCKS_PARENTS, /* a forked child has its parent's still */
	RRC_LOCKS_TAKEN,
	RRC_LOCKS_KNOWN, /* of this process, from before */
};
struct rrc_locklog;

/* For the processes of this pid namespace. NULL: no memory. */
struct rrc_locks *rrc_locks_new(uint64_t pidns);

/* Recording goes off in all of them: what they do from here on is not in any log. */
void rrc_locks_free(struct rrc_locks *l);

/* The same for what a killed run left: its processes wait for room in their rings. */
void rrc_locks_off(uint64_t pidns);

/* Sees each record of the log: births, deaths and new programs change which logs there are. */
void rrc_locks_seen(struct rrc_locks *l, const struct rrc_rec *rec);

/* Takes out what the processes wrote, each slot's as one record. The ring was drained before (rule 1, and
 * locklog.h on why in this order). Negative: the first failure of `emit`. */
int rrc_locks_drain(struct rrc_locks *l, int (*emit)(void *ctx, const struct rrc_rec *rec),
		    void *ctx);

/* From any thread: this log is there, its process stands still; executed: a new program brought it. Ours to close only
 * if it was taken. */
enum rrc_locks_taken rrc_locks_take(struct rrc_locks *l, const struct rrc_locklog *ll,
				    int executed);

/* Processes that came and went unseen, with what they recorded (rule 4). */
uint64_t rrc_locks_lost(const struct rrc_locks *l);

/* At a cut, all threads stopped and drained: recording goes on in processes where it was not. */
void rrc_locks_on(struct rrc_locks *l);

#endif
