/* SPDX-License-Identifier: MIT */
/*
 * Takes checkpoints: whole ones, or a delta to the one before where the engine (engines.h) can. Blocks, so it
 * runs in a thread of its own; what must happen in the collector's thread (the cut) is asked for by
 * callbacks.
 */
#ifndef RRC_CHECKPOINT_H
#define RRC_CHECKPOINT_H

#include <stdint.h>

#include "changes.h"
#include "container.h"
#include "delta.h"
#include "err.h"
#include "manifest.h"

struct rrc_checkpointer;
struct rrc_ckpt_engine;
struct rrc_execwatch;
struct rrc_recorder;
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
	const struct rrc_ckpt_engine *engine;
	const struct rrc_container *container;
	struct rrc_execwatch *watch; /* NULL in passive mode */
	struct rrc_recorder *recorder; /* asked whether connections can be read */
	struct rrc_changes *changes; /* since the last cut; NULL: no deltas */
	const char *run_dir; /* private directory for CRIU's hook and log */
	const char *ifname; /* the container's link; NULL: no network to carry */
	int net_fd; /* the container's network namespace; -1: not its own */
	int passive;
	/* All threads are frozen: place the cut. First it is asked for, then the answer waited for; other things can be
	 * done meanwhile. delta: the recorder stays on, and there is no cut (-ENOTSUP) if a delta cannot be made
	 * of what was drained; else the recorder is off. */
	int (*cut_begin)(void *ctx, uint64_t number, int delta);
	int (*cut_end)(void *ctx, struct rrc_cut *cut, struct rrc_error *err);
	/* Threads are about to run on: recorder on. */
	int (*resume)(void *ctx, struct rrc_error *err);
	/* From any thread, the container frozen: calls are injected in between. */
	void (*record)(void *ctx, int on);
	void *ctx;
};

/* How long it took, in ns; the parts are the pause's. */
struct rrc_checkpoint_times {
	uint64_t whole, pause;
	uint64_t park, scan, copy, registers;
	uint64_t drain, rest; /* waiting for the cut beside the others; what came after it */
	uint64_t commit; /* sent, and until the receiver said that it is kept */
	/* last: in the pause; pages: all that are in it; whole: of which not only what changed */
	uint64_t rounds, live_pages, last_pages, pages, whole_pages;
	uint64_t looked; /* 1: at all pages in the pause */
};

struct rrc_checkpoint {
	struct rrc_manifest *manifest;
	struct rrc_delta *delta; /* NULL: the files are in the directory */
	struct rrc_checkpoint_times times;
};

enum rrc_checkpoint_kind {
	RRC_CHECKPOINT_FIRST, /* the receiver has nothing yet: connections are read, files are whole */
	RRC_CHECKPOINT_WHOLE,
	RRC_CHECKPOINT_ANY, /* a delta where it can be */
};

struct rrc_checkpointer *rrc_checkpointer_new(const struct rrc_checkpointer_opts *o,
					      struct rrc_error *err);
void rrc_checkpointer_free(struct rrc_checkpointer *k);

/* Takes checkpoint `number`. A whole one goes into directory dir (made here): images below img/, and
 * the manifest, written last. A failed attempt at a delta says in *again when to try once more. */
enum rrc_checkpoint_again {
	RRC_AGAIN_LATER, /* this was a whole one */
	RRC_AGAIN_SOON, /* the container could not be stopped just then */
	RRC_AGAIN_WHOLE, /* no delta can be made: a whole one, at once */
};
int rrc_checkpoint_take(struct rrc_checkpointer *k, uint64_t number, enum rrc_checkpoint_kind kind,
			const char *dir, struct rrc_checkpoint *c, enum rrc_checkpoint_again *again,
			struct rrc_error *err);
void rrc_checkpoint_free(struct rrc_checkpoint *c);

/* What was taken last is kept by the receiver, or by nobody: then the next one is whole. */
void rrc_checkpoint_settled(struct rrc_checkpointer *k, int kept);

/* Calls tell with the name of each mapping that is copied whole, as its writes cannot be watched. */
void rrc_checkpointer_explain(struct rrc_checkpointer *k, void (*tell)(void *ctx, const char *name),
			      void *ctx);

#endif
