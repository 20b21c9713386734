/* SPDX-License-Identifier: MIT */
/*
 * The collector: takes the records out of the ring, in ring order, and gives them on as log frames
 * with their positions. Knows where barriers are. One thread, no locks: this is the hot path.
 */
#ifndef RRC_COLLECTOR_H
#define RRC_COLLECTOR_H

#include <stddef.h>
#include <stdint.h>

#include "changes.h"
#include "err.h"
#include "locks.h"
#include "record.h"
#include "syscalls.h"

struct rrc_recorder;
struct rrc_collector;
struct rrc_locklog;

struct rrc_collector_opts {
	struct rrc_recorder *recorder;
	uint64_t pidns;
	struct rrc_changes *changes; /* sees all records; may be NULL */
	/* A frame is ready: position of its first byte is known to the frame. Non-zero is an error. */
	int (*emit)(void *ctx, const void *frame, size_t len);
	void *ctx;
};

struct rrc_collector *rrc_collector_new(const struct rrc_collector_opts *o, struct rrc_error *err);
void rrc_collector_free(struct rrc_collector *c);

/* Takes in all that was placed before this call (rule 1: up to the producer position) and emits it.
 * `stamp` is the time that the frame carries, ns. */
int rrc_collector_drain(struct rrc_collector *c, uint64_t stamp);

/* Places the cut of checkpoint `number`, all that came before it emitted. No thread of the container may be
 * running. *pos gets its position; from it on frames are emitted even if they were not before. */
int rrc_collector_cut(struct rrc_collector *c, uint64_t number, uint64_t stamp, uint64_t *pos);

/* From any thread: a process came that has a lock log, and has not gone on. See
 * rrc_locks_take(). */
enum rrc_locks_taken rrc_collector_take_locks(struct rrc_collector *c, const struct rrc_locklog *ll,
					      int executed);

/* Whether frames are emitted at all (not before the first cut of a log; not without a backup). */
void rrc_collector_emit(struct rrc_collector *c, int on);

/* End of the log: all before it was drained. */
uint64_t rrc_collector_pos(const struct rrc_collector *c);

/* Position of the first barrier that no checkpoint covers, UINT64_MAX if there is none; the number
 * of the call that raised it in *nr (may be NULL). */
uint64_t rrc_collector_barrier(const struct rrc_collector *c, unsigned int *nr);

/* A checkpoint with its cut at pos is committed: barriers before it are behind us. */
void rrc_collector_committed(struct rrc_collector *c, uint64_t cut_pos);

/* Calls that threads stand waiting in and will go on with by restart_syscall, as records. */
size_t rrc_collector_restarts(const struct rrc_collector *c, const struct rrc_rec *const **recs);

/* Since the last cut there was a call that may have changed the container's files. */
int rrc_collector_files_changed(const struct rrc_collector *c);

struct rrc_collector_stats {
	uint64_t records, raw_bytes, frame_bytes, frames, barriers, lost;
	uint64_t call_barriers[RRC_NSYS]; /* of these, raised by calls, and by what is no call */
	uint64_t kind_barriers[RRC_REC_KINDS];
};
const struct rrc_collector_stats *rrc_collector_stats(const struct rrc_collector *c);

#endif
