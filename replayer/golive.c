// SPDX-License-Identifier: MIT
/*
 * Go-live: the tree stops being a replay. Everything that was only emulated is put into the kernel,
 * then each thread makes the call that it was parked at for real, on its own.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "nspid.h"
#include "pipes.h"
#include "ptrace.h"
#include "clockq.h"
#include "inproc.h"
#include "locks.h"
#include "tracee.h"
#include "util.h"
#include "vdso.h"
#include "watchdog.h"

#define STUB_SYSCALL 5 /* offset of the instruction in a patched entry point */

/* Threads that the kernel runs for us: stopped, so that they can be let go. */
static void stop_busy(struct tracee *t)
{
	int status;

	while (!t->stopped) {
		if (waitpid(t->tid, &status, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			t->state = TR_DEAD;
			return;
		}
		if (!WIFSTOPPED(status)) {
			t->state = TR_DEAD;
			return;
		}
		t->stopped = true;
		/* the calls that were interrupted go on by themselves: the kernel restarts them */
		t->at = ST_NONE;
	}
}

static bool in_kernel(const struct tracee *t)
{
	return t->state == TR_LOCAL || t->state == TR_BUSY;
}

/* A vfork's parent cannot be stopped before its child has gone on. */
static bool in_vfork(const struct tracee *t)
{
	unsigned long nr = t->regs.orig_rax;

	return t->state == TR_BUSY && rrc_sysrow((unsigned int)nr)->special == RRC_S_CLONE;
}

/* A call parked in a patched entry point of the vDSO: made now, and returned from, so that nobody
 * stands in code that is about to change. */
static int leave_stub(struct rrc_engine *e, struct tracee *t, uint64_t start, uint64_t end,
		      struct rrc_error *err)
{
	struct user_regs_struct r;
	uint64_t args[6], back;
	long ret;

	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? 0 : -errno;
	if (r.rip < start || r.rip >= end)
		return 0;
	if (t->state == TR_PAUSED) {
		/* between the entry and its call: from the entry again */
		if (r.rip % 16 == STUB_SYSCALL)
			r.rip -= STUB_SYSCALL;
		return ptrace(PTRACE_SETREGS, t->tid, NULL, &r) ? -errno : 0;
	}
	if (t->state != TR_CALL)
		return 0;
	rrc_regs_args(&t->regs, args);
	if (rrc_inject(t->tid, (long)t->regs.orig_rax, args, &ret, err))
		return err->code;
	if (rrc_mem_read(t->tid, r.rsp, &back, sizeof(back)))
		return rrc_fail(err, -EFAULT, "thread %u: its stack", t->ns_tid);
	(void)e;
	r.rax = (uint64_t)ret;
	r.orig_rax = (uint64_t)-1;
	r.rip = back;
	r.rsp += sizeof(back);
	if (ptrace(PTRACE_SETREGS, t->tid, NULL, &r))
		return -errno;
	t->at = ST_NONE;
	t->state = TR_PAUSED;
	return 0;
}

static int restore_vdsos(struct rrc_engine *e, struct rrc_error *err)
{
	for (struct tproc *p = e->procs; p; p = p->next) {
		uint64_t start, end, code, code_end;
		bool busy = false;
		int r = 0;

		if (!p->threads || rrc_vdso_range(p->pid, &start, &end))
			continue;
		for (struct tracee *t = e->threads; t && !r; t = t->next) {
			if (t->proc != p || t->state == TR_DEAD || t->state == TR_EXITING)
				continue;
			busy |= !t->stopped;
			if (t->stopped)
				r = leave_stub(e, t, start, end, err);
			if (!r && t->stopped && t->state == TR_CALL &&
			    rrc_clockq_range(e, p, &code, &code_end))
				r = leave_stub(e, t, code, code_end, err);
		}
		if (r)
			return err->code ? err->code
					 : rrc_fail(err, r, "process %u: its vDSO: %s", p->ns_pid,
						    strerror(-r));
		/* shared with a vfork's parent, or not stopped: calls instead of readings do no harm */
		if (!busy && rrc_vdso_restore(p->pid, err) < 0)
			return err->code;
		if (!busy)
			rrc_clockq_remove(e, p);
	}
	return 0;
}

/* The call that the thread is parked at will be made when it runs on. */
static int rearm(struct tracee *t)
{
	struct user_regs_struct r = t->regs;

	if (t->state != TR_CALL)
		return 0;
	if (t->restart) /* with its arguments, from its start */
		r.orig_rax = t->restart->nr;
	else if (t->lost_call)
		return 0; /* which one it was nobody knows: it sees EINTR */
	if (t->at == ST_ENTRY) {
		if (r.orig_rax == t->regs.orig_rax)
			return 0;
		return ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.orig_rax),
			      r.orig_rax)
			       ? -errno
			       : 0;
	}
	r.rip -= 2;
	r.rax = r.orig_rax;
	r.orig_rax = (uint64_t)-1;
	return ptrace(PTRACE_SETREGS, t->tid, NULL, &r) ? -errno : 0;
}

