/* SPDX-License-Identifier: MIT */
/* What the files of the engine `kfork` share: kfork.c (whole and delta), kfork_pause.c (while the container
 * stands), kfork_shadow.c (what is read from the copy when it goes on). */
#ifndef RRC_KFORK_INT_H
#define RRC_KFORK_INT_H

#include "deltas.h"
#include "execwatch.h"
#include "forkdev.h"
#include "shadowmem.h"

struct kfork_process {
	pid_t pid;
	uint32_t ns_pid;
	size_t nthreads;
	struct rrc_pages *pages;
	struct rrc_deltas_stack stack; /* as the backup has it */
	struct rrc_shadowmem original;
	struct rrc_shadowmem copy[2]; /* as dev[] */
	int have_copy[2];
	/* of the lock log, what the collector writes too: as it was after the cut */
	uint64_t locklog, heads_len;
	uint8_t *heads;
};

struct kfork {
	const struct rrc_checkpointer_opts *o;
	struct rrc_deltas kept;
	struct kfork_process *procs; /* by id; known until one is born, ends or executes */
	size_t nprocs;
	int watching; /* since the cut of a whole checkpoint */
	struct rrc_error cannot; /* why there are no deltas of this container */
	bool marks; /* there are soft-dirty bits */
	int pidns;
	/* Two copies in turn: what was written is found by comparing the new one with the one before. */
	struct rrc_forkdev dev[2];
	int last; /* of dev */
	int now;
	struct rrc_taking *t; /* the checkpoint in the making */
	int cut_asked;
	uint8_t *xsave;
};

/* All threads stand: the cut, the copy, and what the copy has not. Then they go on. */
int rrc_kfork_pause(struct kfork *e, struct rrc_error *err);

/* Manifest and delta, out of copy `now`. */
int rrc_kfork_read(struct kfork *e, struct rrc_error *err);

struct kfork_process *rrc_kfork_process(struct kfork *e, int32_t ns_pid);

#endif
