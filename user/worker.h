/* SPDX-License-Identifier: MIT */
/* The checkpoint thread: one checkpoint at a time, with what must happen in the main thread handed there. */
#ifndef RRC_WORKER_H
#define RRC_WORKER_H

#include <stdint.h>

#include "backup.h"
#include "checkpoint.h"
#include "err.h"

struct rrc_worker;

struct rrc_worker_result {
	int ret; /* 0 or negative errno, then err says why */
	struct rrc_error err;
	enum rrc_checkpoint_again again; /* if it failed */
	uint64_t number, cut_pos, bytes;
	int delta; /* it is one */
	int refused; /* the backup did not want it, or this container cannot have deltas */
	struct rrc_checkpoint_times times;
};

/* The checkpointer's cut and resume callbacks, as functions to run in the main thread. */
struct rrc_worker_calls {
	int (*cut)(void *ctx, uint64_t number, int delta, struct rrc_cut *cut,
		   struct rrc_error *err);
	int (*resume)(void *ctx, struct rrc_error *err);
	/* This one from any thread. */
	void (*record)(void *ctx, int on);
	void *ctx;
};

/* ko's callbacks are the worker's to fill. */
struct rrc_worker *rrc_worker_new(struct rrc_checkpointer_opts *ko,
				  const struct rrc_worker_calls *calls, struct rrc_error *err);
void rrc_worker_free(struct rrc_worker *w);

/* Readable when rrc_worker_serve has something to do. */
int rrc_worker_fd(const struct rrc_worker *w);

/* Begins a checkpoint into directory dir; sends it to b unless that is NULL, and removes it afterwards. */
int rrc_worker_begin(struct rrc_worker *w, uint64_t number, enum rrc_checkpoint_kind kind,
		     const char *dir, struct rrc_backup *b, struct rrc_error *err);
int rrc_worker_busy(const struct rrc_worker *w);

/* Runs what the thread asked for. 1: a checkpoint ended, *res is filled; else 0. */
int rrc_worker_serve(struct rrc_worker *w, struct rrc_worker_result *res);

/* See rrc_checkpointer_explain(); none is running. */
void rrc_worker_explain(struct rrc_worker *w, void (*tell)(void *ctx, const char *name), void *ctx);

/* Serves until the running checkpoint, if any, is over. */
uint64_t rrc_worker_finish(struct rrc_worker *w); /* number of the one that became whole; 0: none */

#endif
