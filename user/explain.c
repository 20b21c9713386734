/* SPDX-License-Identifier: MIT */
/* What raised barriers, see explain.h. */
#include <stdio.h>

#include "explain.h"
#include "log.h"
#include "syscalls.h"

/* One kind of cause: a line, and a member of the event's object. An event line has an end: what does
 * not fit is in the sum alone. */
static void cause(char *members, size_t size, size_t *len, const char *name, uint64_t n)
{
	rrc_log(RRC_LOG_INFO, "%llu times not to be replayed: %s", (unsigned long long)n, name);
	if (*len + 64 < size)
		*len += (size_t)snprintf(members + *len, size - *len, "%s\"%.32s\":%llu",
					 *len ? "," : "", name, (unsigned long long)n);
}

void rrc_explain(const struct rrc_collector_stats *stats)
{
	char members[3500] = "";
	uint64_t rest = 0;
	size_t len = 0;

	for (unsigned int nr = 0; nr < RRC_NSYS; nr++)
		if (stats->call_barriers[nr])
			cause(members, sizeof(members), &len,
			      rrc_sysname(nr) ? rrc_sysname(nr) : "a call without a name",
			      stats->call_barriers[nr]);
	for (unsigned int kind = 0; kind < RRC_REC_KINDS; kind++)
		if (kind != RRC_REC_SIGNAL && kind != RRC_REC_LOST)
			rest += stats->kind_barriers[kind];
	if (stats->kind_barriers[RRC_REC_SIGNAL])
		cause(members, sizeof(members), &len, "signal outside of a call",
		      stats->kind_barriers[RRC_REC_SIGNAL]);
	if (stats->kind_barriers[RRC_REC_LOST])
		cause(members, sizeof(members), &len, "lost records",
		      stats->kind_barriers[RRC_REC_LOST]);
	if (rest)
		cause(members, sizeof(members), &len, "other", rest);
	rrc_log(RRC_LOG_INFO, "%llu barriers%s", (unsigned long long)stats->barriers,
		stats->barriers ? ", each of which asks for a checkpoint"
				: ": all can be replayed");
	rrc_event("barriers", "\"total\":%llu,\"causes\":{%s}", (unsigned long long)stats->barriers,
		  members);
}
