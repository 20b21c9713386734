/* SPDX-License-Identifier: MIT */
/* Lock logs to records, see locks.h. */
#include <linux/sched.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "locklog.h"
#include "locks.h"
#include "ptrace.h"
#include "util.h"
#include "vdso.h"

#define RRC_LOOK_NS 10000000ull

struct process {
	struct rrc_locklog ll;
	uint32_t ns_pid;
	int executed; /* its program brought it while we watched */
	int gone; /* it ended or became another program: what it wrote before is drained once more */
	uint32_t ops[RRC_LL_SLOTS]; /* as last told */
	uint32_t missed; /* operations that the library could not record, as last seen */
	struct process *next; /* on its way from another thread */
};

struct rrc_locks {
	uint64_t pidns;
	struct process **procs;
	size_t n;
	int begun; /* the first cut is behind us: who comes now is handed over or told by the log */
	int look; /* processes came: look for their logs */
	uint64_t look_at; /* … but not before: some never come to one of their own */
	uint32_t *unseen; /* forked by one that records, and its own log was not seen yet */
	size_t nunseen;
	uint64_t lost;
	struct rrc_ll_moment first; /* for the times of events */
	/* Another thread only adds to `incoming` and reads procs, which we change under the lock alone. */
	pthread_mutex_t lock;
	struct process *incoming; /* looked at without the lock: atomic */
	struct {
		struct rrc_rec rec;
		struct rrc_seg seg;
		struct rrc_ll_event events[RRC_LL_RING];
	} out; /* the record in the making */
};

struct rrc_locks *rrc_locks_new(uint64_t pidns)
{
	struct rrc_locks *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->pidns = pidns;
	l->look = 1;
	l->first = rrc_locklog_moment();
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

static void free_process(struct process *p)
{
	rrc_locklog_close(&p->ll);
	free(p);
}

static void drop(struct rrc_locks *l, size_t i)
{
	struct process *p = l->procs[i];

	pthread_mutex_lock(&l->lock);
	l->procs[i] = l->procs[--l->n];
	pthread_mutex_unlock(&l->lock);
	free_process(p);
}

static enum rrc_locks_taken same(const struct process *p, const struct rrc_locklog *ll)
{
	if (p->ll.inode != ll->inode)
		return RRC_LOCKS_TAKEN;
	return p->ll.pid == ll->pid ? RRC_LOCKS_KNOWN : RRC_LOCKS_PARENTS;
}

/* Under the lock. Two mappings of one file are one area. */
static enum rrc_locks_taken whose(const struct rrc_locks *l, const struct rrc_locklog *ll)
{
	enum rrc_locks_taken w = RRC_LOCKS_TAKEN;

	for (size_t i = 0; i < l->n && w == RRC_LOCKS_TAKEN; i++)
		w = same(l->procs[i], ll);
	for (const struct process *p = l->incoming; p && w == RRC_LOCKS_TAKEN; p = p->next)
		w = same(p, ll);
	return w;
}

enum rrc_locks_taken rrc_locks_take(struct rrc_locks *l, const struct rrc_locklog *ll, int executed)
{
	struct process *p = calloc(1, sizeof(*p));
	enum rrc_locks_taken ours;

	if (!p)
		return RRC_LOCKS_PARENTS;
	p->ll = *ll;
	p->executed = executed;
	p->ns_pid = (uint32_t)rrc_ns_tid(ll->pid);
	pthread_mutex_lock(&l->lock);
	ours = whose(l, ll);
	if (ours == RRC_LOCKS_TAKEN) {
		p->next = l->incoming;
		__atomic_store_n(&l->incoming, p, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&l->lock);
	if (ours != RRC_LOCKS_TAKEN)
		free(p);
	return ours;
}

static void seen_at_last(struct rrc_locks *l, uint32_t ns_pid)
{
	for (size_t i = 0; i < l->nunseen; i++)
		if (l->unseen[i] == ns_pid)
			l->unseen[i--] = l->unseen[--l->nunseen];
}

/* What came from the other thread becomes part of the table. */
static void receive(struct rrc_locks *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->incoming) {
		struct process *p = l->incoming,
			       **more = realloc(l->procs, (l->n + 1) * sizeof(*more));

		if (!more)
			break;
		l->procs = more;
		l->incoming = p->next;
		l->procs[l->n++] = p;
		seen_at_last(l, p->ns_pid);
	}
	pthread_mutex_unlock(&l->lock);
}

void rrc_locks_free(struct rrc_locks *l)
{
	if (!l)
		return;
	receive(l);
	while (l->n) {
		rrc_locklog_set_mode(&l->procs[0]->ll, RRC_LL_OFF);
		drop(l, 0);
	}
	free(l->procs);
	free(l->unseen);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void rrc_locks_off(uint64_t pidns)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(pidns, &pids);

	for (int i = 0; i < n; i++) {
		struct rrc_locklog ll;

		if (rrc_locklog_open(pids[i], &ll, NULL))
			continue;
		rrc_locklog_set_mode(&ll, RRC_LL_OFF);
		rrc_locklog_close(&ll);
	}
}

static int have(const struct rrc_locks *l, pid_t pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->procs[i]->ll.pid == pid && !l->procs[i]->gone)
			return 1;
	return 0;
}

