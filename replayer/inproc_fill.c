// SPDX-License-Identifier: MIT
/* Which calls a thread makes in the program, without the engine, and what it did: see inproc.h. */
#include <errno.h>
#include <string.h>

#include "clockmarks.h"
#include "inproc.h"
#include "inproc_int.h"
#include "later.h"
#include "locks.h"
#include "ptrace.h"
#include "reclog.h"
#include "util.h"

#define LEAST 16u /* calls at once */

/* ---- which ---- */

/* Calls of which nothing comes beside result and bytes. */
static bool plain(const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	bool moves = rec->ret > 0 && (rec->fdkind == RRC_FD_FIFO || rec->fdkind == RRC_FD_UNIX ||
				      rec->fdkind == RRC_FD_ANON);

	switch (row->special) {
	case RRC_S_WRITE:
		return rec->fdkind != RRC_FD_REG && !moves;
	case RRC_S_READ:
		return !(rec->fdkind == RRC_FD_REG && rec->ret > 0) && !moves;
	case RRC_S_SOCKIO:
		return !moves;
	case RRC_S_ACCEPT:
		return rec->ret < 0;
	case RRC_S_NONE:
	case RRC_S_POLL:
	case RRC_S_EPOLL_WAIT:
	case RRC_S_SLEEP:
		return row->cls == RRC_EMULATE;
	default:
		return false;
	}
}

static int how(unsigned int kind)
{
	switch (kind) {
	case RRC_LEN_IOVEC:
		return RRC_IP_IOVEC;
	case RRC_LEN_MSGHDR:
		return RRC_IP_MSG;
	case RRC_LEN_MSGNAME:
		return RRC_IP_MSGNAME;
	case RRC_LEN_MSGCTL:
		return RRC_IP_MSGCTL;
	case RRC_LEN_MMSGHDR:
	case RRC_LEN_MMSGNAME:
	case RRC_LEN_MMSGCTL:
		return -1;
	default:
		return RRC_IP_PLAIN;
	}
}

static bool segments_fit(const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);

	if (rec->nseg > RRC_IP_SEGS)
		return false;
	for (unsigned int i = 0; i < rec->nseg; i++)
		if (segs[i].row >= row->nseg || how(row->seg[segs[i].row].len) < 0 ||
		    (segs[i].dir == RRC_SEG_IN && rrc_bytes_overwritten(rec, i)))
			return false;
	return true;
}

bool rrc_inproc_fit(const struct rrc_engine *e, size_t i)
{
	const struct rrc_rec *rec = rrc_log_rec(e, i);
	uint32_t next = e->next[i];

	if (rec->kind != RRC_REC_SYSCALL || (rec->ret <= -512 && rec->ret >= -516) ||
	    rec->nr == RRC_NR_restart_syscall || !plain(rec) || !segments_fit(rec))
		return false;
	/* A signal that follows at once is delivered where the call returns. */
	return next >= e->end || rrc_log_rec(e, next)->kind != RRC_REC_SIGNAL;
}

/* ---- filling ---- */

static struct rrc_ip_slot *slot_at(const struct rrc_inproc *ip, uint64_t addr)
{
	return (struct rrc_ip_slot *)((char *)ip->area + (addr - ip->data));
}

/* The thread's own, made when it is first wanted. */
static struct rrc_ip_slot *slot_of(struct rrc_engine *e, struct tracee *t)
{
	struct rrc_inproc *ip = t->proc->inproc;
	uint64_t fs = t->regs.fs_base, self, *entry;
	struct rrc_ip_slot *s;

