/* SPDX-License-Identifier: MIT */
/* The state of a stopped thread, as a delta carries it (lib/delta.h). */
#ifndef RRC_THREADS_H
#define RRC_THREADS_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "delta.h"
#include "err.h"

/* How the thread goes on in a copy, where the kernel knows nothing of the call that it was stopped in: begins
 * it again, or sees it broken off; as CRIU decides it. */
void rrc_thread_normalise(struct user_regs_struct *regs);

/* Registers and signal mask of stopped thread tid into t; pid and tid of t are the caller's. xsave:
 * RRC_DELTA_MAX_XSAVE bytes. 0 or negative errno. */
int rrc_thread_take(pid_t tid, struct rrc_delta_thread *t, uint8_t *xsave);

/* Signals that wait: no delta carries them. 0: none; -EAGAIN: they are about to be delivered; -EBUSY: they stay,
 * since they are blocked. shared: those of its process, too. */
int rrc_thread_pending(pid_t tid, int shared);

#endif
