/* SPDX-License-Identifier: MIT */
/* Engine kfork: the pause. The container's threads stand in the kernel, parked by the module. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "kfork_int.h"
#include "ptrace.h"
#include "util.h"

#define MOST_SHARED (16u << 20) /* bytes of files in shared memory that are copied each time */

/* Nobody who has nothing to do with the container may keep it standing: while it does, we come first. */
static void hurry(int on)
{
	struct sched_param sp = { .sched_priority = on ? 1 : 0 };

	pthread_setschedparam(pthread_self(), on ? SCHED_RR : SCHED_OTHER, &sp);
}

/* What the collector writes there does not go through the program's memory; it has just drained. */
static int take_locklog(struct kfork_process *p, struct rrc_error *err)
{
	uint64_t len;
	uint8_t *more;
	int ret;

	if (!p->locklog)
		return 0;
	ret = rrc_deltas_locklog(p->pid, p->locklog, &len, err);
	if (ret)
		return ret;
	len = (len + RRC_PAGE - 1) & ~(uint64_t)(RRC_PAGE - 1);
	more = len > p->heads_len ? realloc(p->heads, len) : p->heads;
	if (!more)
		return rrc_fail(err, ENOMEM, "no memory");
	p->heads = more;
	p->heads_len = len;
	ret = rrc_mem_read(p->pid, p->locklog, p->heads, len);
	return ret ? rrc_fail(err, ret, "the lock log of process %d", p->pid) : 0;
}

/* What the copy shares with the originals will be written there: it is copied now. */
static int take_shared(struct kfork *e, struct rrc_error *err)
{
	const struct rrc_fork_rec *r = NULL;
	uint64_t left = MOST_SHARED / RRC_PAGE, count;

	while ((r = rrc_forkdev_next(&e->dev[e->now], r, RRC_FORK_MAPPING))) {
		const struct rrc_fork_mapping *m = (const struct rrc_fork_mapping *)r;
		struct kfork_process *p = rrc_kfork_process(e, r->pid);
		int ret;

		if (r->size < sizeof(*m) || !p)
			return rrc_fail(err, ENOTSUP, "a process that nobody knows");
		if (!(m->flags & RRC_FORK_MAP_SHARED))
			continue;
		ret = rrc_shadowmem_all(&p->original, m->start, m->end, left, p->pages, &count,
					err);
		if (ret == -E2BIG)
			return rrc_fail(err, ENOSYS,
					"process %d has more than %u MB of files in shared memory",
					p->pid, MOST_SHARED >> 20);
		if (ret)
			return ret;
		left -= count;
	}
	return 0;
}

static int after_cut(struct kfork *e, struct rrc_error *err)
{
	struct rrc_range *ranges = NULL;
	int ret = take_shared(e, err);

	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = take_locklog(&e->procs[i], err);
	/* What the log brought at last may say that descriptors changed. */
	if (!ret)
		ret = rrc_deltas_sockets(&e->kept, err);
	if (!ret)
		ret = rrc_deltas_restarts(&e->kept, &e->t->cut, err);
	/* Memory that came or went is seen in the copy. */
	if (!ret && rrc_changes_take(e->o->changes, &ranges) < 0)
		ret = rrc_fail(err, ENOMEM, "no memory");
	free(ranges);
	return ret;
}

/* The collector drains and places the cut while the kernel copies. */
static int stand(struct kfork *e, struct rrc_error *err)
{
	struct rrc_checkpoint_times *times = &e->t->times;
	uint64_t copied, drained;
	int ret, cut;

	rrc_fault(RRC_FAULT_FROZEN);
	ret = e->o->cut_begin(e->o->ctx, e->t->number, 1);
	if (ret)
		return rrc_fail(err, ENOTSUP, "cannot ask for a cut: %s", strerror(-ret));
	e->cut_asked = 1;
	ret = rrc_forkdev_fork(&e->dev[e->now], err);
	copied = rrc_now_ns(CLOCK_MONOTONIC);
	cut = e->o->cut_end(e->o->ctx, &e->t->cut, ret ? NULL : err);
	drained = rrc_now_ns(CLOCK_MONOTONIC);
	rrc_fault(RRC_FAULT_CUT);
	ret = ret ? ret : cut;
	if (!ret)
		ret = after_cut(e, err);
	times->copy = e->dev[e->now].copy_ns;
	times->drain = drained - copied;
	times->rest = rrc_now_ns(CLOCK_MONOTONIC) - drained;
	return ret;
}

int rrc_kfork_pause(struct kfork *e, struct rrc_error *err)
{
	struct rrc_forkdev *d = &e->dev[e->now];
	int ret, gone;

	hurry(1);
	ret = rrc_forkdev_park(d, err);
	if (!ret) {
		ret = stand(e, err);
		/* The cut is none, if they went on before (rule 3). */
		gone = rrc_forkdev_release(d, ret ? NULL : err);
		ret = ret ? ret : gone;
	}
	hurry(0);
	e->t->times.park = d->park_ns;
	e->t->times.pause = d->pause_ns;
	return ret;
}
