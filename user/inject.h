/* SPDX-License-Identifier: MIT */
/*
 * Brings the in-process recorder (user/preload/) into programs that run already and have threads: their locks
 * would have no order in the log otherwise. While nothing is recorded yet, so before the first cut: then it
 * does not matter that some calls go through the library already and others do not yet.
 */
#ifndef RRC_INJECT_H
#define RRC_INJECT_H

#include <stdint.h>

#include "container.h"
#include "err.h"

enum rrc_inject_how {
	RRC_INJECT_THREADED, /* into processes that have several threads */
	RRC_INJECT_ALL,
	RRC_INJECT_NONE,
};

/* A process that has the library is left alone. Returns how many got it, or a negative errno: exit code
 * RRC_EXIT_HOST if a program is one that cannot take it (static, or of another libc). */
int rrc_inject_container(const struct rrc_container *c, enum rrc_inject_how how,
			 struct rrc_error *err);

#endif