/* For those that nobody handed over: all that were there before, and children of a time when the watcher had let
 * go. 1: it has to be looked at again. */
static int look_at(struct rrc_locks *l, pid_t pid, int cut)
{
	struct rrc_locklog ll;
	enum rrc_locks_taken whose = RRC_LOCKS_KNOWN;

	if (have(l, pid) || rrc_locklog_open(pid, &ll, NULL))
		return 0;
	/* One that does not record is a new program that the watcher is about to hand over; or it begins now. */
	if (cut || ll.area->mode == RRC_LL_RECORD)
		whose = rrc_locks_take(l, &ll, 0);
	if (whose == RRC_LOCKS_TAKEN)
		return 0;
	rrc_locklog_close(&ll);
	/* A child that has not come back from fork() has written nothing yet. */
	return whose == RRC_LOCKS_PARENTS;
}

static void look(struct rrc_locks *l, int cut)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(l->pidns, &pids);

	l->look = 0;
	for (size_t i = 0; i < l->n && n >= 0; i++) {
		int there = 0;

		for (int j = 0; j < n && !there; j++)
			there = pids[j] == l->procs[i]->ll.pid;
		l->procs[i]->gone |= !there;
	}
	for (int i = 0; i < n; i++)
		l->look |= look_at(l, pids[i], cut);
	if (l->look)
		l->look_at = rrc_now_ns(CLOCK_MONOTONIC) + RRC_LOOK_NS;
	receive(l);
}

static int records(const struct rrc_locks *l, uint32_t ns_pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->procs[i]->ns_pid == ns_pid && !l->procs[i]->gone)
			return 1;
	return 0;
}

/* A process of its own memory, forked by one that records: it will have a log. */
static void on_birth(struct rrc_locks *l, const struct rrc_rec *rec)
{
	uint32_t *more;

	if (rec->args[1] != (uint64_t)rec->ret || rec->args[0] & CLONE_VM ||
	    !records(l, rec->pid) || records(l, (uint32_t)rec->ret))
		return;
	l->look = 1;
	l->look_at = 0;
	more = realloc(l->unseen, (l->nunseen + 1) * sizeof(*more));
	if (!more) {
		l->lost++;
		return;
	}
	l->unseen = more;
	more[l->nunseen++] = (uint32_t)rec->ret;
}

/* The process has this area still, and not the one of a program that it executed. */
static int still_there(const struct rrc_locklog *ll)
{
	struct rrc_locklog now;
	int same;

	if (rrc_locklog_open(ll->pid, &now, NULL))
		return 0;
	same = now.inode == ll->inode;
	rrc_locklog_close(&now);
	return same;
}

void rrc_locks_seen(struct rrc_locks *l, const struct rrc_rec *rec)
{
	size_t before;

	/* Who was handed over before this record was drained counts as seen. */
	if (__atomic_load_n(&l->incoming, __ATOMIC_ACQUIRE))
		receive(l);
	switch (rec->kind) {
	case RRC_REC_BIRTH:
		on_birth(l, rec);
		break;
	case RRC_REC_EXEC:
		for (size_t i = 0; i < l->n; i++)
			if (l->procs[i]->ns_pid == rec->pid && !still_there(&l->procs[i]->ll))
				l->procs[i]->gone = 1;
		seen_at_last(l, rec->pid);
		break;
	case RRC_REC_DEATH:
		if (rec->tid != rec->pid)
			break;
		before = l->nunseen;
		seen_at_last(l, rec->pid);
		l->lost += before - l->nunseen;
		l->look |= records(l, rec->pid);
		break;
	default:
		break;
	}
}

uint64_t rrc_locks_lost(const struct rrc_locks *l)
{
	return l->lost;
}

