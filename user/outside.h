/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of the container that lead outside it: a pipe to whoever started it, a terminal, a log
 * file on the host. CRIU must be told of them at the dump, and at the restore they need something
 * else in their place.
 */
#ifndef RRC_OUTSIDE_H
#define RRC_OUTSIDE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define RRC_OUTSIDE_MAX 32

struct rrc_outside {
	size_t n;
	char key[RRC_OUTSIDE_MAX][64]; /* "pipe:[123]", "tty[…]", "file[…]": for --inherit-fd */
	const char *external[RRC_OUTSIDE_MAX + 1]; /* those that the dump must be told of */
	size_t nexternal;
};

/* Looks at the standard descriptors of every process of a pid namespace. */
int rrc_outside_find(uint64_t pidns, int own_mounts, struct rrc_outside *o, struct rrc_error *err);

#endif
