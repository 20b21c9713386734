/* SPDX-License-Identifier: MIT */
/* `--explain`: what could not be recorded for replay, and how often. */
#ifndef RRC_EXPLAIN_H
#define RRC_EXPLAIN_H

#include "collector.h"

/* Says so on stderr, and as the event "barriers". */
void rrc_explain(const struct rrc_collector_stats *stats);

#endif
