/* SPDX-License-Identifier: MIT */
/*
 * What was written in a process between two moments, from copies on write of it that stand still: a page that both
 * copies have in the same frame was not written, since writing would have given it another one. So nothing has to be
 * watched or marked, and new, moved or merged mappings make no page look written that was not. The first copy has none
 * before it: there the kernel's soft-dirty bits say what was written since they were cleared.
 */
#ifndef RRC_SHADOWMEM_H
#define RRC_SHADOWMEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "mappings.h"
#include "pages.h"

/* Whether frames can be seen here; *marks: whether there are soft-dirty bits. 0, or why not. */
int rrc_shadowmem_probe(bool *marks, struct rrc_error *err);

/* Clears the bits of process pid, which stands still. */
int rrc_shadowmem_clear(pid_t pid, struct rrc_error *err);

/* A copy. */
struct rrc_shadowmem {
	pid_t pid;
	int pagemap, mem;
	struct rrc_mappings maps;
};
int rrc_shadowmem_open(struct rrc_shadowmem *m, pid_t pid, struct rrc_error *err);
void rrc_shadowmem_close(struct rrc_shadowmem *m);

/* Into p what `now` has and `before` had not: private memory by frames; shared memory that is the copy's own by its
 * bytes. before: NULL: there is none; then what is marked, and with `marks` false all that is there. What is
 * shared with the original is the caller's: the mappings of `now` that are marked unwatched are passed over. */
int rrc_shadowmem_written(const struct rrc_shadowmem *now, const struct rrc_shadowmem *before,
			  bool marks, struct rrc_pages *p, uint64_t *count, struct rrc_error *err);

/* All of [start, end) that is there, of a process or a copy. At most `most` pages (-E2BIG). */
int rrc_shadowmem_all(const struct rrc_shadowmem *m, uint64_t start, uint64_t end, uint64_t most,
		      struct rrc_pages *p, uint64_t *count, struct rrc_error *err);

#endif
