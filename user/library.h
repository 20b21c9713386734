/* SPDX-License-Identifier: MIT */
/*
 * The in-process recorder's file: where this host has it, and how it comes below a container's root, whose own
 * links must not lead us out of it.
 */
#ifndef RRC_LIBRARY_H
#define RRC_LIBRARY_H

#include <stddef.h>
#include <sys/types.h>

#include "container.h"
#include "err.h"

#define RRC_PRELOAD_NAME "librrc-preload.so"
#define RRC_LIBRARY_DIR	 "/usr/lib/rrc" /* in the container */
#define RRC_LIBRARY	 RRC_LIBRARY_DIR "/" RRC_PRELOAD_NAME

/* Where the library is on this host: beside this program, or installed. 0 or -ENOENT. */
int rrc_preload_path(char *buf, size_t size, struct rrc_error *err);

/* Puts it below the directory root, as RRC_LIBRARY. 0 (also when it was there) or a negative errno. */
int rrc_library_put(const char *root, struct rrc_error *err);

/* As process pid sees it; put there if need be: into its root, where it is part of the container's files, or
 * ours if that is its root too. 0 or a negative errno. */
int rrc_library_for(const struct rrc_container *c, pid_t pid, char *path, size_t size,
		    struct rrc_error *err);

/* Has the loader of every program below root load it (ld.so(8): /etc/ld.so.preload). Idempotent; what the list
 * named stays. 0 or a negative errno. */
int rrc_library_list(const char *root, struct rrc_error *err);

/* Does the list below root name it? A list that is no plain file is none. */
int rrc_library_listed(const char *root);

#endif