static int let_go(struct tracee *t, struct rrc_error *err)
{
	int r = rearm(t);

	if (r && r != -ESRCH)
		return rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r));
	/* CPUs that this host lacks are its own affair */
	sched_setaffinity(t->tid, sizeof(t->affinity), &t->affinity);
	if (ptrace(PTRACE_DETACH, t->tid, NULL, NULL) && errno != ESRCH)
		return rrc_fail(err, -errno, "thread %u cannot be let go: %s", t->ns_tid,
				strerror(errno));
	t->stopped = false;
	t->state = TR_DEAD;
	return 0;
}

static bool lives_on(const struct rrc_engine *e, const struct tproc *p)
{
	for (const struct tracee *t = e->threads; t; t = t->next)
		if (t->proc == p && t->state < TR_EXITING)
			return true;
	return false;
}

/* Whoever is dying must be waited for by us before its parent can wait for it; a first thread's end is
 * told after those of the others. */
static void reap_dying(struct rrc_engine *e)
{
	for (int first = 0; first < 2; first++) {
		for (struct tracee *t = e->threads; t; t = t->next) {
			int status;

			if (t->state != TR_EXITING || first != (t->tid == t->proc->pid) ||
			    lives_on(e, t->proc))
				continue;
			while (waitpid(t->tid, &status, __WALL) == t->tid && WIFSTOPPED(status))
				ptrace(PTRACE_CONT, t->tid, NULL, NULL);
			t->state = TR_DEAD;
		}
	}
}

static void flush_files(struct rrc_engine *e)
{
	for (size_t i = 0; i < e->nsynced; i++)
		syncfs(e->synced[i]);
}

int rrc_engine_golive(struct rrc_engine *e, struct rrc_error *err)
{
	int r;

	for (struct tracee *t = e->threads; t; t = t->next)
		if (in_kernel(t) && !t->stopped && !in_vfork(t))
			ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
	for (struct tracee *t = e->threads; t; t = t->next)
		if (in_kernel(t) && !t->stopped && !in_vfork(t))
			stop_busy(t);
	rrc_nspid_free(e->nspid);
	e->nspid = NULL;
	rrc_watchdog_free(e->watchdog);
	e->watchdog = NULL;
	r = rrc_pipes_settle(e, err);
	r = r ? r : rrc_inproc_remove(e, err);
	r = r ? r : restore_vdsos(e, err);
	if (r)
		return r;
	flush_files(e);
	rrc_locks_live(e);
	rrc_send_leftovers(e);
	reap_dying(e);
	e->live = true;
	for (struct tracee *t = e->threads; t && !r; t = t->next)
		if (t->stopped && t->state != TR_DEAD)
			r = let_go(t, err);
	for (struct tracee *t = e->threads; t && !r; t = t->next) {
		if (t->state == TR_DEAD || t->state == TR_EXITING || t->stopped)
			continue;
		stop_busy(t);
		if (t->state != TR_DEAD)
			r = let_go(t, err);
	}
	return r;
}
