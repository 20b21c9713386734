/* SPDX-License-Identifier: MIT */
/*
 * Who is to be protected: finds a running container by id, unique prefix or name in the state that
 * runc, crun, podman, docker and containerd keep, or takes a process that is init of a pid namespace
 * of its own. Reads files only, asks no daemon.
 */
#ifndef RRC_CONTAINER_H
#define RRC_CONTAINER_H

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "err.h"

struct rrc_container {
	char id[128]; /* full; "pid-N" for a process without a runtime */
	char name[128]; /* "" if it has none */
	char runtime[16]; /* runc, crun, podman, docker, containerd, none */
	pid_t pid; /* process 1 of its pid namespace, from here */
	uint64_t pidns, netns, mntns; /* inode numbers of its namespaces */
	int own_netns; /* 0: it shares this host's */
	int own_mntns;
	char bundle[PATH_MAX]; /* "" if not known */
	char rootfs[PATH_MAX]; /* its root as a path from here; "/" without a mount namespace */
	char upper[PATH_MAX]; /* writable layer of an overlay root; "" if it has none */
};

/* want: id, unique prefix of an id, or name. Not found, ambiguous and stopped are errors that say what
 * there is. */
int rrc_container_find(const char *want, struct rrc_container *out, struct rrc_error *err);

/* The same below another root directory than "/" (for tests); /proc is always this host's. */
int rrc_container_find_at(const char *root, const char *want, struct rrc_container *out,
			  struct rrc_error *err);

/* Any process whose pid namespace is its own, not ours. out->pid is that namespace's process 1. */
int rrc_container_from_pid(pid_t pid, struct rrc_container *out, struct rrc_error *err);

/* Prints what containers there are, one a line (or JSON). */
int rrc_container_list(const char *root, FILE *f, int json, struct rrc_error *err);

#endif