	if (t->slot || t->slotless || !fs)
		return t->slot;
	t->slotless = true;
	/* our code knows its thread by the word that libc keeps there */
	if (rrc_mem_read(t->tid, fs, &self, sizeof(self)) || self != fs)
		return NULL;
	entry = &ip->area->table[fs >> 12 & (RRC_IP_TABLE - 1)];
	if (*entry) {
		s = slot_at(ip, *entry);
		for (const struct tracee *o = e->threads; o; o = o->next)
			if (o->slot == s && o->state != TR_DEAD)
				return NULL;
		if (s->fs != fs)
			return NULL;
		/* it goes on where the thread before it was */
		s->selector = 0;
		s->waiting = 0;
		t->taken = t->filled = t->base = s->taken;
	} else if (ip->slots < RRC_IP_SLOTS) {
		s = &ip->area->slot[ip->slots++];
		s->fs = fs;
		*entry = ip->data + (uint64_t)((char *)s - (char *)ip->area);
	} else {
		return NULL;
	}
	t->slot = s;
	return s;
}

/* A record beyond that time has to wait for somebody else. 0: each has to. */
static uint64_t others_come(const struct rrc_engine *e, const struct tracee *t)
{
	uint64_t limit = UINT64_MAX, entry;

	for (const struct tracee *o = e->threads; o; o = o->next) {
		const struct rrc_rec *rec = rrc_next_rec(e, o);

		if (o == t)
			continue;
		entry = rec ? rec->entry_ns : UINT64_MAX;
		switch (o->state) {
		case TR_LATER:
			limit = rrc_min(limit, o->later_ns);
			limit = rrc_min(limit, entry);
			break;
		case TR_LOCAL:
			limit = rrc_min(limit, entry);
			break;
		case TR_RUN:
		case TR_BUSY:
		case TR_NEW:
		case TR_HELD:
			return 0;
		default:
			break;
		}
	}
	return limit;
}

static bool nudged(const struct rrc_engine *e, uint32_t i)
{
	const struct rrc_nudges *n = e->opts.nudges;

	for (size_t k = 0; n && k < n->n; k++)
		if (n->list[k].at.after == i)
			return true;
	return false;
}

/* The first record from i on that has a turn of its own. e->end: there is none. */
static size_t next_turn(const struct rrc_engine *e, size_t i)
{
	while (i < e->end && (e->done[i] || !rrc_log_of_thread(rrc_log_rec(e, i))) &&
	       rrc_log_rec(e, i)->kind != RRC_REC_CUT)
		i++;
	return i;
}

static void put(const struct rrc_engine *e, struct tracee *t, uint32_t i)
{
	struct rrc_ip_entry *en = &t->slot->entry[t->filled++ & (RRC_IP_ENTRIES - 1)];
	const struct rrc_rec *rec = rrc_log_rec(e, i);
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	uint32_t off = (uint32_t)((const uint8_t *)rrc_rec_payload(rec) - (const uint8_t *)rec);

	en->rec = t->proc->inproc->log + e->off[i];
	en->mask = rrc_cmpmask(rec->nr, rec->args);
	en->nseg = rec->nseg;
	for (unsigned int k = 0; k < rec->nseg; off += segs[k].len, k++) {
		const struct rrc_segrow *sr = &row->seg[segs[k].row];

		en->seg[k] = (struct rrc_ip_seg){
			.off = off,
			.len = segs[k].len,
			.how = (uint8_t)how(sr->len),
			.in = segs[k].dir == RRC_SEG_IN,
			.ptr = sr->ptr % 6,
			.count = sr->arg % 6,
		};
	}
}

/*
 * Its records from the head on, as long as no other thread's comes between and none has to wait for another thread's
 * way (turns.c, later.c). The last before another thread's is not among them: whether t then runs on at once or
 * later is for the engine to say.
 */
