/* SPDX-License-Identifier: MIT */
/*
 * The checkpoint engine `precopy`: the first checkpoint is CRIU's, and from its cut on written pages are known
 * (dirty.h). The next ones copy them while the container runs, round after round, and stop it only for the few
 * that are left, its registers and the cut.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "dirty.h"
#include "engines.h"
#include "execwatch.h"
#include "fault.h"
#include "locklog.h"
#include "ptrace.h"
#include "threads.h"
#include "util.h"

#define FEW_PAGES 64 /* so many are left for the pause */
#define ROUNDS	  4

struct process {
	pid_t pid;
	uint32_t ns_pid;
	struct rrc_dirty *dirty;
	struct rrc_pages *pages;
	uint64_t heap_end;
	uint64_t stack_start, stack_end; /* as the backup has it */
};

struct thread {
	pid_t tid;
	uint32_t ns_tid;
	size_t process;
	struct rrc_delta_thread state;
	uint8_t *xsave;
};

struct precopy {
	const struct rrc_checkpointer_opts *o;
	struct process *procs;
	size_t nprocs;
	struct thread *threads; /* by id; known until one is born, ends or executes */
	size_t nthreads;
	int watching; /* since the cut of a whole checkpoint */
	struct rrc_error cannot; /* why writes cannot be watched in this container */
	struct rrc_sockets sockets; /* as of so many changes of the descriptor table */
	uint64_t sockets_at;
	int have_sockets;
	struct rrc_taking *t; /* the checkpoint in the making */
	struct rrc_freeze freeze;
	uint64_t pages; /* copied in this one */
	int cut_asked;
};

static void forget_threads(struct precopy *e)
{
	for (size_t i = 0; i < e->nthreads; i++)
		free(e->threads[i].xsave);
	free(e->threads);
	e->threads = NULL;
	e->nthreads = 0;
}

/* Nothing is watched any more; what was noticed is of no use. */
static void forget(struct precopy *e)
{
	forget_threads(e);
	for (size_t i = 0; i < e->nprocs; i++) {
		rrc_dirty_free(e->procs[i].dirty);
		rrc_pages_free(e->procs[i].pages);
	}
	free(e->procs);
	e->procs = NULL;
	e->nprocs = 0;
	e->watching = 0;
	rrc_sockets_free(&e->sockets);
	e->have_sockets = 0;
}

static void *open_engine(const struct rrc_checkpointer_opts *o, struct rrc_error *err)
{
	struct precopy *e = calloc(1, sizeof(*e));

	if (!e)
		rrc_fail(err, ENOMEM, "no memory");
	else
		e->o = o;
	return e;
}

static void close_engine(void *engine)
{
	forget(engine);
	free(engine);
}

/* ---- a whole checkpoint, and watching from its cut on ---- */

/* All threads are stopped: each process gives away a descriptor. */
static int attach(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err)
{
	struct precopy *e = ctx;
	int ret = 0;

	e->o->record(e->o->ctx, 0);
	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		struct process *p = &e->procs[i];
		int there = 0;

		for (size_t k = 0; k < n && !there; k++)
			there = tids[k] == p->pid;
		if (!there)
			ret = rrc_fail(err, EAGAIN, "process %d has no first thread", p->pid);
		else if (!(p->dirty = rrc_dirty_new(p->pid, p->pid, err)))
			ret = err->code;
	}
	e->o->record(e->o->ctx, 1);
	return ret;
}

static int watch_all(struct precopy *e, struct rrc_error *err)
{
	struct rrc_freeze f = { .frozen = attach, .ctx = e };
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(e->o->container->pidns, &pids), ret = 0;

	if (n <= 0)
		return rrc_fail(err, n ? n : ESRCH, "the container has no processes");
	e->procs = calloc((size_t)n, sizeof(*e->procs));
	if (!e->procs)
		return rrc_fail(err, ENOMEM, "no memory");
	for (int i = 0; i < n; i++) {
		struct process *p = &e->procs[e->nprocs++];

		p->pid = pids[i];
		p->ns_pid = (uint32_t)rrc_ns_tid(pids[i]);
		p->pages = rrc_pages_new();
		if (!p->pages)
			return rrc_fail(err, ENOMEM, "no memory");
	}
	ret = rrc_execwatch_freeze(e->o->watch, &f, err);
	return ret;
}

