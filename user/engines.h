/* SPDX-License-Identifier: MIT */
/*
 * The engines that take checkpoints, behind one interface: `stop` has CRIU stop and dump the container;
 * `precopy` and `kfork` have that done once and then copy what was written since: one while the container runs, the
 * other out of a copy that the fork module makes. What an engine cannot do is NULL in its table.
 */
#ifndef RRC_ENGINES_H
#define RRC_ENGINES_H

#include <limits.h>

#include "checkpoint.h"
#include "outside.h"
#include "sockets.h"

/* One checkpoint in the making. */
struct rrc_taking {
	struct rrc_checkpointer *k;
	const struct rrc_checkpointer_opts *o;
	uint64_t number;
	int first;
	const char *dir;
	/* Called at the cut of a whole one, all threads frozen; may be NULL. */
	int (*at_cut)(void *ctx, struct rrc_error *err);
	void *ctx;
	struct rrc_cut cut;
	struct rrc_sockets sockets;
	struct rrc_outside outside;
	struct rrc_manifest *manifest;
	struct rrc_delta *delta;
	uint64_t after; /* of a delta: the checkpoint that it is made on */
	struct rrc_checkpoint_times times;
};

struct rrc_ckpt_engine {
	const char *name;
	/* 0, or what this host lacks for it. */
	int (*probe)(struct rrc_error *err);
	void *(*open)(const struct rrc_checkpointer_opts *o, struct rrc_error *err);
	void (*close)(void *engine);
	/* Manifest and files in t->dir. */
	int (*whole)(void *engine, struct rrc_taking *t, struct rrc_error *err);
	/* Manifest and t->delta. -ENOSYS: not of this container; -EBUSY: not just now; else: only a whole
	 * one will do. */
	int (*delta)(void *engine, struct rrc_taking *t, struct rrc_error *err);
	void (*explain)(void *engine, void (*tell)(void *ctx, const char *name), void *ctx);
};

extern const struct rrc_ckpt_engine rrc_ckpt_stop, rrc_ckpt_precopy, rrc_ckpt_kfork;

/* By name; NULL: the best that this host offers. NULL with *err set if it cannot be. */
const struct rrc_ckpt_engine *rrc_ckpt_engine_choose(const char *name, struct rrc_error *err);

/* A whole checkpoint by CRIU's stop-and-dump: what `stop` does, and others for their first. */
int rrc_stop_whole(struct rrc_taking *t, struct rrc_error *err);

/* After the cut: t->manifest, but for its files. */
int rrc_taking_manifest(struct rrc_taking *t, uint32_t flags, struct rrc_error *err);

#endif
