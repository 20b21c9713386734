/* SPDX-License-Identifier: MIT */
/* What the files of the engine `precopy` share: precopy.c (watching, rounds), precopy_copy.c (what is copied),
 * precopy_pause.c (while the container stands), precopy_delta.c (what is made of it). */
#ifndef RRC_PRECOPY_INT_H
#define RRC_PRECOPY_INT_H

#include "deltas.h"
#include "dirty.h"
#include "execwatch.h"
#include "sent.h"
#include "writelog.h"

struct pre_process {
	pid_t pid;
	uint32_t ns_pid;
	struct rrc_dirty *dirty;
	struct rrc_pages *pages;
	struct rrc_sent *sent; /* in deltas on this whole checkpoint */
	uint64_t heap_end;
	struct rrc_deltas_stack stack; /* as the backup has it */
};

struct pre_thread {
	pid_t tid;
	uint32_t ns_tid;
	size_t process;
	struct rrc_delta_thread state;
	uint8_t *xsave;
};

struct pre_ranges {
	struct rrc_range *range;
	long n;
};

struct precopy {
	const struct rrc_checkpointer_opts *o;
	struct pre_process *procs;
	size_t nprocs;
	struct pre_thread *threads; /* by id; known until one is born, ends or executes */
	size_t nthreads;
	int watching; /* since the cut of a whole checkpoint */
	struct rrc_error cannot; /* why writes cannot be watched in this container */
	struct rrc_deltas kept;
	struct rrc_taking *t; /* the checkpoint in the making */
	struct rrc_freeze freeze;
	uint64_t pages; /* copied in this one */
	int cut_asked;
	size_t budget; /* of pages that are kept as they were sent */
	struct rrc_writelog *log; /* NULL: not on this host */
	uint64_t unseen; /* rrc_changes_unseen() when pages were protected last */
	int looked; /* in the pause: at all pages, not only at those in the log */
};

/* All pages that were written since the last time, and of what calls gave or took; how many in *left. */
int rrc_precopy_round(struct precopy *e, uint64_t *left, struct rrc_error *err);
/* The same in the pause, by the log of faults where that tells all. */
int rrc_precopy_last(struct precopy *e, struct rrc_error *err);
/* Once more, when the log of calls was read to the cut: what that says. */
int rrc_precopy_after(struct precopy *e, struct rrc_error *err);

/* All threads are stopped: the cut, the last pages, registers. For struct rrc_freeze. */
int rrc_precopy_frozen(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err);

/* Manifest and delta of what was taken; the pages are forgotten. */
int rrc_precopy_delta(struct precopy *e, struct rrc_error *err);
/* As it is now. */
struct rrc_deltas_stack rrc_precopy_stack(const struct pre_process *p);

#endif
