/* SPDX-License-Identifier: MIT */
/*
 * A helper inside the container's pid namespace that says which id the next task there gets: only from
 * inside can that be set. It has an id far from the others, and goes away at the end.
 */
#ifndef RRC_NSPID_H
#define RRC_NSPID_H

#include <sys/types.h>

#include "err.h"

struct rrc_nspid;

/* Starts it in the pid namespace of process init. */
struct rrc_nspid *rrc_nspid_new(pid_t init, struct rrc_error *err);

/* The next task of the namespace gets this id, if it is free. */
int rrc_nspid_next(struct rrc_nspid *h, pid_t id, struct rrc_error *err);

void rrc_nspid_free(struct rrc_nspid *h);

#endif