/* The container is frozen: who was born since has no descriptor. */
static int all_there(struct precopy *e)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(e->o->container->pidns, &pids);

	if (n != (int)e->nprocs)
		return 0;
	for (int i = 0; i < n; i++) {
		size_t k = 0;

		while (k < e->nprocs && e->procs[k].pid != pids[i])
			k++;
		if (k == e->nprocs)
			return 0;
	}
	return 1;
}

static void stack_of(struct process *p)
{
	if (!rrc_dirty_stack(p->dirty, &p->stack_start, &p->stack_end))
		p->stack_start = p->stack_end = 0;
}

/* At the cut of a whole checkpoint. What goes wrong here costs deltas, not the checkpoint. */
static int begin_watching(void *ctx, struct rrc_error *err)
{
	struct precopy *e = ctx;
	rrc_autofree struct rrc_range *ranges = NULL;

	(void)err;
	e->watching = all_there(e) && rrc_changes_take(e->o->changes, &ranges) >= 0;
	for (size_t i = 0; i < e->nprocs && e->watching; i++) {
		struct process *p = &e->procs[i];

		if (rrc_dirty_map(p->dirty, &e->cannot) || rrc_dirty_begin(p->dirty, &e->cannot))
			e->watching = 0;
		p->heap_end = rrc_dirty_heap_end(p->dirty);
		stack_of(p);
	}
	return 0;
}

static int whole(void *engine, struct rrc_taking *t, struct rrc_error *err)
{
	struct precopy *e = engine;
	int ret;

	forget(e);
	memset(&e->cannot, 0, sizeof(e->cannot));
	if (e->o->watch && e->o->changes && !watch_all(e, &e->cannot)) {
		t->at_cut = begin_watching;
		t->ctx = e;
	}
	ret = rrc_stop_whole(t, err);
	if (ret || !e->watching)
		forget(e);
	return ret;
}

/* ---- a delta: while the container runs ---- */

static int know_threads(struct precopy *e, struct rrc_error *err)
{
	if (e->threads)
		return 0;
	for (size_t i = 0; i < e->nprocs; i++) {
		rrc_autofree pid_t *tids = NULL;
		int n = rrc_threads(e->procs[i].pid, &tids);
		struct thread *more;

		if (n <= 0)
			return rrc_fail(err, ENOTSUP, "process %d is gone", e->procs[i].pid);
		more = realloc(e->threads, (e->nthreads + (size_t)n) * sizeof(*more));
		if (!more)
			return rrc_fail(err, ENOMEM, "no memory");
		e->threads = more;
		for (int k = 0; k < n; k++) {
			struct thread *t = &e->threads[e->nthreads];

			*t = (struct thread){ .tid = tids[k],
					      .ns_tid = (uint32_t)rrc_ns_tid(tids[k]),
					      .process = i,
					      .xsave = malloc(RRC_DELTA_MAX_XSAVE) };
			if (!t->xsave)
				return rrc_fail(err, ENOMEM, "no memory");
			e->nthreads++;
		}
	}
	return 0;
}

static struct process *process_at(struct precopy *e, uint32_t ns_pid)
{
	for (size_t i = 0; i < e->nprocs; i++)
		if (e->procs[i].ns_pid == ns_pid)
			return &e->procs[i];
	return NULL;
}

static int collect_sockets(struct precopy *e, struct rrc_error *err)
{
	uint64_t now = rrc_changes_descriptors(e->o->changes);

	if (e->have_sockets && now == e->sockets_at)
		return 0;
	rrc_sockets_free(&e->sockets);
	e->have_sockets = 0;
	if (rrc_sockets_collect(&e->sockets, e->o->container->pidns, 0, err))
		return err->code;
	e->have_sockets = 1;
	e->sockets_at = now;
	return 0;
}

