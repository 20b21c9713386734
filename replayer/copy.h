/* SPDX-License-Identifier: MIT */
/*
 * What happened to the container since the last whole checkpoint, up to the newest committed one: calls to be
 * made again, the newest bytes of every page that changed, registers. With the whole checkpoint's images it makes
 * the newest one, any number of times; memory is bounded by what the container has.
 */
#ifndef RRC_COPY_H
#define RRC_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "advance.h"
#include "err.h"
#include "record.h"

struct rrc_copy;

struct rrc_copy *rrc_copy_new(void);
void rrc_copy_free(struct rrc_copy *c);

/* Where the heap of a process ends at the whole checkpoint: what brk(2) takes away cannot be told otherwise. Without
 * it an epoch with such a call is refused. 0 or -ENOMEM. */
int rrc_copy_heap(struct rrc_copy *c, uint32_t pid, uint64_t end);

/* An epoch's log and its delta (checked), made ready: the copy is as it was until rrc_copy_take(), which cannot fail
 * and frees it. NULL with *err set. */
struct rrc_copy_epoch;
struct rrc_copy_epoch *rrc_copy_prepare(struct rrc_copy *c, const void *log, size_t log_len,
					const void *delta, size_t delta_len, struct rrc_error *err);
void rrc_copy_take(struct rrc_copy *c, struct rrc_copy_epoch *e);
void rrc_copy_drop(struct rrc_copy_epoch *e); /* NULL is fine */

/* How many calls it has that are to be made again. */
size_t rrc_copy_epoch_calls(const struct rrc_copy_epoch *e);

/* Brings a tree from the newest checkpoint to that of the epoch. */
int rrc_copy_epoch_apply(const struct rrc_copy_epoch *e, struct rrc_advance *a,
			 struct rrc_error *err);

/* Brings a tree from the whole checkpoint to the newest. */
int rrc_copy_apply(const struct rrc_copy *c, struct rrc_advance *a, struct rrc_error *err);

/* So much has gathered that a whole checkpoint is the better base. */
int rrc_copy_full(const struct rrc_copy *c);

struct rrc_copy_size {
	size_t pages, calls, bytes; /* bytes: of memory, in all */
};
struct rrc_copy_size rrc_copy_size(const struct rrc_copy *c);

#endif
