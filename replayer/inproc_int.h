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

#endif
