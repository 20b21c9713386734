/* SPDX-License-Identifier: MIT */
/*
 * The checkpoint engine `precopy`: the first checkpoint is CRIU's, and from its cut on written pages are known
 * (dirty.h). The next ones copy them while the container runs, round after round, and stop it only for the few
 * that are left, its registers and the cut.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "precopy_int.h"
#include "ptrace.h"
#include "util.h"

#define FEW_PAGES     128 /* so many are left for the pause */
#define ROUNDS	      4
#define RRC_SENT_PART 4 /* of the memory that is free at first: for pages as they were sent */

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
		rrc_sent_free(e->procs[i].sent);
	}
	free(e->procs);
	e->procs = NULL;
	e->nprocs = 0;
	e->watching = 0;
	rrc_deltas_forget(&e->kept);
}

static void *open_engine(const struct rrc_checkpointer_opts *o, struct rrc_error *err)
{
	struct precopy *e = calloc(1, sizeof(*e));

	if (!e) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	e->o = e->kept.o = o;
	e->budget = (size_t)sysconf(_SC_AVPHYS_PAGES) / RRC_SENT_PART;
	/* Without it all pages are looked at in each pause. */
	if (o->changes)
		e->log = rrc_writelog_open(o->container->pidns, NULL);
	return e;
}

static void close_engine(void *engine)
{
	struct precopy *e = engine;

	forget(e);
	rrc_writelog_free(e->log);
	free(e);
}

/* ---- a whole checkpoint, and watching from its cut on ---- */

/* All threads are stopped: each process gives away a descriptor. */
static int attach(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err)
{
	struct precopy *e = ctx;
	int ret = 0;

	e->o->record(e->o->ctx, 0);
	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		struct pre_process *p = &e->procs[i];
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

/* Descriptors with O_DIRECT that were opened before all calls are in the log. */
static int has_direct(pid_t pid)
{
	char path[64], line[64];
	struct dirent *d;
	DIR *dir;
	unsigned int flags = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir)) && !(flags & O_DIRECT)) {
		rrc_autoclose int fd = openat(dirfd(dir), d->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

		line[n > 0 ? n : 0] = 0;
		flags = 0;
		sscanf(line, "pos: %*u flags: %o", &flags);
	}
	if (dir)
		closedir(dir);
	return !!(flags & O_DIRECT);
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
		struct pre_process *p = &e->procs[e->nprocs++];

		p->pid = pids[i];
		p->ns_pid = (uint32_t)rrc_ns_tid(pids[i]);
		p->pages = rrc_pages_new();
		p->sent = rrc_sent_new(&e->budget);
		if (!p->pages || !p->sent)
			return rrc_fail(err, ENOMEM, "no memory");
		if (has_direct(p->pid))
			rrc_changes_direct(e->o->changes);
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

/* At the cut of a whole checkpoint. What goes wrong here costs deltas, not the checkpoint. */
static int begin_watching(void *ctx, struct rrc_error *err)
{
	struct precopy *e = ctx;
	rrc_autofree struct rrc_range *ranges = NULL;

	(void)err;
	e->watching = all_there(e) && rrc_changes_take(e->o->changes, &ranges) >= 0;
	for (size_t i = 0; i < e->nprocs && e->watching; i++) {
		struct pre_process *p = &e->procs[i];

		if (rrc_dirty_map(p->dirty, &e->cannot) || rrc_dirty_begin(p->dirty, &e->cannot))
			e->watching = 0;
		p->heap_end = rrc_dirty_heap_end(p->dirty);
		p->stack = rrc_precopy_stack(p);
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
		struct pre_thread *more;

		if (n <= 0)
			return rrc_fail(err, ENOTSUP, "process %d is gone", e->procs[i].pid);
		more = realloc(e->threads, (e->nthreads + (size_t)n) * sizeof(*more));
		if (!more)
			return rrc_fail(err, ENOMEM, "no memory");
		e->threads = more;
		for (int k = 0; k < n; k++) {
			struct pre_thread *t = &e->threads[e->nthreads];

			*t = (struct pre_thread){ .tid = tids[k],
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

static int live_rounds(struct precopy *e, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	uint64_t left = UINT64_MAX;
	int ret = 0;

	while (!ret && left > FEW_PAGES && times->rounds < ROUNDS) {
		ret = rrc_precopy_round(e, &left, err);
		times->rounds++;
		/* Each round makes the program take a fault for what it writes often: none that is not needed. What the
		 * round took says how much is left only if nobody counts it. */
		if (e->log)
			left = rrc_writelog_since(e->log);
	}
	times->live_pages = e->pages;
	return ret;
}

static int try_delta(struct precopy *e, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	int ret = know_threads(e, err);

	if (!ret)
		ret = live_rounds(e, err);
	if (!ret)
		ret = rrc_deltas_sockets(&e->kept, err);
	if (ret)
		return ret;
	e->cut_asked = 0;
	e->freeze = (struct rrc_freeze){ .frozen = rrc_precopy_frozen, .ctx = e };
	ret = rrc_execwatch_freeze(e->o->watch, &e->freeze, err);
	times->park = e->freeze.frozen_ns - e->freeze.asked_ns;
	times->pause = e->freeze.resumed_ns - e->freeze.asked_ns;
	return ret ? ret : rrc_precopy_delta(e, err);
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
	rrc_deltas_step_back(1);
	ret = try_delta(e, err);
	rrc_deltas_step_back(0);
	rrc_deltas_drop_restarts(&e->kept);
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
