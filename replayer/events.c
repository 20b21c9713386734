// SPDX-License-Identifier: MIT
/* What waitpid(2) says of the engine's threads: each stop moves its thread to another state. */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "clockq.h"
#include "inproc.h"
#include "locks.h"
#include "tracee.h"
#include "util.h"
#include "watchdog.h"

static bool is_restart(long result)
{
	return result <= -512 && result >= -516;
}

/* The thread asks for something. */
static int on_entry(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	int r = rrc_clockq_sync(e, t, err);

	if (r)
		return r;
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs))
		return errno == ESRCH ? 0 : -errno;
	if (t->request == PTRACE_CONT)
		t->at = ST_NONE; /* it was taken back by the kernel */
	else
		t->at = t->request == PTRACE_SYSCALL ? ST_ENTRY : ST_EMU;
	t->state = TR_CALL;
	if (!rrc_call_local(e, t))
		return 0;
	if (rrc_sysrow((unsigned int)t->regs.orig_rax)->special == RRC_S_FUTEX) {
		r = rrc_locks_at_futex(e, t, err);
		if (r)
			return r;
	}
	t->state = TR_LOCAL;
	return rrc_run_real(t, &t->regs);
}

/* A wait that timed out in the log has done so here, in time or because its turn has come. */
static int on_timed_out(struct tracee *t)
{
	if (ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.rax), -ETIMEDOUT) ||
	    ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.orig_rax), -1L))
		return errno == ESRCH ? 0 : -errno;
	t->cut_short = false;
	t->at = ST_EXIT;
	t->result = -ETIMEDOUT;
	t->args_changed = false;
	t->state = TR_DONE;
	return 0;
}

/* A call made for real is back. */
static int on_exit_stop(struct rrc_engine *e, struct tracee *t)
{
	long ret;

	errno = 0;
	ret = ptrace(PTRACE_PEEKUSER, t->tid, offsetof(struct user, regs.rax), NULL);
	if (errno)
		return errno == ESRCH ? 0 : -errno;
	if (t->state == TR_LOCAL && (is_restart(ret) || ret == -ETIMEDOUT) &&
	    (t->cut_short || ret == -ETIMEDOUT) && rrc_call_timed_out(e, t))
		return on_timed_out(t);
	if (is_restart(ret) && t->regs.orig_rax != RRC_NR_rt_sigreturn) {
		/* Interrupted: the signal stops next, and if nobody gets it the call goes on. */
		t->swallow = 1;
		return rrc_tracee_go_on(t);
	}
	t->at = ST_EXIT;
	t->result = ret;
	t->cut_short = false;
	if (t->state == TR_BUSY) {
		t->state = TR_DONE;
		return 0;
	}
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs))
		return errno == ESRCH ? 0 : -errno;
	rrc_signal_attach(e, t);
	return rrc_resume(e, t, 0);
}

static int on_syscall_stop(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	switch (t->state) {
	case TR_RUN:
		if (!t->skip_exit)
			return on_entry(e, t, err);
		t->skip_exit = false;
		return rrc_tracee_go_on(t);
	case TR_BUSY:
	case TR_LOCAL:
		if (!t->swallow)
			return on_exit_stop(e, t);
		t->swallow--;
		return rrc_tracee_go_on(t);
	default:
		return rrc_tracee_go_on(t);
	}
}

/* Its first stop: it stands where its parent's call returns in it. */
static int on_newborn(struct rrc_engine *e, struct tracee *t)
{
	const struct rrc_rec *rec;

	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs))
		return errno == ESRCH ? 0 : -errno;
	rec = rrc_next_rec(e, t);
	if (rec && rec->kind == RRC_REC_SYSCALL && rec->ret == 0 &&
	    rrc_sysrow(rec->nr)->special == RRC_S_CLONE) {
		t->state = TR_DONE;
		t->result = 0;
		t->args_changed = false;
		return 0;
	}
	rrc_signal_attach(e, t);
	return rrc_resume(e, t, 0);
}

static int keep_early(struct rrc_engine *e, pid_t tid, int status)
{
	struct early *more = realloc(e->early, (e->nearly + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	e->early = more;
	more[e->nearly++] = (struct early){ tid, status };
	return 0;
}

static int on_event(struct rrc_engine *e, struct tracee *t, int event, struct rrc_error *err)
{
	unsigned long msg = 0;

	switch (event) {
	case PTRACE_EVENT_STOP:
		if (t->state == TR_NEW)
			return on_newborn(e, t);
		if (!e->ending || t->state != TR_RUN)
			return rrc_tracee_go_on(t);
		t->state = TR_PAUSED;
		return 0;
	case PTRACE_EVENT_CLONE:
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
		if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &msg))
			return errno == ESRCH ? 0 : -errno;
		if (rrc_on_birth(e, t, (pid_t)msg, err))
			return err->code;
		return rrc_tracee_go_on(t);
	case PTRACE_EVENT_EXEC:
		if (rrc_on_exec(e, t, err))
			return err->code;
		return rrc_tracee_go_on(t);
	case PTRACE_EVENT_EXIT:
		if (!ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &msg) && msg & 0x7f)
			t->proc->exiting = true; /* by a signal: all of them */
		t->state = TR_EXITING;
		t->request = PTRACE_CONT;
		return rrc_tracee_go_on(t);
	default:
		return rrc_tracee_go_on(t);
	}
}

static int on_stop(struct rrc_engine *e, struct tracee *t, int status, struct rrc_error *err)
{
	int event = status >> 16, sig = WSTOPSIG(status);

	int r;

	t->stopped = true;
	rrc_inproc_select(t, false); /* calls of ours are made there */
	r = rrc_inproc_sync(e, t, err);
	if (r)
		return r;
	if (event)
		return on_event(e, t, event, err);
	if (sig == (SIGTRAP | 0x80))
		return on_syscall_stop(e, t, err);
	if (sig == SIGSYS && rrc_inproc_dispatched(t))
		return on_entry(e, t, err);
	if (rrc_inproc_fault(e, t, sig))
		return rrc_tracee_go_on(t);
	return rrc_signal_stop(e, t, sig, err);
}

/* After an exec by another thread than the first, the first one's id is the caller's. */
static struct tracee *take_over_id(struct rrc_engine *e, pid_t tid)
{
	unsigned long former = 0;
	struct tracee *t, *old = rrc_tracee_of(e, tid);

	if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &former) || (pid_t)former == tid)
		return old;
	t = rrc_tracee_of(e, (pid_t)former);
	if (!t)
		return old;
	if (old)
		rrc_tracee_dead(e, old);
	rrc_tracee_rename(e, t, tid);
	return t;
}

int rrc_on_status(struct rrc_engine *e, pid_t tid, int status, struct rrc_error *err)
{
	struct tracee *t;
	int r;

	if (WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_EXEC)
		t = take_over_id(e, tid);
	else
		t = rrc_tracee_of(e, tid);
	if (!t) {
		if (rrc_watchdog_is(e->watchdog, tid))
			return -ETIMEDOUT;
		/* a newborn that stops before its parent tells of it, or a helper of ours that ended */
		return WIFSTOPPED(status) ? keep_early(e, tid, status) : 0;
	}
	if (!WIFSTOPPED(status)) {
		rrc_tracee_dead(e, t);
		return 0;
	}
	r = on_stop(e, t, status, err);
	if (r && !err->code)
		rrc_fail(err, r, "thread %u (%d here): %s", t->ns_tid, tid, strerror(-r));
	return r;
}
