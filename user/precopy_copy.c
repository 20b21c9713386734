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
	int ret = 0;

	r->n = rrc_changes_take(e->o->changes, &r->range);
	for (size_t i = 0; i < e->nprocs && r->n && !ret; i++)
		ret = rrc_dirty_map(e->procs[i].dirty, err);
	return ret;
}

static int copy_range(struct precopy *e, const struct rrc_range *r, struct rrc_error *err)
{
	struct pre_process *p = process_at(e, r->pid);
	uint64_t start = r->start, end = r->end, count;
	int ret;

	if (!p)
		return rrc_fail(err, ENOTSUP, "a process that nobody watches");
	if (r->brk) {
		end = rrc_max(p->heap_end, r->start);
		start = p->heap_end ? rrc_min(p->heap_end, r->start) : 0;
		p->heap_end = r->start;
	}
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

int rrc_precopy_ranges(struct precopy *e, struct rrc_error *err)
{
	struct pre_ranges r = { 0 };
	int ret = take_ranges(e, &r, err);

	if (!ret)
		return copy_ranges(e, &r, err);
	free(r.range);
	return ret;
}

/* All pages that were written, and those of which the log says that a call gave or took them; in this order:
 * what is written after the look at the ranges is found in the next round. */
int rrc_precopy_round(struct precopy *e, uint64_t *left, struct rrc_error *err)
{
	uint64_t before = e->pages, count;
	struct pre_ranges r = { 0 };
	int ret = take_ranges(e, &r, err);

	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		ret = rrc_dirty_collect(e->procs[i].dirty, e->procs[i].pages, &count, err);
		e->pages += ret ? 0 : count;
	}
	if (ret)
		free(r.range);
	else
		ret = copy_ranges(e, &r, err);
	*left = e->pages - before;
	return ret;
}