static int tell(struct rrc_locks *l, struct process *p, const struct rrc_locklog_batch *b,
		int (*emit)(void *ctx, const struct rrc_rec *rec), void *ctx)
{
	uint32_t len = b->count * (uint32_t)sizeof(struct rrc_ll_event);
	struct rrc_ll_moment now = b->count ? rrc_locklog_moment() : l->first;

	rrc_locklog_times(b->events, b->count, &l->first, &now);
	/* The events are multiples of 8 long, so there is no padding. */
	l->out.rec = (struct rrc_rec){
		.size = (uint32_t)(sizeof(l->out.rec) + sizeof(l->out.seg)) + len,
		.kind = RRC_REC_LOCKS,
		.pid = p->ns_pid,
		.nseg = 1,
		.exit_ns = rrc_now_ns(CLOCK_MONOTONIC),
		.args = { b->slot, b->ops, b->done, p->ll.inode, (uint64_t)p->executed },
	};
	l->out.seg = (struct rrc_seg){ .len = len };
	p->ops[b->slot] = b->ops;
	return emit(ctx, &l->out.rec);
}

/* Operations that the library made without recording them. */
static uint32_t missed_by(const struct rrc_locklog *ll)
{
	const struct rrc_ll_area *a = ll->area;
	uint32_t n = rrc_min(__atomic_load_n(&a->slots, __ATOMIC_ACQUIRE), (uint32_t)RRC_LL_SLOTS);
	uint32_t missed = __atomic_load_n(&a->unslotted, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < n; i++)
		missed += __atomic_load_n(&a->slot[i].skipped, __ATOMIC_ACQUIRE);
	return missed;
}

static int drain_process(struct rrc_locks *l, struct process *p,
			 int (*emit)(void *ctx, const struct rrc_rec *rec), void *ctx)
{
	struct rrc_ll_area *a = p->ll.area;
	uint32_t n = rrc_min(__atomic_load_n(&a->slots, __ATOMIC_ACQUIRE), (uint32_t)RRC_LL_SLOTS);
	uint32_t missed;
	int ret = 0;

	for (uint32_t i = 0; i < n && !ret; i++) {
		struct rrc_locklog_batch b = { .events = l->out.events };

		/* The last word of a log that ends is said in any case: replay counts a process's logs by it. */
		if (!(p->gone && !i) &&
		    __atomic_load_n(&a->slot[i].ops, __ATOMIC_ACQUIRE) == p->ops[i] &&
		    __atomic_load_n(&a->slot[i].head, __ATOMIC_ACQUIRE) == a->slot[i].tail)
			continue;
		rrc_locklog_drain(&p->ll, i, &b);
		ret = tell(l, p, &b, emit, ctx);
	}
	/* Rule 4: made in a signal's handler inside the library, or by a thread too many. */
	missed = missed_by(&p->ll);
	l->lost += missed - p->missed;
	p->missed = missed;
	return ret;
}

int rrc_locks_drain(struct rrc_locks *l, int (*emit)(void *ctx, const struct rrc_rec *rec),
		    void *ctx)
{
	int ret = 0;

	if (l->look && (!l->look_at || rrc_now_ns(CLOCK_MONOTONIC) >= l->look_at))
		look(l, 0);
	else if (__atomic_load_n(&l->incoming, __ATOMIC_ACQUIRE))
		receive(l);
	for (size_t i = l->n; i-- && !ret;) {
		ret = drain_process(l, l->procs[i], emit, ctx);
		if (l->procs[i]->gone)
			drop(l, i);
	}
	return ret;
}

void rrc_locks_on(struct rrc_locks *l)
{
	int first = !l->begun;

	if (first || l->look)
		look(l, 1);
	l->begun = 1;
	for (size_t i = 0; i < l->n; i++) {
		struct process *p = l->procs[i];

		/* One whose clock is read through calls was not there at the last cut, and stays so. */
		if (rrc_vdso_patched(p->ll.pid) == 1)
			continue;
		/* What a recording before this one did not take out any more is not of this epoch. */
		if (first || p->ll.area->mode != RRC_LL_RECORD)
			rrc_locklog_discard(&p->ll);
		if (p->ll.area->mode == RRC_LL_RECORD)
			continue;
		rrc_locklog_set_mode(&p->ll, RRC_LL_RECORD);
		memset(p->ops, 0xff, sizeof(p->ops));
		p->missed = missed_by(&p->ll); /* what was missed before is in the checkpoint */
	}
}
