/* SPDX-License-Identifier: MIT */
/*
 * Pipes and eventfds are emulated while replaying: nothing moves in the kernel. What went in and out
 * by the log is remembered, and put right in the kernel at go-live: contents at the checkpoint, plus
 * what was written, minus what was read.
 */
#ifndef RRC_PIPES_H
#define RRC_PIPES_H

#include "tracee.h"

/* The record is of a call that moved bytes: remembers them if they went into or out of such an object.
 * Others are left alone. */
int rrc_pipes_note(struct rrc_engine *e, const struct tracee *t, const struct rrc_rec *rec);

/* Puts all of them right. */
int rrc_pipes_settle(struct rrc_engine *e, struct rrc_error *err);

void rrc_pipes_free(struct rrc_engine *e);

#endif
