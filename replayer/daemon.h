/* SPDX-License-Identifier: MIT */
/* The backup: listens for primaries, keeps what they send, and takes over when one falls silent. */
#ifndef RRC_DAEMON_H
#define RRC_DAEMON_H

#include <stdbool.h>

#include "err.h"

struct rrc_daemon_opts {
	const char *listen;
	const char *state; /* directory for checkpoints */
	const char *bridge; /* NULL: the container's link is made but joins nothing */
	const char *rootfs;
	unsigned int silence_ms, attempts;
	bool no_pacing;
	bool cold; /* keep images only: restore at a failover */
	char criu
		[4096]; /* found and checked when the daemon starts: a takeover has no time for it */
	bool json;
};

/* Serves until SIGINT or SIGTERM. */
int rrc_daemon(struct rrc_daemon_opts *o, struct rrc_error *err);

#endif
