/* SPDX-License-Identifier: MIT */
/*
 * Takes a checkpoint: the engine `stop`, CRIU's own stop-and-dump. Blocks, so it runs in a thread of
 * its own; what must happen in the collector's thread (the cut) is asked for by callbacks.
 */
#ifndef RRC_CHECKPOINT_H
#define RRC_CHECKPOINT_H

#include <stdint.h>

#include "container.h"
#include "err.h"
#include "manifest.h"

struct rrc_checkpointer;
struct rrc_execwatch;
struct rrc_rec;

/* What the collector's thread answers at the cut. */
struct rrc_cut {
	uint64_t pos;
	uint64_t mono_ns, real_ns, boot_ns;
	const struct rrc_rec *const *restarts; /* valid until the threads run on */
	size_t nrestarts;
	int files_changed; /* the log since the last cut has a call that may change files */
};

struct rrc_checkpointer_opts {
	const struct rrc_container *container;
	struct rrc_execwatch *watch; /* NULL in passive mode */
	const char *run_dir; /* private directory for CRIU's hook and log */
	const char *ifname; /* the container's link; NULL: no network to carry */
	int net_fd; /* the container's network namespace; -1: not its own */
	int passive;
	/* All threads are frozen: place the cut, recorder off. */
	int (*cut)(void *ctx, uint64_t number, struct rrc_cut *cut, struct rrc_error *err);
	/* Threads are about to run on: recorder on. */
	int (*resume)(void *ctx, struct rrc_error *err);
	void *ctx;
};

struct rrc_checkpoint_times { /* ns */
	uint64_t whole, pause;
};

struct rrc_checkpointer *rrc_checkpointer_new(const struct rrc_checkpointer_opts *o,
					      struct rrc_error *err);
void rrc_checkpointer_free(struct rrc_checkpointer *k);

/* Takes checkpoint `number` into directory dir (made here): images below img/, and the manifest, written
 * last. first: the receiver has nothing yet, so connections are read and files are whole. The
 * manifest is the caller's to free. */
struct rrc_manifest *rrc_checkpoint_take(struct rrc_checkpointer *k, uint64_t number, int first,
					 const char *dir, struct rrc_checkpoint_times *times,
					 struct rrc_error *err);

#endif
