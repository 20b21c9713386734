/* SPDX-License-Identifier: MIT */
/* What a delta must look at, see changes.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "carry.h"
#include "changes.h"
#include "syscalls.h"
#include "util.h"

#define MOST_RANGES (1u << 16)

struct rrc_changes {
	pthread_mutex_t lock; /* of the ranges; the rest is atomic */
	struct rrc_range *ranges;
	size_t n, size;
	int whole;
	unsigned int nr, kind;
	uint64_t descriptors;
};

struct rrc_changes *rrc_changes_new(void)
{
	struct rrc_changes *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

void rrc_changes_free(struct rrc_changes *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->ranges);
	free(c);
}

static void needs_whole(struct rrc_changes *c, const struct rrc_rec *rec)
{
	if (c->whole)
		return;
	c->nr = rec->nr;
	c->kind = rec->kind;
	__atomic_store_n(&c->whole, 1, __ATOMIC_RELEASE);
}

static int add(struct rrc_changes *c, struct rrc_range r)
{
	int ret = 0;

	if (r.start >= r.end)
		return 0;
	pthread_mutex_lock(&c->lock);
	if (c->n == c->size) {
		size_t size = c->size ? c->size * 2 : 64;
		void *bigger =
			size > MOST_RANGES ? NULL : realloc(c->ranges, size * sizeof(*c->ranges));

		if (bigger) {
			c->ranges = bigger;
			c->size = size;
		}
		ret = bigger ? 0 : -ENOMEM;
	}
	if (!ret)
		c->ranges[c->n++] = r;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* Which memory a call that changes mappings was about. What only changes rights changes no content. */
static int note_mappings(struct rrc_changes *c, const struct rrc_rec *rec)
{
	const __u64 *a = rec->args, at = (uint64_t)rec->ret;
	struct rrc_range r = { .pid = rec->pid };
	int ret = 0;

	switch (rec->nr) {
	case RRC_NR_mprotect:
	case RRC_NR_mlock:
	case RRC_NR_munlock:
		return 0;
	case RRC_NR_mmap:
		r.start = at;
		r.end = at + a[1];
		break;
	case RRC_NR_munmap:
	case RRC_NR_madvise:
		r.start = a[0];
		r.end = a[0] + a[1];
		break;
	case RRC_NR_mremap:
		r.start = a[0];
		r.end = a[0] + a[1];
		ret = add(c, r);
		r.start = at;
		r.end = at + a[2];
		break;
	case RRC_NR_brk:
		r.brk = 1;
		r.start = at;
		r.end = at + 1;
		break;
	default:
		return -ENOTSUP;
	}
	return ret ? ret : add(c, r);
}

void rrc_changes_note(struct rrc_changes *c, const struct rrc_rec *rec)
{
	if (rrc_carry_of(rec) == RRC_CARRY_WHOLE)
		needs_whole(c, rec);
	if (rrc_carry_connections(rec))
		__atomic_add_fetch(&c->descriptors, 1, __ATOMIC_RELEASE);
	if (rrc_carry_mappings(rec) && note_mappings(c, rec))
		needs_whole(c, rec);
}

void rrc_changes_cut(struct rrc_changes *c)
{
	__atomic_store_n(&c->whole, 0, __ATOMIC_RELEASE);
}

int rrc_changes_whole(struct rrc_changes *c, unsigned int *nr, unsigned int *kind)
{
	int whole = __atomic_load_n(&c->whole, __ATOMIC_ACQUIRE);

	if (nr)
		*nr = c->nr;
	if (kind)
		*kind = c->kind;
	return whole;
}

uint64_t rrc_changes_descriptors(struct rrc_changes *c)
{
	return __atomic_load_n(&c->descriptors, __ATOMIC_ACQUIRE);
}

long rrc_changes_take(struct rrc_changes *c, struct rrc_range **ranges)
{
	long n = 0;

	*ranges = NULL;
	pthread_mutex_lock(&c->lock);
	if (c->n) {
		n = (long)c->n;
		*ranges = c->ranges;
		c->ranges = NULL;
		c->n = c->size = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}
