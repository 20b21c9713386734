/* SPDX-License-Identifier: MIT */
/* Copies pages out of another process, many at once, in the order of the asking. */
#ifndef RRC_PAGECOPY_H
#define RRC_PAGECOPY_H

#include <sys/types.h>
#include <sys/uio.h>

#include "pages.h"

struct rrc_pagecopy {
	pid_t pid;
	int mem; /* /proc/PID/mem */
	int gently; /* through it alone: the quick way pins pages, which takes those that are shared on write apart */
	struct rrc_pages *to;
	uint64_t count; /* pages that were asked for and looked at */
	int left_out; /* of these, pages that were not there any more */
	/* asked for, not copied yet */
	struct iovec from[RRC_PAGES_RUN];
	int n;
	size_t pages;
};

/* [start, end): whole pages. 0 or negative errno; -ESRCH: the process is gone. */
int rrc_pagecopy_add(struct rrc_pagecopy *c, uint64_t start, uint64_t end);
/* What was asked for and not copied yet. */
int rrc_pagecopy_flush(struct rrc_pagecopy *c);

#endif
