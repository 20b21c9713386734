/* SPDX-License-Identifier: MIT */
/* `rrc-replay DIR`: re-executes a recording and says whether it matched; `--dump DIR`: shows it. */
#ifndef RRC_OFFLINE_H
#define RRC_OFFLINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct rrc_offline_opts {
	const char *dir;
	const char *rootfs; /* of a container's recording; NULL: where it was */
	unsigned int attempts;
	bool no_pacing, by_ptrace;
	bool json;
	bool trace; /* every step to stderr */
	/* for --dump */
	long tid; /* 0: all */
	const char *call; /* NULL: all */
};

/* 0: all of it matched; -EILSEQ with exit code 4: it diverged. */
int rrc_offline_replay(const struct rrc_offline_opts *o, struct rrc_error *err);
int rrc_offline_dump(const struct rrc_offline_opts *o, struct rrc_error *err);

#endif
