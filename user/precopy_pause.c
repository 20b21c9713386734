/* SPDX-License-Identifier: MIT */
/* Engine precopy: the pause. In the watcher's thread, which traces the container's. */
#include <errno.h>
#include <string.h>

#include "fault.h"
#include "precopy_int.h"
#include "ptrace.h"
#include "threads.h"
#include "util.h"

static struct pre_thread *thread_at(struct precopy *e, pid_t tid)
{
	for (size_t i = 0; i < e->nthreads; i++)
		if (e->threads[i].tid == tid)
			return &e->threads[i];
	return NULL;
}

static int check_threads(struct precopy *e, const pid_t *tids, size_t n, struct rrc_error *err)
{
	if (n != e->nthreads)
		return rrc_fail(err, ENOTSUP, "threads came or went");
	for (size_t i = 0; i < n; i++) {
		struct pre_thread *t = thread_at(e, tids[i]);
		int ret;

		if (!t)
			return rrc_fail(err, ENOTSUP, "threads came or went");
		ret = rrc_thread_pending(tids[i], tids[i] == e->procs[t->process].pid);
		if (ret)
			return rrc_fail(err, ret == -EAGAIN ? EBUSY : ENOTSUP,
					"a signal waits for thread %d", tids[i]);
	}
	return 0;
}

static int take_registers(struct precopy *e, struct rrc_error *err)
{
	for (size_t i = 0; i < e->nthreads; i++) {
		struct pre_thread *t = &e->threads[i];
		int ret = rrc_thread_take(t->tid, &t->state, t->xsave);

		if (ret)
			return rrc_fail(err, ENOTSUP, "registers of thread %d: %s", t->tid,
					strerror(-ret));
		t->state.pid = e->procs[t->process].ns_pid;
		t->state.tid = t->ns_tid;
	}
	return 0;
}

static int take_locklogs(struct precopy *e, struct rrc_error *err)
{
	uint64_t count, len;

	for (size_t i = 0; i < e->nprocs; i++) {
		struct pre_process *p = &e->procs[i];
		uint64_t at = rrc_dirty_locklog(p->dirty);
		int ret;

		if (!at)
			continue;
		ret = rrc_deltas_locklog(p->pid, at, &len, err);
		if (!ret)
			ret = rrc_dirty_range(p->dirty, at, at + len, p->pages, &count, err);
		if (ret)
			return ret;
		e->pages += count;
	}
	return 0;
}

static int final_pages(struct precopy *e, struct rrc_error *err)
{
	uint64_t count;
	int ret = rrc_precopy_last(e, err);

	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = rrc_dirty_unwatched(e->procs[i].dirty, e->procs[i].pages, &count, err);
	return ret;
}

/* What the log brought at last may say that mappings or descriptors changed: these are looked at once more. */
static int after_cut(struct precopy *e, struct rrc_error *err)
{
	int ret = rrc_precopy_after(e, err);

	if (!ret)
		ret = take_locklogs(e, err);
	if (!ret)
		ret = rrc_deltas_sockets(&e->kept, err);
	return ret ? ret : rrc_deltas_restarts(&e->kept, &e->t->cut, err);
}

/* The collector drains and places the cut, while we copy. */
static int take_state(struct precopy *e, uint64_t began, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	uint64_t scanned, registers, drained;
	int ret, cut;

	ret = final_pages(e, err);
	scanned = rrc_now_ns(CLOCK_MONOTONIC);
	if (!ret)
		ret = take_registers(e, err);
	registers = rrc_now_ns(CLOCK_MONOTONIC);
	cut = e->o->cut_end(e->o->ctx, &e->t->cut, ret ? NULL : err);
	drained = rrc_now_ns(CLOCK_MONOTONIC);
	rrc_fault(RRC_FAULT_CUT);
	ret = ret ? ret : cut;
	if (!ret)
		ret = after_cut(e, err);
	times->last_pages = e->pages - times->live_pages;
	times->looked = (uint64_t)e->looked;
	times->scan = scanned - began;
	times->registers = registers - scanned;
	times->drain = drained - registers;
	times->rest = rrc_now_ns(CLOCK_MONOTONIC) - drained;
	return ret;
}

int rrc_precopy_frozen(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err)
{
	struct precopy *e = ctx;
	uint64_t began = rrc_now_ns(CLOCK_MONOTONIC);
	int ret = check_threads(e, tids, n, err);

	if (ret)
		return ret;
	rrc_fault(RRC_FAULT_FROZEN);
	ret = e->o->cut_begin(e->o->ctx, e->t->number, 1);
	if (ret)
		return rrc_fail(err, ENOTSUP, "cannot ask for a cut: %s", strerror(-ret));
	e->cut_asked = 1;
	return take_state(e, began, err);
}
