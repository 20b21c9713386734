/* SPDX-License-Identifier: MIT */
/* Engine kfork: the container runs again, and the copy is read. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "kfork_int.h"
#include "ptrace.h"
#include "threads.h"
#include "util.h"

/* A thread that is traced can be parked inside a call, where the tracer would have stopped it; then it has no result
 * yet. */
static bool inside_call(const struct rrc_fork_thread *t)
{
	struct user_regs_struct regs;

	_Static_assert(sizeof(regs) == sizeof(t->regs), "the same words");
	memcpy(&regs, t->regs, sizeof(regs));
	return (long long)regs.orig_rax >= 0 && (long long)regs.rax == -ENOSYS;
}

/* What no delta carries: signals that wait, and threads of which the log does not know. */
static int check(struct kfork *e, struct rrc_error *err)
{
	const struct rrc_forkdev *d = &e->dev[e->now];
	const struct rrc_fork_rec *r = rrc_forkdev_next(d, NULL, RRC_FORK_SIGNAL);

	if (r)
		return rrc_fail(err, ENOTSUP, "a signal waits for process %d", r->pid);
	if (d->n != e->nprocs)
		return rrc_fail(err, ENOTSUP, "processes came or went");
	for (size_t i = 0; i < d->n; i++) {
		const struct kfork_process *p = rrc_kfork_process(e, d->procs[i].vpid);

		if (!p || p->nthreads != d->procs[i].threads || d->procs[i].shadow <= 0)
			return rrc_fail(err, ENOTSUP, "threads came or went");
	}
	r = NULL;
	while ((r = rrc_forkdev_next(d, r, RRC_FORK_THREAD))) {
		const struct rrc_fork_thread *t = (const struct rrc_fork_thread *)r;

		if (r->size < sizeof(*t) || inside_call(t))
			return rrc_fail(err, ENOTSUP, "thread %d is inside a call", r->tid);
	}
	return 0;
}

/* ---- registers ---- */

static int take_thread(struct kfork *e, const struct kfork_process *p, pid_t tid,
		       struct rrc_error *err)
{
	struct rrc_delta_thread t = { .pid = p->ns_pid };
	int ret = rrc_ns_tid(tid);

	t.tid = (uint32_t)ret;
	ret = ret < 0 ? ret : rrc_thread_take(tid, &t, e->xsave);
	if (ret)
		return rrc_fail(err, ret, "registers of thread %d: %s", tid, strerror(-ret));
	return rrc_deltas_thread(e->t, &t, e->xsave, err);
}

static int take_threads(struct kfork *e, const struct kfork_process *p, pid_t shadow,
			struct rrc_error *err)
{
	rrc_autofree pid_t *tids = NULL;
	int n = rrc_seize_process(shadow, 0, &tids, err), ret = n < 0 ? n : 0;

	if (!ret && (size_t)n != p->nthreads)
		ret = rrc_fail(err, ESRCH, "the copy of process %d has %d threads", p->pid, n);
	for (int i = 0; i < n && !ret; i++)
		ret = take_thread(e, p, tids[i], err);
	for (int i = 0; i < n; i++)
		ptrace(PTRACE_DETACH, tids[i], NULL, NULL);
	return ret;
}

/* ---- pages ---- */

/* Those were taken in the pause. */
static void mark_shared(struct kfork *e, const struct kfork_process *p, struct rrc_mappings *maps)
{
	const struct rrc_fork_rec *r = NULL;

	while ((r = rrc_forkdev_next(&e->dev[e->now], r, RRC_FORK_MAPPING))) {
		const struct rrc_fork_mapping *m = (const struct rrc_fork_mapping *)r;

		if ((uint32_t)r->pid != p->ns_pid || !(m->flags & RRC_FORK_MAP_SHARED))
			continue;
		for (size_t i = 0; i < maps->n; i++)
			if (maps->map[i].start >= m->start && maps->map[i].end <= m->end)
				maps->map[i].unwatched = true;
	}
}

static int put_heads(struct kfork_process *p, struct rrc_error *err)
{
	uint8_t *room;
	int ret = 0;

	if (!p->locklog || !p->heads_len)
		return 0;
	room = rrc_pages_room(p->pages, p->heads_len / RRC_PAGE);
	if (!room)
		return rrc_fail(err, ENOMEM, "no memory");
	memcpy(room, p->heads, p->heads_len);
	for (uint64_t i = 0; i < p->heads_len && !ret; i += RRC_PAGE)
		ret = rrc_pages_put(p->pages, p->locklog + i, room + i);
	return ret ? rrc_fail(err, ret, "no memory") : 0;
}

static int take_pages(struct kfork *e, struct kfork_process *p, pid_t shadow, struct rrc_error *err)
{
	struct rrc_shadowmem *now = &p->copy[e->now];
	const struct rrc_shadowmem *before = p->have_copy[e->last] ? &p->copy[e->last] : NULL;
	uint64_t count;
	int ret = rrc_shadowmem_open(now, shadow, err);

	if (ret)
		return ret;
	p->have_copy[e->now] = 1;
	mark_shared(e, p, &now->maps);
	ret = rrc_shadowmem_written(now, before, e->marks, p->pages, &count, err);
	if (ret)
		return ret;
	e->t->times.live_pages += count;
	return put_heads(p, err);
}

static int add_process(struct kfork *e, struct kfork_process *p, struct rrc_error *err)
{
	const struct rrc_mappings *maps = &p->copy[e->now].maps;
	struct rrc_deltas_stack now = { 0 };

	for (size_t i = 0; i < maps->n; i++)
		if (maps->map[i].stack)
			now = (struct rrc_deltas_stack){ maps->map[i].start, maps->map[i].end };
	return rrc_deltas_process(e->t, p->ns_pid, p->pages, NULL, &p->stack, &now, err);
}

int rrc_kfork_read(struct kfork *e, struct rrc_error *err)
{
	struct rrc_forkdev *d = &e->dev[e->now];
	int ret = check(e, err);

	if (!ret)
		ret = rrc_forkdev_wait(d, err);
	if (!ret)
		ret = rrc_deltas_begin(&e->kept, e->t, err);
	for (size_t i = 0; i < d->n && !ret; i++)
		ret = take_threads(e, rrc_kfork_process(e, d->procs[i].vpid), d->procs[i].shadow,
				   err);
	for (size_t i = 0; i < d->n && !ret; i++)
		ret = take_pages(e, rrc_kfork_process(e, d->procs[i].vpid), d->procs[i].shadow,
				 err);
	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = add_process(e, &e->procs[i], err);
	return ret ? ret : rrc_deltas_end(e->t, err);
}
