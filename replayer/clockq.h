/* SPDX-License-Identifier: MIT */
/*
 * Clock readings answered inside the program. More than half of a server's records are readings of the
 * clock, and each costs two context switches when ptrace answers it. The first thread of a process
 * finds its readings, in their order, in a page of its own instead: the vDSO's entry points lead to a
 * few instructions that take the next. Everything else (another thread, another argument, an empty
 * page) makes the call as before, and the engine sees it.
 */
#ifndef RRC_CLOCKQ_H
#define RRC_CLOCKQ_H

#include "tracee.h"

/* t stands at a call that is being emulated: the moment to give its process the page, if it has none, makes
 * no other processes and executes nothing from here on. One that cannot have it does without. */
int rrc_clockq_offer(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* t has stopped: passes the records of what it took. -EILSEQ: it took one that was not its next. */
int rrc_clockq_sync(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

/* The record at t->next_rec is being passed by the engine itself. */
int rrc_clockq_took(struct rrc_engine *e, struct tracee *t);

/* Where the instructions of a process are, if it has any: 1 and the range, or 0. */
int rrc_clockq_range(const struct rrc_engine *e, const struct tproc *p, uint64_t *start,
		     uint64_t *end);

/* Takes the page away; nobody may stand in it. */
void rrc_clockq_remove(struct rrc_engine *e, const struct tproc *p);

void rrc_clockq_free(struct rrc_engine *e);

#endif
