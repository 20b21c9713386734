// SPDX-License-Identifier: MIT
/*
 * The order of the log (rule 2): a record is passed when its turn has come and its thread has come to
 * it. Threads run in parallel between their records.
 */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>

#include "clockmarks.h"
#include "later.h"
#include "tracee.h"
#include "util.h"

static bool gone(const struct tracee *t)
{
	return t->state == TR_EXITING || t->state == TR_DEAD;
}

/* A thread died in replay before the log says so. Others of its group, or the kernel, may have been
 * quicker to end it than on the primary: what it would still have done came to nothing there. */
static int gone_early(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		      struct rrc_error *err)
{
	if (t->proc->exiting || t->killed || rec->kind == RRC_REC_DEATH) {
		rrc_pass_rec(e, t);
		return 1;
	}
	return rrc_diverge(e, t->next_rec, t, err, "the thread has ended");
}

/* exit and exit_group: the thread goes for real and does not come back. */
static int enter_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		      struct rrc_error *err)
{
	int r;

	if (t->state != TR_CALL)
		return 0;
	r = rrc_call_match(e, t, rec, err);
	if (r)
		return r;
	if (rec->nr == RRC_NR_exit_group)
		t->proc->exiting = true;
	e->rep.calls++;
	e->rep.executed++;
	rrc_pass_rec(e, t);
	t->killed = true;
	t->state = TR_BUSY;
	r = rrc_run_real(t, &t->regs);
	return r ? rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r)) : 1;
}

static int death_turn(struct rrc_engine *e, struct tracee *t)
{
	if (!gone(t))
		return 0;
	e->rep.deaths++;
	rrc_pass_rec(e, t);
	return 1;
}

/* The new program's record comes at the end of its exec, after a parent that it let go on. */
static void start_child_exec(struct rrc_engine *e)
{
	for (struct tracee *t = e->threads; t; t = t->next) {
		const struct rrc_rec *rec = t->state == TR_CALL ? rrc_next_rec(e, t) : NULL;

		if (rec && rec->kind == RRC_REC_EXEC)
			rrc_exec_start(e, t->proc);
	}
}

static int thread_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		       struct rrc_error *err)
{
	if (gone(t))
		return rec->kind == RRC_REC_DEATH ? death_turn(e, t) : gone_early(e, t, rec, err);
	switch (rec->kind) {
	case RRC_REC_SYSCALL:
		if (t->state == TR_BUSY && rrc_sysrow(rec->nr)->special == RRC_S_CLONE)
			start_child_exec(e); /* a vfork's parent waits for that */
		return rrc_call_step(e, t, rec, err);
	case RRC_REC_ENTER:
		return enter_turn(e, t, rec, err);
	case RRC_REC_SIGNAL:
		return rrc_signal_turn(e, t, rec, err);
	case RRC_REC_BIRTH:
		return rrc_birth_turn(e, t, rec, err);
	case RRC_REC_EXEC:
		return rrc_exec_turn(e, t, rec, err);
	default:
		return death_turn(e, t);
	}
}

/* 1: passed, 0: its thread has to come first. */
static int one_turn(struct rrc_engine *e, struct rrc_error *err)
{
	const struct rrc_rec *rec = rrc_log_rec(e, e->head);
	struct tracee *t;

	if (e->done[e->head] || !rrc_log_of_thread(rec))
		return 1;
	t = rrc_tracee_ns(e, rec->tid);
	if (!t) {
		e->rep.skipped++;
		return 1;
	}
	if (t->next_rec != e->head) {
		/* behind the death of a thread whose id another one got from outside */
		e->rep.skipped++;
		return 1;
	}
	return thread_turn(e, t, rec, err);
}

/*
 * Threads that share memory without a lock meet as they did if each has come as far as it had: a record waits
 * while a thread computes that had so much time, from its own last record on, and did not have it here. All
 * share one CPU, so each of several needs longer. Most come to their next call at once.
 * 1: the head has to wait.
 */
static int too_early(struct rrc_engine *e, const struct rrc_rec *rec)
{
	uint64_t due = 0, computing = 0;

	e->due_ns = 0;
	if (e->opts.no_pacing || !rrc_log_of_thread(rec))
		return 0;
	e->due_ns = rrc_nudge_rush(e);
	if (!e->due_ns)
		e->due_ns = rrc_clockmarks_wait(e);
	if (!e->due_ns)
		e->due_ns = rrc_later_wait(e, rec->exit_ns, rec->tid);
	if (e->due_ns)
		return 1;
	for (const struct tracee *t = e->threads; t; t = t->next)
		computing += t->state == TR_RUN;
	if (!computing)
		return 0;
	for (const struct tracee *t = e->threads; t; t = t->next)
		if (t->state == TR_RUN && t->recorded_ns && rec->exit_ns > t->recorded_ns &&
		    t->ns_tid != rec->tid)
			due = rrc_max(due,
				      t->resumed_ns + (rec->exit_ns - t->recorded_ns) * computing);
	if (!due || rrc_now_ns(CLOCK_MONOTONIC) >= due)
		return 0;
	e->due_ns = due;
	return 1;
}

static int cut_waits(struct rrc_engine *e, struct rrc_error *err)
{
	for (struct tracee *t = e->threads; t; t = t->next) {
		int r = rrc_call_cut(e, t);

		if (r)
			return rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r));
	}
	return 0;
}

static void pass_head(struct rrc_engine *e)
{
	const struct rrc_rec *rec = rrc_log_rec(e, e->head);

	if (rrc_log_of_thread(rec))
		e->recorded_ns = rec->exit_ns;
	if (e->opts.seen)
		e->opts.seen(e->opts.ctx, rec);
	e->head++;
	e->rep.passed++;
}

void rrc_advance_over(struct rrc_engine *e, size_t last)
{
	while (e->head <= last)
		pass_head(e);
}

int rrc_advance(struct rrc_engine *e, struct rrc_error *err)
{
	while (e->head < e->end) {
		int r = too_early(e, rrc_log_rec(e, e->head)) ? 0 : one_turn(e, err);

		if (r <= 0)
			return r;
		if (rrc_log_rec(e, e->head)->kind == RRC_REC_CUT && cut_waits(e, err))
			return err->code;
		pass_head(e);
	}
	return 0;
}

/* Is a thread that the kernel runs for us asleep there? What would wake it is parked too. */
static bool asleep(pid_t tid)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], line[256], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return false;
	p = strrchr(line, ')');
	return p && p[1] == ' ' && p[2] == 'S';
}

bool rrc_deadlocked(const struct rrc_engine *e)
{
	if (e->due_ns)
		return false;
	for (const struct tracee *t = e->threads; t; t = t->next) {
		switch (t->state) {
		case TR_CALL:
		case TR_DONE:
		case TR_DEAD:
			break;
		case TR_LOCAL:
			/* one that has a time-out comes back by itself */
			if (t->regs.r10 || !asleep(t->tid))
				return false;
			break;
		default:
			return false;
		}
	}
	return true;
}

bool rrc_all_parked(struct rrc_engine *e)
{
	if (e->head < e->end)
		return false;
	for (struct tracee *t = e->threads; t; t = t->next) {
		switch (t->state) {
		case TR_CALL:
		case TR_DONE:
		case TR_DEAD:
		case TR_PAUSED:
			break;
		case TR_EXITING:
			/* a first thread stays until the others of its group are gone */
			break;
		case TR_LOCAL:
		case TR_BUSY:
			if (!asleep(t->tid))
				return false;
			break;
		default:
			return false;
		}
	}
	return true;
}
