/* SPDX-License-Identifier: MIT */
/* A process that stands still, and functions of its own called in one of its threads: for what it must do itself,
 * such as loading an object. */
#ifndef RRC_REMOTECALL_H
#define RRC_REMOTECALL_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "err.h"

struct rrc_stopped {
	pid_t pid;
	int n;
	pid_t *tids;
	struct user_regs_struct *regs; /* as they are to go on */
	uint64_t
		restorer; /* of its libc, where handlers of signals return to: rrc_remote_restorer() */
};

/* Finds it between these addresses of process pid; 0: it is not there. */
uint64_t rrc_remote_restorer(pid_t pid, uint64_t from, uint64_t to);

/* Stops all threads. 0 or negative errno; -ESRCH: it is gone. */
int rrc_stop_process(pid_t pid, struct rrc_stopped *s, struct rrc_error *err);

/* Lets them go on; a call that our stop broke off begins again, so that nobody sees EINTR for nothing. keep: index
 * of one that stays, or -1 for none. */
void rrc_go_on(struct rrc_stopped *s, int keep);

/* Lets the kept one go on, and forgets all. */
void rrc_stopped_free(struct rrc_stopped *s);

/* Calls fn in thread i, on its own stack, with its signals blocked. Others may run or not. Its registers are
 * what they were. The caller takes care that fn ends. To the thread it is as a signal's handler: if we are killed
 * meanwhile, it goes on as if there had been none. So there is no result but what fn leaves in memory. */
int rrc_remote_call(struct rrc_stopped *s, int i, uint64_t fn, const uint64_t args[2],
		    struct rrc_error *err);

/* Where bytes may be put on thread i's stack, at most RRC_REMOTE_ROOM, that a call there does not overwrite. */
#define RRC_REMOTE_ROOM 4096
uint64_t rrc_remote_room(const struct rrc_stopped *s, int i);

/* Whether the stack of thread i has room for a call that does much. */
int rrc_remote_has_stack(const struct rrc_stopped *s, int i);

#endif