static void put_all(struct rrc_engine *e, struct tracee *t, uint64_t limit)
{
	size_t cap = rrc_clockmarks_cap(e, t), i;
	uint32_t cur = t->next_rec, last = RRC_NO_REC;
	const struct rrc_rec *rec;

	for (i = next_turn(e, e->head); i == cur && i < e->end && i < cap; i = next_turn(e, i)) {
		rec = rrc_log_rec(e, i);
		if (rec->entry_ns > limit)
			break;
		if (last != RRC_NO_REC)
			put(e, t, last);
		last = RRC_NO_REC;
		if (rec->exit_ns > limit || t->filled - t->base == t->most ||
		    !rrc_inproc_fit(e, i) || nudged(e, cur))
			break;
		last = cur;
		cur = e->next[i];
		i++;
	}
}

/* Many times there were but few calls, since others came between. */
static void note_briefs(struct tracee *t, uint32_t took)
{
	/* no more than it will take, as far as the last time tells */
	t->most = t->base + took == t->filled ? t->most * 2 : took * 2;
	t->most = rrc_max(t->most, LEAST);
	t->most = rrc_min(t->most, RRC_IP_ENTRIES / 2u);
	t->briefs += took < LEAST;
}

uint32_t rrc_inproc_fill(struct rrc_engine *e, struct tracee *t, int sig)
{
	uint32_t next = t->next_rec, i;
	struct rrc_ip_slot *s;
	uint64_t limit;

	t->dispatching = false;
	if (!t->proc->inproc)
		return next;
	s = slot_of(e, t);
	if (!s)
		return next;
	note_briefs(t, t->taken - t->base);
	t->mask_unsure |= sig != 0;
	/* one that waits takes first what was passed for it */
	t->base = t->filled = t->taken;
	limit = t->clocks || e->held || e->rush ? 0 : others_come(e, t);
	if (limit)
		put_all(e, t, limit);
	for (i = t->base; i != t->filled; i++)
		next = e->next[next];
	if (t->filled != t->base)
		rrc_clockmarks_grant(e, t, next, limit);
	if (rrc_inproc_may_wait(e, t) && next < e->end && rrc_inproc_fit(e, next)) {
		put(e, t, next);
		next = e->next[next];
	}
	t->dispatching = t->at == ST_POSTED || (t->dispatched && i != t->filled);
	__atomic_store_n(&s->filled, t->filled, __ATOMIC_RELEASE);
	s->active = s->filled != s->taken;
	__atomic_store_n(&s->granted, i, __ATOMIC_SEQ_CST);
	rrc_inproc_select(t, t->dispatching);
	return next;
}

/* ---- what it did ---- */

static void count(struct rrc_engine *e, const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);

	e->rep.calls++;
	e->rep.emulated++;
	e->rep.inproc++;
	for (unsigned int i = 0; i < rec->nseg; i++) {
		if (segs[i].dir != RRC_SEG_IN)
			continue;
		e->rep.bytes += segs[i].len;
		if (row->flags & RRC_ROW_OUTPUT && segs[i].row == 0) {
			e->rep.outputs++;
			e->rep.output_bytes += segs[i].len;
		}
	}
}

void rrc_inproc_count(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec)
{
	count(e, rec);
	t->taken++;
}

int rrc_inproc_sync(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	const struct rrc_ip_slot *s = t->slot;
	uint32_t taken, before = t->taken;

	if (!s)
		return 0;
	taken = __atomic_load_n(&s->taken, __ATOMIC_ACQUIRE);
	if (taken + 1 == t->taken)
		return 0; /* it is about to take what was passed for it */
	if (taken - t->taken > t->filled - t->taken)
		return rrc_diverge(e, t->next_rec, t, err,
				   "the program overwrote the calls that it is to make");
	for (; t->taken != taken; t->taken++) {
		const struct rrc_rec *rec = rrc_next_rec(e, t);

		if (!rec)
			return rrc_diverge(e, e->head, t, err, "more calls than the log has");
		count(e, rec);
		t->restart = NULL;
		t->lost_call = false;
		t->recorded_ns = rec->exit_ns;
		rrc_pass_rec(e, t);
	}
	if (taken != before)
		rrc_advance_over(e, t->prev_rec);
	return 0;
}
