/* SPDX-License-Identifier: MIT */
/* Lock logs to records, see locks.h. */
#include <stdlib.h>
#include <string.h>

#include "locklog.h"
#include "locks.h"
#include "ptrace.h"
#include "util.h"
#include "vdso.h"

#define RRC_LOCK_EVENTS (RRC_LL_RING * sizeof(struct rrc_ll_event))

struct process {
	struct rrc_locklog ll;
	uint32_t ns_pid;
	int gone;	/* it ended or became another program: what it wrote before is drained once more */
	uint32_t ops[RRC_LL_SLOTS]; /* as last told */
};

struct rrc_locks {
	uint64_t pidns;
	struct process **procs;
	size_t n;
	int look;	/* processes came: look for their logs */
	struct {
		struct rrc_rec rec;
		struct rrc_seg seg;
		struct rrc_ll_event events[RRC_LL_RING];
	} out;		/* the record in the making */
};

struct rrc_locks *rrc_locks_new(uint64_t pidns)
{
	struct rrc_locks *l = calloc(1, sizeof(*l));

	if (l) {
		l->pidns = pidns;
		l->look = 1;
	}
	return l;
}

static void drop(struct rrc_locks *l, size_t i)
{
	rrc_locklog_close(&l->procs[i]->ll);
	free(l->procs[i]);
	l->procs[i] = l->procs[--l->n];
}

void rrc_locks_free(struct rrc_locks *l)
{
	if (!l)
		return;
	while (l->n) {
		rrc_locklog_set_mode(&l->procs[0]->ll, RRC_LL_OFF);
		drop(l, 0);
	}
	free(l->procs);
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

static struct process *find(struct rrc_locks *l, pid_t pid)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->procs[i]->ll.pid == pid && !l->procs[i]->gone)
			return l->procs[i];
	return NULL;
}

/* Two mappings of one file are one area. */
static int same_area(const struct rrc_locks *l, const struct rrc_locklog *ll)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->procs[i]->ll.inode == ll->inode)
			return 1;
	return 0;
}

/* 1: it has to be looked at again. */
static int look_at(struct rrc_locks *l, pid_t pid)
{
	struct rrc_locklog ll;
	struct process **more, *p;

	if (find(l, pid) || rrc_locklog_open(pid, &ll, NULL))
		return 0;
	if (same_area(l, &ll)) {
		/* A child that has not come back from fork(): it has written nothing yet. */
		rrc_locklog_close(&ll);
		return 1;
	}
	p = calloc(1, sizeof(*p));
	more = realloc(l->procs, (l->n + 1) * sizeof(*more));
	if (more)
		l->procs = more;
	if (!p || !more) {
		free(p);
		rrc_locklog_close(&ll);
		return 1;
	}
	p->ll = ll;
	p->ns_pid = (uint32_t)rrc_ns_tid(pid);
	l->procs[l->n++] = p;
	return 0;
}

static void look(struct rrc_locks *l)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(l->pidns, &pids), again = 0;

	for (size_t i = 0; i < l->n && n >= 0; i++) {
		int there = 0;

		for (int j = 0; j < n && !there; j++)
			there = pids[j] == l->procs[i]->ll.pid;
		l->procs[i]->gone |= !there;
	}
	for (int i = 0; i < n; i++)
		again |= look_at(l, pids[i]);
	l->look = again;
}

void rrc_locks_seen(struct rrc_locks *l, const struct rrc_rec *rec)
{
	switch (rec->kind) {
	case RRC_REC_BIRTH:
		l->look |= rec->args[1] == (uint64_t)rec->ret;
		break;
	case RRC_REC_EXEC:
		for (size_t i = 0; i < l->n; i++)
			l->procs[i]->gone |= l->procs[i]->ns_pid == rec->pid;
		l->look = 1;
		break;
	case RRC_REC_DEATH:
		l->look |= rec->tid == rec->pid;
		break;
	default:
		break;
	}
}

static int tell(struct rrc_locks *l, struct process *p, const struct rrc_locklog_batch *b,
		int (*emit)(void *ctx, const struct rrc_rec *rec), void *ctx)
{
	uint32_t len = b->count * (uint32_t)sizeof(struct rrc_ll_event);

	/* The events are multiples of 8 long, so there is no padding. */
	l->out.rec = (struct rrc_rec){
		.size = (uint32_t)(sizeof(l->out.rec) + sizeof(l->out.seg)) + len,
		.kind = RRC_REC_LOCKS,
		.pid = p->ns_pid,
		.nseg = 1,
		.exit_ns = rrc_now_ns(CLOCK_MONOTONIC),
		.args = { b->slot, b->ops, b->done, p->ll.inode },
	};
	l->out.seg = (struct rrc_seg){ .len = len };
	p->ops[b->slot] = b->ops;
	return emit(ctx, &l->out.rec);
}

static int drain_process(struct rrc_locks *l, struct process *p,
			 int (*emit)(void *ctx, const struct rrc_rec *rec), void *ctx)
{
	struct rrc_ll_area *a = p->ll.area;
	uint32_t n = rrc_min(__atomic_load_n(&a->slots, __ATOMIC_ACQUIRE), (uint32_t)RRC_LL_SLOTS);
	int ret = 0;

	for (uint32_t i = 0; i < n && !ret; i++) {
		struct rrc_locklog_batch b = { .events = l->out.events };

		if (__atomic_load_n(&a->slot[i].ops, __ATOMIC_ACQUIRE) == p->ops[i] &&
		    __atomic_load_n(&a->slot[i].head, __ATOMIC_ACQUIRE) == a->slot[i].tail)
			continue;
		rrc_locklog_drain(&p->ll, i, &b);
		ret = tell(l, p, &b, emit, ctx);
	}
	return ret;
}

int rrc_locks_drain(struct rrc_locks *l, int (*emit)(void *ctx, const struct rrc_rec *rec), void *ctx)
{
	int ret = 0;

	if (l->look)
		look(l);
	for (size_t i = l->n; i-- && !ret;) {
		ret = drain_process(l, l->procs[i], emit, ctx);
		if (l->procs[i]->gone)
			drop(l, i);
	}
	return ret;
}

void rrc_locks_on(struct rrc_locks *l)
{
	l->look = 1;
	look(l);
	for (size_t i = 0; i < l->n; i++) {
		struct process *p = l->procs[i];

		/* One whose clock is read through calls was not there at the last cut, and stays so. */
		if (p->ll.area->mode == RRC_LL_RECORD || rrc_vdso_patched(p->ll.pid) == 1)
			continue;
		rrc_locklog_set_mode(&p->ll, RRC_LL_RECORD);
		memset(p->ops, 0xff, sizeof(p->ops));
	}
}
