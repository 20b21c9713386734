/* SPDX-License-Identifier: MIT */
/* What advance.c (memory, registers) and again.c (calls) share. */
#ifndef RRC_ADVANCE_INT_H
#define RRC_ADVANCE_INT_H

#include <stdbool.h>

#include "advance.h"

struct adv_proc {
	pid_t pid; /* as seen from here */
	uint32_t ns_pid;
	int pidfd, mem;
};

struct adv_thread {
	pid_t tid;
	uint32_t ns_tid;
	size_t proc; /* index */
	bool set; /* has got its registers */
};

#define ADV_PAGES 256 /* put in at once; well below IOV_MAX */

struct rrc_advance {
	struct adv_proc *procs;
	size_t nprocs;
	struct adv_thread *threads;
	size_t nthreads;
	uint64_t addr[ADV_PAGES]; /* to be put in */
	uint8_t *pages;
	size_t npages;
	uint32_t pages_of; /* process */
};

struct adv_thread *rrc_advance_find(struct rrc_advance *a, uint32_t tid);

#endif
