/* SPDX-License-Identifier: MIT */
/*
 * Keeps every process of the container patched: clocks are read through real calls (lib/vdso.h) from
 * the first instruction of a new program on. A thread of ours traces the container's threads for
 * exec and birth events only; calls are not stopped. It lets go while CRIU works, since a task has
 * one tracer.
 */
#ifndef RRC_EXECWATCH_H
#define RRC_EXECWATCH_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "locks.h"

struct rrc_execwatch;
struct rrc_locklog;

/* Patches all processes of the pid namespace, turns address randomisation off for what they execute
 * later, and watches. `patched` is called, from the watcher's thread, with the process id (from
 * here) whenever a process has become patched. */
struct rrc_execwatch_calls {
	void (*patched)(void *ctx, pid_t pid);
	/* A new process begins to record its locks and clock (lib/locklog.h); it is stopped. See
	 * rrc_locks_take(). */
	enum rrc_locks_taken (*recording)(void *ctx, const struct rrc_locklog *ll, int executed);
	/* The watcher has all threads, or is about to let go of them. */
	void (*watched)(void *ctx, int on);
	/* Does the log say that this stopped thread's wait was broken off by the watcher, and goes on? Since when it
	 * waits, CLOCK_MONOTONIC. May be NULL: it never does. */
	int (*broken_off)(void *ctx, pid_t tid, uint64_t *began_ns);
	void *ctx;
};
struct rrc_execwatch *rrc_execwatch_start(uint64_t pidns, const struct rrc_execwatch_calls *calls,
					  struct rrc_error *err);

/* Lets go of all threads; they run on. Needed before a dump. */
int rrc_execwatch_release(struct rrc_execwatch *w, struct rrc_error *err);

/* Takes hold again, and patches what came meanwhile. */
int rrc_execwatch_resume(struct rrc_execwatch *w, struct rrc_error *err);

/* Stops all threads for as long as a function takes, which runs in the watcher's thread, so it may use ptrace on
 * them; then they go on, whatever it returned. Signals that come meanwhile are kept. -EBUSY: a thread cannot be
 * stopped, or not as a checkpoint wants it, within a few milliseconds: try again later. */
struct rrc_freeze {
	int (*frozen)(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err);
	void *ctx;
	uint64_t asked_ns, frozen_ns, resumed_ns; /* CLOCK_MONOTONIC: filled */
};
int rrc_execwatch_freeze(struct rrc_execwatch *w, struct rrc_freeze *f, struct rrc_error *err);

/* 0: all threads are as a checkpoint wants them; -EBUSY: not just now (a new program is starting). */
int rrc_execwatch_settled(struct rrc_execwatch *w, struct rrc_error *err);

/* While everything is frozen by CRIU: patches what is not patched. Returns how many there were. */
int rrc_execwatch_patch_frozen(struct rrc_execwatch *w, struct rrc_error *err);

/* Process 1 of the namespace, if it is our child, is reaped by whoever traces it. 1: the watcher did, here is
 * its wait status; 0: it did not. */
int rrc_execwatch_init_status(struct rrc_execwatch *w, int *status);

/* Lets go and ends the thread; undo: vDSO and personality as they were. */
void rrc_execwatch_stop(struct rrc_execwatch *w, int undo);

/* Undoes what a killed run left in the processes of a pid namespace. */
int rrc_execwatch_undo(uint64_t pidns, struct rrc_error *err);

#endif
