/* SPDX-License-Identifier: MIT */
/*
 * What the log says about the kernel's side of the container since the last cut (lib/carry.h): can the next
 * checkpoint be a delta, and what must it look at anew. Written by the collector, read by whoever makes one.
 */
#ifndef RRC_CHANGES_H
#define RRC_CHANGES_H

#include <stddef.h>
#include <stdint.h>

#include "record.h"

struct rrc_changes;

/* Memory whose content came or went by a call: what was read there before is worth nothing. */
struct rrc_range {
	uint32_t pid; /* inside the container */
	uint32_t brk; /* 1: start is a new end of the heap, and what lay or lies behind it */
	uint64_t start, end;
	uint64_t
		file; /* not 0: what is mapped of the file with this inode number, by whomever; RRC_ANY_FILE: of any */
};

struct rrc_changes *rrc_changes_new(void);
void rrc_changes_free(struct rrc_changes *c);

/* Sees each record of the log, in order. */
void rrc_changes_note(struct rrc_changes *c, const struct rrc_rec *rec);

/* Some descriptor there may be read past the page cache, into the program's memory without the program (O_DIRECT). Found
 * in the log by itself; to be said of descriptors that are older. */
void rrc_changes_direct(struct rrc_changes *c);

/* A cut: the rest belongs to the next epoch. Ranges stay until they are taken. */
void rrc_changes_cut(struct rrc_changes *c);

/* Since the last cut something happened that only a whole checkpoint can carry; *nr and *kind (may be NULL) say
 * what was the first. */
int rrc_changes_whole(struct rrc_changes *c, unsigned int *nr, unsigned int *kind);

/* Raised whenever the descriptor table may have changed. */
uint64_t rrc_changes_descriptors(struct rrc_changes *c);

/* Raised by each call in which the kernel may have written to the program's memory, or made it writable, without a
 * fault of the program's (writelog.h). */
uint64_t rrc_changes_unseen(struct rrc_changes *c);

/* Gives the ranges, in order, that were not given before; *ranges is the caller's to free. Their number,
 * or -ENOMEM. */
long rrc_changes_take(struct rrc_changes *c, struct rrc_range **ranges);

#endif
