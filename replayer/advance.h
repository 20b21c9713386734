/* SPDX-License-Identifier: MIT */
/*
 * Brings a stopped tree (restored, no instruction executed) on to a later checkpoint without executing the
 * program: the log's calls that left something in the kernel are made in it, pages and registers are put in.
 * Between begin and end its threads are held by ptrace; before and after they are in a group stop.
 */
#ifndef RRC_ADVANCE_H
#define RRC_ADVANCE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "delta.h"
#include "err.h"
#include "record.h"

struct rrc_advance;

/* Takes hold of the tree whose root is init. The same thread must go on until the end (ptrace). */
struct rrc_advance *rrc_advance_begin(pid_t init, struct rrc_error *err);

/* Makes these calls (checked records that rrc_carry_of() says leave something), in log order. */
int rrc_advance_calls(struct rrc_advance *a, const struct rrc_rec *const *recs, size_t n,
		      struct rrc_error *err);

/* data NULL: zeros. Pages are put in when enough are there, and at the end. */
int rrc_advance_page(struct rrc_advance *a, uint32_t pid, uint64_t addr, const uint8_t *data,
		     struct rrc_error *err);
int rrc_advance_stack(struct rrc_advance *a, const struct rrc_delta_stack *s,
		      struct rrc_error *err);
int rrc_advance_thread(struct rrc_advance *a, const struct rrc_delta_thread *t,
		       const uint8_t *xsave, struct rrc_error *err);

/* Lets go: the tree is in a group stop again. whole: every thread must have got its registers. On an error the
 * tree is good for nothing. Frees a. */
int rrc_advance_end(struct rrc_advance *a, int whole, struct rrc_error *err);

#endif
