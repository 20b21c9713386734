/* SPDX-License-Identifier: MIT */
/* A checkpoint becomes a stopped process tree again: its files, its clock, then CRIU. */
#ifndef RRC_RESTORE_H
#define RRC_RESTORE_H

#include <stdint.h>
#include <sys/types.h>

#include "engine.h"
#include "err.h"
#include "manifest.h"

struct rrc_restore_opts {
	const char *criu;
	const struct rrc_manifest *manifest;
	const char *dir; /* of the checkpoint */
	const char
		*work; /* private directory for this attempt: images as CRIU gets them, its log */
	const char *root; /* a mounted root (rrc_root_mount), NULL without an own one */
	int netns;
	uint64_t
		now_ns; /* CLOCK_MONOTONIC of the primary that the container must not fall behind */
};

pid_t rrc_restore(const struct rrc_restore_opts *o, struct rrc_error *err);

/* What the engine must know from the manifest; *held and *restarts are the caller's to free. */
int rrc_restore_engine_opts(const struct rrc_manifest *m, struct rrc_engine_opts *eo,
			    struct rrc_engine_held **held, const struct rrc_rec ***restarts,
			    struct rrc_error *err);

#endif
