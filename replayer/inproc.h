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
uint32_t rrc_inproc_fill(struct rrc_engine *e, struct tracee *t, int sig);

/*
 * A thread whose records alternate with those of others would stop before and after each few: where the kernel has
 * syscall user dispatch it waits in our code instead, by a futex call that stops nobody, until its turn has come. Then
 * t->at is ST_POSTED; calls that our code does not answer raise SIGSYS, which is as good as an entry stop.
 */

/* Does t, as it was filled, run so? */
bool rrc_inproc_dispatches(const struct tracee *t);

/* t is in a SIGSYS stop: is that what it is? */
bool rrc_inproc_dispatched(struct tracee *t);
void rrc_inproc_select(struct tracee *t, bool on);

/* Does anybody wait in our code whom we have not seen yet? */
bool rrc_inproc_posted(const struct rrc_engine *e);

/* Those who do stand at their calls now. */
int rrc_inproc_posts(struct rrc_engine *e, struct rrc_error *err);

/* t has its turn, and its record is passed by us: it goes on as rrc_inproc_fill() says. */
void rrc_inproc_count(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec);
int rrc_inproc_wake(struct tracee *t);

/* t has made a call for real that may have changed what becomes of SIGSYS. */
void rrc_inproc_made(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec);

/* t has stopped: passes the records of what it did. -EILSEQ: it cannot have done so. */
int rrc_inproc_sync(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* t got a signal that our code may have caused by what it found in the program's memory. 1: it stands at its call
 * again, and is to be resumed. */
int rrc_inproc_fault(struct rrc_engine *e, struct tracee *t, int sig);

/* All threads stand still, for good: everything is as if it had never been there. */
int rrc_inproc_remove(struct rrc_engine *e, struct rrc_error *err);

void rrc_inproc_free(struct rrc_engine *e);

#endif
