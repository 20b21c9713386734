/* SPDX-License-Identifier: MIT */
/* Which held packet needs which log position before it may leave, and how long packets were held. */
#ifndef RRC_HOLD_H
#define RRC_HOLD_H

#include <stddef.h>
#include <stdint.h>

struct rrc_hold;

struct rrc_hold *rrc_hold_new(void);
void rrc_hold_free(struct rrc_hold *h);

/* `count` packets up to id arrived; they need the log up to pos. 0 or -ENOMEM. */
int rrc_hold_push(struct rrc_hold *h, uint32_t id, unsigned int count, uint64_t pos, uint64_t now);

/* Newest id that may leave when everything before `limit` is safe: 1 and *id, or 0. */
int rrc_hold_pop(struct rrc_hold *h, uint64_t limit, uint64_t now, uint32_t *id);

size_t rrc_hold_count(const struct rrc_hold *h);

/* Time held, over all packets so far. */
struct rrc_hold_stats {
	uint64_t packets, total_ns, max_ns;
	uint64_t bucket[64]; /* by power of two of ns: an upper bound of each percentile */
};
const struct rrc_hold_stats *rrc_hold_stats(const struct rrc_hold *h);
uint64_t rrc_hold_percentile(const struct rrc_hold *h, double p);

#endif
