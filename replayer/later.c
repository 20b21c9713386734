// SPDX-License-Identifier: MIT
/* Whose way to its next call comes first, see later.h. */
#include <errno.h>

#include "clockmarks.h"
#include "later.h"
#include "locks.h"
#include "nudge.h"
#include "tracee.h"
#include "util.h"

#define ASK_NS 20000ull /* it comes to its call soon, which tells us */
#define LIMIT_NS \
	5000000ull /* a thread that takes longer waits for another one, or goes another way */
#define SHORT_NS 300
#define SLEPT_NS 20000
#define LATE_MAX 6

/* When it made its next call; 0: the log does not say. */
static uint64_t next_entry(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t);

	return rec && rec->kind == RRC_REC_SYSCALL ? rec->entry_ns : 0;
}

/* Is it on its way, and not in a wait for another thread? */
static bool under_way(const struct rrc_engine *e, const struct tracee *t)
{
	return t->state == TR_RUN || (t->state == TR_LOCAL && rrc_locks_runs(e, t));
}

/* Has another thread a way that was over before that time, or did its call return before it, after the head? */
static bool others_before(const struct rrc_engine *e, const struct tracee *t, uint64_t ns)
{
	for (const struct tracee *o = e->threads; o; o = o->next) {
		uint64_t entry = o->proc == t->proc && o != t ? next_entry(e, o) : 0;

		if (entry && entry < ns && (o->state == TR_LATER || under_way(e, o)))
			return true;
	}
	if (rrc_clockmarks_others(e, t, ns))
		return true;
	for (size_t i = e->head + (t->prev_rec == e->head); i < e->end; i++) {
		const struct rrc_rec *rec = rrc_log_rec(e, i);

		if (rec->kind == RRC_REC_SYSCALL && rec->tid)
			return rec->tid != t->ns_tid && rec->exit_ns < ns;
	}
	return false;
}

/* When its way to the next call is thought to be made, as if in one moment. */
static uint64_t moment(const struct rrc_engine *e, const struct tracee *t, uint64_t from_ns,
		       uint64_t entry, bool mark)
{
	uint64_t half = rrc_min((entry - from_ns) / 2, (uint64_t)SHORT_NS);
	const struct rrc_rec *rec;
	uint64_t other;

	if (!from_ns)
		return entry - 1; /* when a thread ran on after a checkpoint nobody knows */
	switch (rrc_nudge_order(e, t, t->prev_rec)) {
	case RRC_NUDGE_FIRST:
		return from_ns;
	case RRC_NUDGE_LAST:
		return entry - 1;
	default:
		break;
	}
	other = rrc_nudge_first(e, from_ns, entry);
	if (other)
		return other + 1;
	/* On its way out of the kernel it was, or waited for a CPU; its own way to the mark is short. */
	if (mark && rrc_clockmarks_careful(e))
		return entry - 1;
	rec = rrc_log_rec(e, t->prev_rec);
	/* After a call that it slept in it runs at once. After another one it may have been made to wait
	 * on its way out of the kernel, if it took long. */
	return rec->exit_ns - rec->entry_ns > SLEPT_NS ? from_ns + half : entry - half;
}

static int run(struct rrc_engine *e, struct tracee *t)
{
	uint64_t from = t->recorded_ns;
	int r = 0;

	e->nlater--;
	if (t->part)
		rrc_locks_hold(e, t, 0);
	else
		r = rrc_resume(e, t, 0);
	t->part = false;
	t->resumed_ns = rrc_now_ns(CLOCK_MONOTONIC);
	t->recorded_ns = from;
	return r;
}

bool rrc_later(struct rrc_engine *e, struct tracee *t, uint64_t from_ns)
{
	uint64_t entry = next_entry(e, t), at, clock;

	if (t->part)
		run(e, t);
	if (e->opts.no_pacing || t->proc->threads < 2 || entry <= from_ns)
		return false;
	if (t->late != t->prev_rec + 1)
		t->lates = 0;
	clock = rrc_locks_reads_clock(e, t); /* has its own place in the order: it is held there */
	if (clock > from_ns)
		entry = rrc_min(entry, clock);
	at = moment(e, t, from_ns, entry, entry == clock);
	if (!others_before(e, t, at))
		return false;
	t->later_ns = at;
	t->recorded_ns = from_ns;
	t->state = TR_LATER;
	e->nlater++;
	return true;
}

/* It went as far as its lock log was to let it, or came to its call without. One that waits in its lock log for
 * others on the way there does not stand: these others may be the ones to be let go. */
static bool stands(const struct rrc_engine *e, const struct tracee *t)
{
	return t->part && (t->state == TR_CALL || (t->state == TR_LOCAL && rrc_locks_held(e, t)));
}

static struct tracee *first(const struct rrc_engine *e, uint64_t before)
{
	struct tracee *first = NULL;

	for (struct tracee *t = e->nlater ? e->threads : NULL; t; t = t->next)
		if ((t->state == TR_LATER || stands(e, t)) && t->later_ns < before &&
		    (!first || t->later_ns < first->later_ns))
			first = t;
	return first;
}

/* Its way takes so much longer than it did that it waits for another thread, by an atomic perhaps. */
static bool overdue(const struct rrc_engine *e, struct tracee *t, uint64_t now)
{
	uint64_t entry = next_entry(e, t);
	uint64_t took = t->recorded_ns && entry > t->recorded_ns ? entry - t->recorded_ns : 0;

	if (t->late == t->next_rec + 1)
		return true;
	if (now - t->resumed_ns <
	    2 * took + (LIMIT_NS >> rrc_min(t->lates, (unsigned int)LATE_MAX)))
		return false;
	t->late = t->next_rec + 1;
	t->lates++;
	return true;
}

/* Is it on its way to a call that it made before that time? */
static bool has_to_come(const struct rrc_engine *e, struct tracee *t, uint64_t before, uint64_t now)
{
	uint64_t entry = under_way(e, t) ? next_entry(e, t) : 0;

	return entry && entry < before && !overdue(e, t, now);
}

bool rrc_later_alone(const struct rrc_engine *e)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);

	for (struct tracee *t = e->threads; t; t = t->next)
		if (t->state == TR_NEW || (t->state == TR_RUN && !overdue(e, t, now)))
			return false;
	return true;
}

uint64_t rrc_later_wait(struct rrc_engine *e, uint64_t ns, uint32_t tid)
{
	for (;;) {
		struct tracee *next = first(e, ns);
		uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);

		for (struct tracee *t = e->threads; t; t = t->next)
			if ((next || t->ns_tid != tid) && has_to_come(e, t, ns, now))
				return now + ASK_NS;
		if (!next || run(e, next))
			return 0;
	}
}

bool rrc_later_next(struct rrc_engine *e)
{
	struct tracee *t = first(e, UINT64_MAX);
	const struct tracee *by = NULL;
	uint32_t op;

	for (const struct tracee *w = t ? e->threads : NULL; w && by != t; w = w->next)
		if (w->state != TR_LOCAL || !rrc_locks_blame(e, w, &by, &op))
			by = NULL;
	/* One that came to its call cannot do more for others than that. */
	if (!t || by != t || t->state == TR_CALL)
		return t && !run(e, t);
	/* It holds up another one by this operation; what comes after that is later all the same. */
	if (run(e, t))
		return false;
	t->part = true;
	e->nlater++;
	rrc_locks_hold(e, t, op + 1);
	return true;
}
