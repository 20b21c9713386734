/* SPDX-License-Identifier: MIT */
/*
 * What the backup has of one container: its newest committed checkpoint, the log behind that, the
 * state of its connections at the cut, and a network place that is ready for it.
 */
#ifndef RRC_SESSION_H
#define RRC_SESSION_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "announce.h"
#include "conn.h"
#include "connections.h"
#include "copy.h"
#include "daemon.h"
#include "link.h"
#include "manifest.h"
#include "netcfg.h"
#include "warm.h"

/* One log frame as it came: verified, still packed. */
struct rrc_kept {
	struct rrc_frame head;
	uint8_t *payload;
};

struct rrc_session {
	const struct rrc_daemon_opts *o;
	char name[80];
	uint64_t id;
	char dir[PATH_MAX - 128]; /* state of this container */
	struct rrc_link log;
	int ended; /* no more frames come */
	uint64_t lease_ns, silence_ns;
	uint64_t heard; /* CLOCK_MONOTONIC of ours when a frame came last */
	uint64_t answered; /* … when we acknowledged last */
	int64_t skew_ns; /* the primary's CLOCK_MONOTONIC minus ours */

	pthread_mutex_t commit; /* held while a checkpoint becomes the newest; before `lock` */
	pthread_mutex_t lock; /* for the log: never held for long, acknowledgements wait for it */
	struct rrc_kept *kept; /* log from the committed cut on (before the first: from its cut) */
	size_t nkept, size;
	uint64_t bytes;
	uint64_t end_pos; /* of the log */

	/* Under `commit`. */
	uint64_t committed; /* number; 0: none */
	struct rrc_manifest *manifest;
	struct rrc_manifest *base; /* of the newest whole checkpoint */
	char ckpt[PATH_MAX]; /* … its directory */
	struct rrc_copy *copy; /* … and what came after it */
	struct rrc_warm *warm; /* NULL: a failover restores */
	int warming; /* it is being restored; base and ckpt stay as they are */
	pthread_cond_t warmed; /* … and is no more */
	struct rrc_conns *conns; /* at its cut */
	bool conns_lost; /* … or nowhere: memory was short */
	int users; /* threads that hold it */

	int net_ready;
	int netns;
	char hostif[16];
	struct rrc_netcfg cfg;
	struct rrc_announcer announcer;
	struct rrc_reborn *reborn; /* NULL: this kernel has it not */
};

struct rrc_session *rrc_session_new(const struct rrc_daemon_opts *o, const struct rrc_hello *h,
				    struct rrc_error *err);
void rrc_session_free(struct rrc_session *s);

/* The log connection, until the primary says good-bye or falls silent. 1: take over; 0: it ended in
 * good order; negative: it ended before there was anything to take over. */
int rrc_session_serve_log(struct rrc_session *s, struct rrc_error *err);

/* The bulk connection, until it ends. */
void rrc_session_serve_bulk(struct rrc_session *s, struct rrc_link *bulk);

#endif