/* All pages that were written, and those of which the log says that a call gave or took them. */
static int round_of(struct precopy *e, uint64_t *left, struct rrc_error *err)
{
	rrc_autofree struct rrc_range *ranges = NULL;
	long n = rrc_changes_take(e->o->changes, &ranges);
	uint64_t count;
	int ret = 0;

	*left = 0;
	/* In this order: what is written after the look at the ranges is found in the next round. */
	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		struct process *p = &e->procs[i];

		if (n)
			ret = rrc_dirty_map(p->dirty, err);
		if (!ret)
			ret = rrc_dirty_collect(p->dirty, p->pages, &count, err);
		*left += ret ? 0 : count;
	}
	for (long i = 0; i < n && !ret; i++) {
		struct process *p = process_at(e, ranges[i].pid);
		uint64_t start = ranges[i].start, end = ranges[i].end;

		if (!p)
			return rrc_fail(err, ENOTSUP, "a process that nobody watches");
		if (ranges[i].brk) {
			end = rrc_max(p->heap_end, ranges[i].start);
			start = p->heap_end ? rrc_min(p->heap_end, ranges[i].start) : 0;
			p->heap_end = ranges[i].start;
		}
		ret = rrc_dirty_range(p->dirty, start, end, p->pages, &count, err);
		*left += ret ? 0 : count;
	}
	e->pages += *left;
	return ret;
}

static int live_rounds(struct precopy *e, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	uint64_t left = UINT64_MAX;
	int ret = 0;

	while (!ret && left > FEW_PAGES && times->rounds < ROUNDS) {
		ret = round_of(e, &left, err);
		times->rounds++;
	}
	times->live_pages = e->pages;
	return ret;
}

/* ---- in the pause, in the watcher's thread ---- */

static struct thread *thread_at(struct precopy *e, pid_t tid)
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
		struct thread *t = thread_at(e, tids[i]);
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
		struct thread *t = &e->threads[i];
		int ret = rrc_thread_take(t->tid, &t->state, t->xsave);

		if (ret)
			return rrc_fail(err, ENOTSUP, "registers of thread %d: %s", t->tid,
					strerror(-ret));
		t->state.pid = e->procs[t->process].ns_pid;
		t->state.tid = t->ns_tid;
	}
	return 0;
}

/* The lock log's head and slots: the collector writes there, too, by a mapping of its own that nobody watches. */
static int take_locklogs(struct precopy *e, struct rrc_error *err)
{
	uint64_t count;

	for (size_t i = 0; i < e->nprocs; i++) {
		struct process *p = &e->procs[i];
		uint64_t at = rrc_dirty_locklog(p->dirty);
		uint32_t slots = 0;
		int ret;

		if (!at)
			continue;
		ret = rrc_mem_read(p->pid, at + offsetof(struct rrc_ll_area, slots), &slots,
				   sizeof(slots));
		slots = rrc_min(slots, (uint32_t)RRC_LL_SLOTS);
		if (ret)
			return rrc_fail(err, ret, "the lock log of process %d", p->pid);
		ret = rrc_dirty_range(p->dirty, at,
				      at + offsetof(struct rrc_ll_area, slot) +
					      slots * sizeof(struct rrc_ll_slot),
				      p->pages, &count, err);
		if (ret)
			return ret;
		e->pages += count;
	}
	return 0;
}

static int final_pages(struct precopy *e, struct rrc_error *err)
{
	uint64_t left, count;
	int ret = round_of(e, &left, err);

	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = rrc_dirty_unwatched(e->procs[i].dirty, e->procs[i].pages, &count, err);
	return ret;
}

/* The collector drains and places the cut, while we copy. What it finds in the log at last may say that
 * mappings changed: then these are looked at once more. */
static int take_state(struct precopy *e, uint64_t began, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	uint64_t scanned, registers, drained, left;
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
		ret = round_of(e, &left, err);
	if (!ret)
		ret = take_locklogs(e, err);
	if (!ret)
		ret = collect_sockets(e, err);
	/* What is valid only now, while the threads stand still, goes into the manifest. */
	e->t->sockets = e->sockets;
	if (!ret)
		ret = rrc_taking_manifest(e->t, RRC_MANIFEST_DELTA, err);
	e->t->sockets = (struct rrc_sockets){ 0 };
	times->scan = scanned - began;
	times->registers = registers - scanned;
	times->drain = drained - registers;
	times->rest = rrc_now_ns(CLOCK_MONOTONIC) - drained;
	return ret;
}

