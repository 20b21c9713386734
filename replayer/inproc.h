/* SPDX-License-Identifier: MIT */
/*
 * Calls answered inside the program. ptrace answers one at the price of two context switches and several more calls
 * of ours; a server under load makes hundreds of thousands that the log answers. So the engine tells a thread,
 * each time that it lets it run, which calls come next as long as no other thread's record comes between: the
 * places in libc that make such calls lead to our code in the program, which compares number, arguments and
 * bytes, writes the results and goes on. Whatever is not so is a real call, which the engine sees and judges as ever.
 * Nothing of this is there any more at go-live.
 */
#ifndef RRC_INPROC_H
#define RRC_INPROC_H

#include "tracee.h"

/* t stands at a call that is being emulated: the moment to bring the code into its process, if that is
 * worth it and can be done. */
int rrc_inproc_offer(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* t is about to run on: it gets its next calls, if it may have any. The first record that it has to come to the
 * engine with; t->next_rec if it got none. */
uint32_t rrc_inproc_fill(struct rrc_engine *e, struct tracee *t);

/* t has stopped: passes the records of what it did. -EILSEQ: it cannot have done so. */
int rrc_inproc_sync(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* t got a signal that our code may have caused by what it found in the program's memory. 1: it stands at its call
 * again, and is to be resumed. */
int rrc_inproc_fault(struct rrc_engine *e, struct tracee *t, int sig);

/* All threads stand still, for good: everything is as if it had never been there. */
int rrc_inproc_remove(struct rrc_engine *e, struct rrc_error *err);

void rrc_inproc_free(struct rrc_engine *e);

#endif
