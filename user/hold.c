/* SPDX-License-Identifier: MIT */
/* The queue of held packets, see hold.h. */
#include <errno.h>
#include <stdlib.h>

#include "hold.h"
#include "util.h"

struct held {
	uint32_t id;
	unsigned int count;
	uint64_t pos, since;
};

struct rrc_hold {
	struct held *ring;
	size_t size, first, used; /* size is a power of two */
	size_t packets;
	struct rrc_hold_stats stats;
};

struct rrc_hold *rrc_hold_new(void)
{
	struct rrc_hold *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->size = 1024;
	h->ring = calloc(h->size, sizeof(*h->ring));
	if (!h->ring) {
		free(h);
		return NULL;
	}
	return h;
}

void rrc_hold_free(struct rrc_hold *h)
{
	if (!h)
		return;
	free(h->ring);
	free(h);
}

int rrc_hold_push(struct rrc_hold *h, uint32_t id, unsigned int count, uint64_t pos, uint64_t now)
{
	if (h->used == h->size) {
		struct held *bigger = calloc(h->size * 2, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		for (size_t i = 0; i < h->used; i++)
			bigger[i] = h->ring[(h->first + i) & (h->size - 1)];
		free(h->ring);
		h->ring = bigger;
		h->size *= 2;
		h->first = 0;
	}
	h->ring[(h->first + h->used++) & (h->size - 1)] = (struct held){ id, count, pos, now };
	h->packets += count;
	return 0;
}

int rrc_hold_pop(struct rrc_hold *h, uint64_t limit, uint64_t now, uint32_t *id)
{
	int any = 0;

	while (h->used) {
		struct held *p = &h->ring[h->first];
		uint64_t ns = now > p->since ? now - p->since : 0;

		if (p->pos > limit)
			break;
		*id = p->id;
		any = 1;
		h->packets -= p->count;
		h->stats.packets += p->count;
		h->stats.total_ns += ns * p->count;
		h->stats.max_ns = rrc_max(h->stats.max_ns, ns);
		h->stats.bucket[ns ? 64 - __builtin_clzll(ns) : 0] += p->count;
		h->first = (h->first + 1) & (h->size - 1);
		h->used--;
	}
	return any;
}

size_t rrc_hold_count(const struct rrc_hold *h)
{
	return h->packets;
}

const struct rrc_hold_stats *rrc_hold_stats(const struct rrc_hold *h)
{
	return &h->stats;
}

uint64_t rrc_hold_percentile(const struct rrc_hold *h, double p)
{
	uint64_t want = (uint64_t)((double)h->stats.packets * p), seen = 0;

	for (unsigned int i = 0; i < 64; i++) {
		seen += h->stats.bucket[i];
		if (seen > want)
			return 1ull << i;
	}
	return h->stats.max_ns;
}
