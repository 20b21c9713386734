/* SPDX-License-Identifier: MIT */
/* Engine precopy: what is copied, be it in a round or in the pause. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "precopy_int.h"
#include "util.h"

static struct pre_process *process_at(struct precopy *e, uint32_t ns_pid)
{
	for (size_t i = 0; i < e->nprocs; i++)
		if (e->procs[i].ns_pid == ns_pid)
			return &e->procs[i];
	return NULL;
}

/* Memory that calls gave or took since this was asked last: 1: there was some, so mappings were looked at. What
 * comes to be there later is new to the watch, so it is found. */
static int take_ranges(struct precopy *e, struct pre_ranges *r, struct rrc_error *err)
{
	int ret = 0, maps = 0;

	r->n = rrc_changes_take(e->o->changes, &r->range);
	for (long i = 0; i < r->n; i++)
		maps |= !r->range[i].file;
	for (size_t i = 0; i < e->nprocs && maps && !ret; i++)
		ret = rrc_dirty_map(e->procs[i].dirty, err);
	return ret;
}

static int copy_file(struct precopy *e, uint64_t file, struct rrc_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = rrc_dirty_file(e->procs[i].dirty, file, e->procs[i].pages, err);
	return ret;
}

static int copy_range(struct precopy *e, const struct rrc_range *r, struct rrc_error *err)
{
	struct pre_process *p = process_at(e, r->pid);
	uint64_t start = r->start, end = r->end, count;
	int ret;

	if (r->file)
		return copy_file(e, r->file, err);
	if (!p)
		return rrc_fail(err, ENOTSUP, "a process that nobody watches");
	if (r->brk) {
		end = rrc_max(p->heap_end, r->start);
		start = p->heap_end ? rrc_min(p->heap_end, r->start) : 0;
		p->heap_end = r->start;
	}
	rrc_sent_drop(p->sent, start, end);
	ret = rrc_dirty_range(p->dirty, start, end, p->pages, &count, err);
	e->pages += ret ? 0 : count;
	return ret;
}

static int copy_ranges(struct precopy *e, const struct pre_ranges *r, struct rrc_error *err)
{
	int ret = 0;

	for (long i = 0; i < r->n && !ret; i++)
		ret = copy_range(e, &r->range[i], err);
	free(r->range);
	return ret;
}

/* All pages that were written, and are protected again. */
static int look(struct precopy *e, struct rrc_error *err)
{
	uint64_t count;
	int ret = 0;

	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		ret = rrc_dirty_collect(e->procs[i].dirty, e->procs[i].pages, &count, err);
		e->pages += ret ? 0 : count;
	}
	return ret;
}

/* All pages that were written, and those of which the log says that a call gave or took them; in this order:
 * what is written after the look at the ranges is found in the next round. */
int rrc_precopy_round(struct precopy *e, uint64_t *left, struct rrc_error *err)
{
	uint64_t before = e->pages;
	struct pre_ranges r = { 0 };
	int ret;

	e->unseen = rrc_changes_unseen(e->o->changes);
	if (e->log)
		rrc_writelog_mark(e->log);
	ret = take_ranges(e, &r, err);
	if (!ret)
		ret = look(e, err);
	if (ret)
		free(r.range);
	else
		ret = copy_ranges(e, &r, err);
	*left = e->pages - before;
	return ret;
}

/* ---- the log of faults ---- */

/* Since pages were protected last nothing was written that it does not know of. */
static int log_knows(const struct precopy *e)
{
	int knows = rrc_changes_unseen(e->o->changes) == e->unseen;

	for (size_t i = 0; i < e->nprocs; i++)
		knows &= !rrc_dirty_fresh(e->procs[i].dirty);
	return knows;
}

static int by_address(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static size_t sort(uint64_t *addr, size_t n)
{
	size_t kept = 0;

	qsort(addr, n, sizeof(*addr), by_address);
	for (size_t i = 0; i < n; i++)
		if (!i || addr[i] != addr[i - 1])
			addr[kept++] = addr[i];
	return kept;
}

/* 1: a thread that we do not know has written. */
static int split(struct precopy *e, const struct rrc_written *w, long n, uint64_t **addr,
		 size_t *counts)
{
	const struct pre_thread *t = NULL;

	for (long i = 0; i < n; i++) {
		for (size_t k = 0; (!t || t->ns_tid != w[i].tid) && k < e->nthreads; k++)
			t = &e->threads[k];
		if (!t || t->ns_tid != w[i].tid)
			return 1;
		addr[t->process][counts[t->process]++] = w[i].addr;
	}
	return 0;
}

/* 1: the log does not tell. */
static int by_log(struct precopy *e, struct rrc_error *err)
{
	const struct rrc_written *w;
	long n = e->log ? rrc_writelog_take(e->log, &w) : -ENOSYS;
	size_t each = n > 0 ? (size_t)n : 0;
	rrc_autofree uint64_t *room = calloc(e->nprocs * each + 1, sizeof(*room));
	rrc_autofree uint64_t **addr = calloc(e->nprocs + 1, sizeof(*addr));
	rrc_autofree size_t *counts = calloc(e->nprocs + 1, sizeof(*counts));
	uint64_t count;
	int ret = 0;

	if (n < 0 || !log_knows(e) || !room || !addr || !counts)
		return 1;
	for (size_t i = 0; i < e->nprocs; i++)
		addr[i] = room + i * each;
	if (split(e, w, n, addr, counts))
		return 1;
	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		size_t k = sort(addr[i], counts[i]);

		ret = rrc_dirty_pages(e->procs[i].dirty, addr[i], k, e->procs[i].pages, &count,
				      err);
		e->pages += ret ? 0 : count;
	}
	return ret ? ret : !log_knows(e); /* unknown mappings were looked at, and one is new */
}

int rrc_precopy_last(struct precopy *e, struct rrc_error *err)
{
	struct pre_ranges r = { 0 };
	int ret = take_ranges(e, &r, err);

	e->looked = 0;
	if (!ret) {
		ret = by_log(e, err);
		e->looked = ret == 1;
		if (e->looked)
			ret = look(e, err);
	}
	if (ret)
		free(r.range);
	else
		ret = copy_ranges(e, &r, err);
	return ret;
}

int rrc_precopy_after(struct precopy *e, struct rrc_error *err)
{
	struct pre_ranges r = { 0 };
	int ret = take_ranges(e, &r, err);

	/* The last calls are known only now. */
	if (!ret && !e->looked && !log_knows(e)) {
		e->looked = 1;
		ret = look(e, err);
	}
	if (!ret)
		return copy_ranges(e, &r, err);
	free(r.range);
	return ret;
}