static int frozen(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err)
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

/* ---- the delta, when the container runs again ---- */

static int add_process(struct precopy *e, struct process *p, struct rrc_delta *d,
		       struct rrc_error *err)
{
	struct rrc_delta_stack s = { .pid = p->ns_pid, .start = p->stack_start };
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t n;
	int ret = 0;

	stack_of(p);
	s.end = p->stack_end;
	/* As far as it ever came: it never gets smaller. */
	if (p->stack_start && p->stack_start < s.start) {
		s.start = p->stack_start;
		ret = rrc_delta_add_stack(d, &s);
	}
	n = rrc_pages_all(p->pages, &addr, &data);
	e->t->times.pages += n;
	if (!ret)
		ret = rrc_delta_add_pages(d, p->ns_pid, addr, data, n);
	rrc_pages_clear(p->pages);
	return ret ? rrc_fail(err, ret, "no memory for a delta") : 0;
}

static int build(struct precopy *e, struct rrc_error *err)
{
	struct rrc_taking *t = e->t;
	struct rrc_delta *d = t->delta = rrc_delta_new(t->number, t->after);
	struct rrc_manifest_file f;
	const void *bytes;
	size_t len;
	int ret = 0;

	if (!d)
		return rrc_fail(err, ENOMEM, "no memory for a delta");
	for (size_t i = 0; i < e->nthreads && !ret; i++)
		if (rrc_delta_add_thread(d, &e->threads[i].state, e->threads[i].xsave))
			ret = rrc_fail(err, ENOMEM, "no memory for a delta");
	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = add_process(e, &e->procs[i], d, err);
	if (ret)
		return ret;
	bytes = rrc_delta_bytes(d, &len);
	f = (struct rrc_manifest_file){ len, XXH3_64bits(bytes, len) };
	if (rrc_manifest_add(t->manifest, RRC_SECTION_FILE, &f, sizeof(f), RRC_DELTA_NAME,
			     strlen(RRC_DELTA_NAME)))
		return rrc_fail(err, ENOMEM, "no memory for a manifest");
	return 0;
}

static int try_delta(struct precopy *e, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	int ret = know_threads(e, err);

	if (!ret)
		ret = live_rounds(e, err);
	if (!ret)
		ret = collect_sockets(e, err);
	if (ret)
		return ret;
	e->cut_asked = 0;
	e->freeze = (struct rrc_freeze){ .frozen = frozen, .ctx = e };
	ret = rrc_execwatch_freeze(e->o->watch, &e->freeze, err);
	times->park = e->freeze.frozen_ns - e->freeze.asked_ns;
	times->pause = e->freeze.resumed_ns - e->freeze.asked_ns;
	return ret ? ret : build(e, err);
}

static int delta(void *engine, struct rrc_taking *t, struct rrc_error *err)
{
	struct precopy *e = engine;
	int ret;

	if (!e->watching)
		return e->cannot.code ? rrc_fail(err, ENOSYS, "%s", e->cannot.msg)
				      : rrc_fail(err, ENOTSUP, "writes are not watched yet");
	e->t = t;
	e->pages = 0;
	ret = try_delta(e, err);
	e->t = NULL;
	/* What was copied stays good for the next attempt, if there was no cut. */
	if (!ret || (ret == -EBUSY && !e->cut_asked))
		return ret;
	forget(e);
	return ret == -EBUSY ? -ENOTSUP : ret;
}

static void explain(void *engine, void (*tell)(void *ctx, const char *name), void *ctx)
{
	struct precopy *e = engine;

	for (size_t i = 0; i < e->nprocs; i++) {
		const char *name;
		size_t iter = 0;

		while ((name = rrc_dirty_unwatched_name(e->procs[i].dirty, &iter)))
			tell(ctx, name);
	}
}

const struct rrc_ckpt_engine rrc_ckpt_precopy = {
	.name = "precopy",
	.probe = rrc_dirty_probe,
	.open = open_engine,
	.close = close_engine,
	.whole = whole,
	.delta = delta,
	.explain = explain,
};
