/* SPDX-License-Identifier: MIT */
/* The containers that the runtimes' state directories tell of, running or not. Used by container.c. */
#ifndef RRC_RUNTIMES_H
#define RRC_RUNTIMES_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

struct rrc_known {
	char id[128], name[128], runtime[16];
	char bundle[PATH_MAX], rootfs[PATH_MAX];
	char path[PATH_MAX]; /* the file that this was read from */
	pid_t pid;
	unsigned long long start; /* of pid, in clock ticks after boot; 0: not known */
	int damaged; /* the file could not be understood */
};

struct rrc_known_list {
	struct rrc_known *known;
	size_t n, cap;
};

/* Reads all below root ("" for this host). A damaged file makes an entry with damaged set, no error. */
int rrc_known_read(const char *root, struct rrc_known_list *list, struct rrc_error *err);
void rrc_known_free(struct rrc_known_list *list);

/* Its process is there and is still the same one. */
int rrc_known_running(const struct rrc_known *k);
const char *rrc_known_state(const struct rrc_known *k);

#endif
