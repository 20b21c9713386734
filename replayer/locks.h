/* SPDX-License-Identifier: MIT */
/*
 * Lock order in replay: the processes that recorded it (lib/locklog.h) get their threads' events back, and
 * the library in them keeps the order. The engine only looks when one parks, waits for its feed or stops.
 */
#ifndef RRC_REPLAYER_LOCKS_H
#define RRC_REPLAYER_LOCKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct rrc_engine;
struct tproc;
struct tracee;
struct rrc_locklog;

/* Is there a lock log in this process? Then its clock readings are in it too. */
int rrc_locks_in(pid_t pid);

/* All threads of all processes are stopped and the log is indexed: every process with a lock log is fed. */
int rrc_locks_take(struct rrc_engine *e, struct rrc_error *err);

/* t has closed a descriptor and its process executed a new program: if that was the library's last call of
 * its set-up, and the program recorded from there on, it is fed. */
int rrc_locks_started(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* The process executes a new program: its lock log is gone. */
void rrc_locks_exec(struct rrc_engine *e, struct tproc *p);

/* t stands at a futex call. A forked child that waits for its feed gets it; a thread that finds another
 * operation than the log has, or the end of its events before that of its calls, has diverged. */
int rrc_locks_at_futex(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* For a report: what t's slot of the lock log says, or "". */
void rrc_locks_describe(const struct rrc_engine *e, const struct tracee *t, char *buf, size_t size);

/* The lock log has operations of t that it has not done: it left the call that it stood in. */
bool rrc_locks_goes_on(const struct rrc_engine *e, const struct tracee *t);

/* t's lock log and slot in it. false: it has none. */
bool rrc_locks_slot(const struct rrc_engine *e, const struct tracee *t,
		    const struct rrc_locklog **ll, uint32_t *slot);

/* When t read the clock before its next call, 0 if it did not. The reading has its place in the order, so t is held
 * there. */
uint64_t rrc_locks_reads_clock(const struct rrc_engine *e, const struct tracee *t);

/* t is in no wait of its lock log (any more), or its clock reading has to wait for nothing but its turn. */
bool rrc_locks_runs(const struct rrc_engine *e, const struct tracee *t);

/* Does t run its own code, or is it about to, since what it waited for is there? */
bool rrc_locks_moves(const struct rrc_engine *e, const struct tracee *t);

/* t waits before this operation of its lock log; 0: it goes on. */
void rrc_locks_hold(struct rrc_engine *e, const struct tracee *t, uint32_t op);

/* Does it wait because it was asked to, and for nothing else? */
bool rrc_locks_held(const struct rrc_engine *e, const struct tracee *t);

/* Who is to blame that t waits for its turn: the thread before it, and the operation that it did not do. false:
 * nobody else. */
bool rrc_locks_blame(struct rrc_engine *e, const struct tracee *t, const struct tracee **whom,
		     uint32_t *op);

/* All threads stand still and calls are about to be made for real: so are operations on locks. */
void rrc_locks_live(struct rrc_engine *e);

void rrc_locks_free(struct rrc_engine *e);

#endif
