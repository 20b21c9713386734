/* SPDX-License-Identifier: MIT */
/*
 * The checkpoint engine `kfork`: the first checkpoint is CRIU's. For each of the next ones the fork module
 * (kmod-fork/) copies the whole container on write, which takes about as long as a fork() of it; that is the pause.
 * What was written since the last copy, and the registers, are read from the copy while the container runs. For
 * kernels where writes cannot be watched (precopy), and which may have modules.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kfork_int.h"
#include "ptrace.h"
#include "util.h"

static void drop_copy(struct kfork *e, int which)
{
	for (size_t i = 0; i < e->nprocs; i++) {
		struct kfork_process *p = &e->procs[i];

		if (p->have_copy[which])
			rrc_shadowmem_close(&p->copy[which]);
		p->have_copy[which] = 0;
	}
	rrc_forkdev_drop(&e->dev[which]);
}

/* There is no copy any more, nor anything that one could be compared with. */
static void forget(struct kfork *e)
{
	drop_copy(e, 0);
	drop_copy(e, 1);
	for (size_t i = 0; i < e->nprocs; i++) {
		rrc_shadowmem_close(&e->procs[i].original);
		rrc_pages_free(e->procs[i].pages);
		free(e->procs[i].heads);
	}
	free(e->procs);
	e->procs = NULL;
	e->nprocs = 0;
	e->watching = 0;
	rrc_deltas_forget(&e->kept);
}

static void close_engine(void *engine)
{
	struct kfork *e = engine;

	forget(e);
	rrc_forkdev_close(&e->dev[0]);
	rrc_forkdev_close(&e->dev[1]);
	if (e->pidns >= 0)
		close(e->pidns);
	free(e->xsave);
	free(e);
}

static int open_all(struct kfork *e, struct rrc_error *err)
{
	char path[64];
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", e->o->container->pid);
	e->pidns = open(path, O_RDONLY | O_CLOEXEC);
	if (e->pidns < 0)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	ret = rrc_shadowmem_probe(&e->marks, err);
	for (int i = 0; i < 2 && !ret; i++)
		ret = rrc_forkdev_open(&e->dev[i], e->pidns, err);
	return ret;
}

static void *open_engine(const struct rrc_checkpointer_opts *o, struct rrc_error *err)
{
	struct kfork *e = calloc(1, sizeof(*e));

	if (!e) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	e->o = e->kept.o = o;
	e->pidns = e->dev[0].fd = e->dev[1].fd = -1;
	e->xsave = malloc(RRC_DELTA_MAX_XSAVE);
	if (!e->xsave)
		rrc_fail(err, ENOMEM, "no memory");
	if (e->xsave && !open_all(e, err))
		return e;
	close_engine(e);
	return NULL;
}

static int probe(struct rrc_error *err)
{
	int ret = rrc_forkdev_probe(err);
	bool marks;

	return ret ? ret : rrc_shadowmem_probe(&marks, err);
}

struct kfork_process *rrc_kfork_process(struct kfork *e, int32_t ns_pid)
{
	for (size_t i = 0; i < e->nprocs; i++)
		if (e->procs[i].ns_pid == (uint32_t)ns_pid)
			return &e->procs[i];
	return NULL;
}

/* ---- a whole checkpoint ---- */

static int begin_process(struct kfork *e, pid_t pid, struct rrc_error *err)
{
	struct kfork_process *p = &e->procs[e->nprocs];
	rrc_autofree pid_t *tids = NULL;
	int n = rrc_threads(pid, &tids);
	int ret = rrc_shadowmem_open(&p->original, pid, err);

	if (ret)
		return ret;
	e->nprocs++;
	p->pid = pid;
	p->ns_pid = (uint32_t)rrc_ns_tid(pid);
	p->pages = rrc_pages_new();
	if (n <= 0 || !p->pages)
		return rrc_fail(err, ENOMEM, "process %d", pid);
	p->nthreads = (size_t)n;
	for (size_t i = 0; i < p->original.maps.n; i++) {
		const struct rrc_mapping *m = &p->original.maps.map[i];

		if (m->stack)
			p->stack = (struct rrc_deltas_stack){ m->start, m->end };
		if (m->locklog)
			p->locklog = m->start;
	}
	return e->marks ? rrc_shadowmem_clear(pid, err) : 0;
}

/* At the cut, everything is frozen. What goes wrong here costs deltas, not the checkpoint. */
static int begin_watching(void *ctx, struct rrc_error *err)
{
	struct kfork *e = ctx;
	rrc_autofree struct rrc_range *ranges = NULL;
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(e->o->container->pidns, &pids), ret = 0;

	(void)err;
	e->procs = n > 0 ? calloc((size_t)n, sizeof(*e->procs)) : NULL;
	if (!e->procs)
		ret = rrc_fail(&e->cannot, ENOMEM, "the container's processes");
	for (int i = 0; i < n && !ret; i++)
		ret = begin_process(e, pids[i], &e->cannot);
	e->watching = !ret && rrc_changes_take(e->o->changes, &ranges) >= 0;
	return 0;
}

static int whole(void *engine, struct rrc_taking *t, struct rrc_error *err)
{
	struct kfork *e = engine;
	int ret;

	forget(e);
	memset(&e->cannot, 0, sizeof(e->cannot));
	if (e->o->watch && e->o->changes) {
		t->at_cut = begin_watching;
		t->ctx = e;
	}
	ret = rrc_stop_whole(t, err);
	if (ret || !e->watching)
		forget(e);
	return ret;
}

/* ---- a delta ---- */

static int try_delta(struct kfork *e, struct rrc_error *err)
{
	int ret = rrc_deltas_sockets(&e->kept, err);

	if (!ret)
		ret = rrc_execwatch_settled(e->o->watch, err);
	if (!ret)
		ret = rrc_kfork_pause(e, err);
	return ret ? ret : rrc_kfork_read(e, err);
}

static int delta(void *engine, struct rrc_taking *t, struct rrc_error *err)
{
	struct kfork *e = engine;
	int ret;

	if (!e->watching)
		return e->cannot.code ? rrc_fail(err, ENOSYS, "%s", e->cannot.msg)
				      : rrc_fail(err, ENOTSUP, "there is nothing to compare with");
	e->t = t;
	e->cut_asked = 0;
	e->now = !e->last;
	rrc_deltas_step_back(1);
	ret = try_delta(e, err);
	rrc_deltas_step_back(0);
	rrc_deltas_drop_restarts(&e->kept);
	e->t = NULL;
	if (!ret) {
		drop_copy(e, e->last);
		e->last = e->now;
		return 0;
	}
	/* The copy before is as good as ever, if there was no cut since. */
	if (!e->cut_asked) {
		drop_copy(e, e->now);
		return ret;
	}
	forget(e);
	return ret == -EBUSY ? -ENOTSUP : ret;
}

static void explain(void *engine, void (*tell)(void *ctx, const char *name), void *ctx)
{
	struct kfork *e = engine;

	for (size_t i = 0; i < e->nprocs; i++) {
		const struct kfork_process *p = &e->procs[i];

		for (size_t k = 0; p->have_copy[e->last] && k < p->copy[e->last].maps.n; k++) {
			const struct rrc_mapping *m = &p->copy[e->last].maps.map[k];

			if (m->unwatched)
				tell(ctx, m->name);
		}
	}
}

const struct rrc_ckpt_engine rrc_ckpt_kfork = {
	.name = "kfork",
	.probe = probe,
	.open = open_engine,
	.close = close_engine,
	.whole = whole,
	.delta = delta,
	.explain = explain,
};
