/* SPDX-License-Identifier: MIT */
/* Inside of inproc*.c: what there is for each process that has our code. */
#ifndef RRC_INPROC_INT_H
#define RRC_INPROC_INT_H

#include "inproc_area.h"
#include "sites.h"
#include "tracee.h"

struct rrc_inproc {
	struct tproc *proc;
	uint64_t code, data, log; /* in the process: our code, the area, the copy of the log */
	size_t code_len, data_len, log_len;
	struct rrc_ip_area *area; /* here */
	unsigned int slots;
	struct rrc_site site[RRC_SITES];
	size_t sites;
	struct rrc_inproc *next;
};

/* May this record's call be answered in the program? Nothing but result and bytes comes of it. */
bool rrc_inproc_fit(const struct rrc_engine *e, size_t i);

/* May t wait in our code for its turn? Sees to it that it can. t is in a ptrace stop, or waits there already. */
bool rrc_inproc_may_wait(struct rrc_engine *e, struct tracee *t);

/* It will not any more. t is in a ptrace stop. */
void rrc_inproc_no_wait(struct tracee *t);

#endif
