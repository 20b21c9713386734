/* SPDX-License-Identifier: MIT */
/*
 * The warm copy: a restored, stopped container that is brought on with every checkpoint, so that a failover
 * restores nothing. It dies with the daemon, unless a failover has taken it.
 */
#ifndef RRC_WARM_H
#define RRC_WARM_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "copy.h"
#include "err.h"
#include "manifest.h"
#include "restore.h"

struct rrc_warm {
	pid_t init;
	int pidfd;
	char work[PATH_MAX]; /* its root is mounted there */
	int64_t clock_ns; /* our CLOCK_MONOTONIC plus this is the primary's, as the copy will see it */
	int guard; /* pipe to the process that ends it with us */
	pid_t guard_pid;
};

/* Restores a whole checkpoint. o->work is made and belongs to the copy; with rootfs its root is mounted
 * there (base may be NULL, layer as rrc_root_mount() wants it). NULL with *err set. */
struct rrc_warm *rrc_warm_new(struct rrc_restore_opts *o, const char *base, const char *layer,
			      struct rrc_error *err);

/* Where the heap of each of its processes ends (ids inside the container). Not 0: what `tell` returned. */
int rrc_warm_heaps(const struct rrc_warm *w, int (*tell)(void *ctx, uint32_t pid, uint64_t end),
		   void *ctx);

/* One epoch. On an error the copy is good for nothing. */
int rrc_warm_advance(struct rrc_warm *w, const struct rrc_copy_epoch *e, struct rrc_error *err);

/* Its clock is behind the primary's by so much: a restore takes a while, and its clock starts with it. ns; <= 0: it is
 * not. skew_ns: the primary's CLOCK_MONOTONIC minus ours. */
int64_t rrc_warm_behind(const struct rrc_warm *w, int64_t skew_ns);

/* It is there and its clock, as the container sees it, is not behind this reading of the primary's. */
int rrc_warm_usable(const struct rrc_warm *w, uint64_t last_ns);

/* A failover goes on with it: from now on it lives by itself. */
void rrc_warm_taken(struct rrc_warm *w);

/* Ends what daemons before us left below dir, if they and the copies' guards were killed at once. A container that
 * a failover has taken is none of these. */
void rrc_warm_clear(const char *dir);

/* Ends it; NULL is fine. */
void rrc_warm_free(struct rrc_warm *w);

#endif
