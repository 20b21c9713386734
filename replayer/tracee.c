// SPDX-License-Identifier: MIT
/*
 * The engine's threads and processes, and the ways to let one go on. A stop costs about 10 µs, so
 * the kind of resuming is chosen by what will probably come: PTRACE_SYSEMU stops once for a call
 * that is emulated, PTRACE_SYSCALL twice for one that is made for real.
 */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inproc.h"
#include "ptrace.h"
#include "tracee.h"
#include "util.h"

#ifndef PTRACE_SYSEMU
#define PTRACE_SYSEMU 31
#endif

unsigned long rrc_trace_options(const struct rrc_engine *e)
{
	unsigned long o = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			  PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT;

	return e->opts.kill_on_exit ? o | PTRACE_O_EXITKILL : o;
}

struct tracee *rrc_tracee_of(struct rrc_engine *e, pid_t tid)
{
	for (struct tracee *t = e->by_tid[tid % RRC_TRACEE_HASH]; t; t = t->by_tid)
		if (t->tid == tid && t->state != TR_DEAD)
			return t;
	return NULL;
}

/* The newest of that id: the ids of the dead are given again. */
struct tracee *rrc_tracee_ns(struct rrc_engine *e, uint32_t ns_tid)
{
	for (struct tracee *t = e->by_ns[ns_tid % RRC_TRACEE_HASH]; t; t = t->by_ns)
		if (t->ns_tid == ns_tid)
			return t;
	return NULL;
}

struct tproc *rrc_tproc_ns(struct rrc_engine *e, uint32_t ns_pid)
{
	for (struct tproc *p = e->procs; p; p = p->next)
		if (p->ns_pid == ns_pid && p->threads)
			return p;
	return NULL;
}

struct tproc *rrc_tproc_add(struct rrc_engine *e, pid_t pid, uint32_t ns_pid, struct rrc_error *err)
{
	struct tproc *p = calloc(1, sizeof(*p));

	if (!p) {
		rrc_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	p->pid = pid;
	p->ns_pid = ns_pid;
	p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p->pidfd < 0) {
		rrc_fail(err, -errno, "process %d: %s", pid, strerror(errno));
		free(p);
		return NULL;
	}
	p->next = e->procs;
	e->procs = p;
	return p;
}

static void hash_in(struct rrc_engine *e, struct tracee *t)
{
	struct tracee **at = &e->by_tid[t->tid % RRC_TRACEE_HASH];

	t->by_tid = *at;
	*at = t;
}

static void hash_out(struct rrc_engine *e, struct tracee *t)
{
	struct tracee **at = &e->by_tid[t->tid % RRC_TRACEE_HASH];

	while (*at && *at != t)
		at = &(*at)->by_tid;
	if (*at)
		*at = t->by_tid;
}

struct tracee *rrc_tracee_add(struct rrc_engine *e, pid_t tid, uint32_t ns_tid, struct tproc *proc,
			      struct rrc_error *err)
{
	struct tracee *t = calloc(1, sizeof(*t));

	if (!t) {
		rrc_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	t->tid = tid;
	t->ns_tid = ns_tid;
	t->proc = proc;
	t->state = TR_NEW;
	t->next_rec = RRC_NO_REC;
	t->expect = RRC_NO_REC;
	t->birth = RRC_NO_REC;
	t->request = PTRACE_SYSEMU;
	t->at = ST_NONE;
	proc->threads++;
	t->prev_rec = RRC_NO_REC;
	t->next = e->threads;
	e->threads = t;
	hash_in(e, t);
	t->by_ns = e->by_ns[ns_tid % RRC_TRACEE_HASH];
	e->by_ns[ns_tid % RRC_TRACEE_HASH] = t;
	return t;
}

void rrc_tracee_rename(struct rrc_engine *e, struct tracee *t, pid_t tid)
{
	hash_out(e, t);
	t->tid = tid;
	hash_in(e, t);
}

void rrc_tracee_dead(struct rrc_engine *e, struct tracee *t)
{
	if (t->state == TR_DEAD)
		return;
	t->state = TR_DEAD;
	t->stopped = false;
	if (e->cloning == t)
		e->cloning = NULL;
	if (--t->proc->threads)
		return;
	rrc_closep(&t->proc->pidfd);
	t->proc->pidfd = -1;
	free(t->proc->pending);
	t->proc->pending = NULL;
}

void rrc_tracees_free(struct rrc_engine *e)
{
	while (e->threads) {
		struct tracee *t = e->threads;

		e->threads = t->next;
		free(t);
	}
	while (e->procs) {
		struct tproc *p = e->procs;

		e->procs = p->next;
		rrc_closep(&p->pidfd);
		free(p->pending);
		free(p);
	}
	memset(e->by_tid, 0, sizeof(e->by_tid));
	memset(e->by_ns, 0, sizeof(e->by_ns));
}

/* Tracer and tracee on one CPU: a stop there and back costs 10 µs instead of 50. */
int rrc_tracee_pin(struct rrc_engine *e, struct tracee *t)
{
	cpu_set_t one;

	if (sched_getaffinity(t->tid, sizeof(t->affinity), &t->affinity))
		return -errno;
	CPU_ZERO(&one);
	CPU_SET(e->opts.cpu, &one);
	return sched_setaffinity(t->tid, sizeof(one), &one) ? -errno : 0;
}

/* A thread that is gone meanwhile says so by its exit status. */
static int gone_is_fine(void)
{
	return errno == ESRCH ? 0 : -errno;
}

int rrc_resume(struct rrc_engine *e, struct tracee *t, int sig)
{
	bool posted = t->at == ST_POSTED;
	uint32_t next = rrc_inproc_fill(e, t, sig);
	int request = rrc_inproc_dispatches(t)	      ? PTRACE_CONT
		      : rrc_call_likely_real(e, next) ? PTRACE_SYSCALL
						      : PTRACE_SYSEMU;
	bool skipped = t->at == ST_EMU || t->at == ST_ENTRY;

	/* A call that was skipped has an exit stop, if exits are to stop. */
	t->skip_exit = skipped && request == PTRACE_SYSCALL;
	t->at = ST_NONE;
	t->request = request;
	t->state = TR_RUN;
	t->stopped = false;
	if (!e->opts.no_pacing) {
		t->resumed_ns = rrc_now_ns(CLOCK_MONOTONIC);
		t->recorded_ns = e->recorded_ns;
	}
	if (posted)
		return rrc_inproc_wake(t);
	if (ptrace((enum __ptrace_request)request, t->tid, NULL, (long)sig))
		return gone_is_fine();
	return 0;
}

int rrc_tracee_go_on(struct tracee *t)
{
	t->stopped = false;
	rrc_inproc_select(t, t->request == PTRACE_CONT && t->dispatching);
	if (ptrace((enum __ptrace_request)t->request, t->tid, NULL, NULL))
		return gone_is_fine();
	return 0;
}

int rrc_run_real(struct tracee *t, const struct user_regs_struct *regs)
{
	struct user_regs_struct r = *regs;
	uint64_t have[6], want[6];

	rrc_regs_args(&t->regs, have);
	rrc_regs_args(&r, want);
	t->args_changed = memcmp(have, want, sizeof(have)) != 0;
	t->swallow = 0;
	if (t->at != ST_ENTRY) {
		/* This entry is lost: the instruction once more. Exit of the skipped call, entry. */
		t->swallow = t->at == ST_EMU ? 2 : 1;
		r.rip -= 2;
		r.rax = r.orig_rax;
		r.orig_rax = (uint64_t)-1;
	}
	if (t->at != ST_ENTRY || t->args_changed)
		if (ptrace(PTRACE_SETREGS, t->tid, NULL, &r))
			return gone_is_fine();
	t->at = ST_NONE;
	t->dispatching = false;
	rrc_inproc_select(t, false);
	t->skip_exit = false;
	t->request = PTRACE_SYSCALL;
	t->stopped = false;
	if (ptrace(PTRACE_SYSCALL, t->tid, NULL, NULL))
		return gone_is_fine();
	return 0;
}

int rrc_tracee_inject(struct rrc_engine *e, struct tracee *t, long nr, uint64_t a, uint64_t b,
		      uint64_t c, long *ret, struct rrc_error *err)
{
	uint64_t args[6] = { a, b, c, 0, 0, 0 };
	int r = rrc_inject(t->tid, nr, args, ret, err);

	/* An entry is used up by it: only result and registers of the call are still to be set. */
	t->at = ST_NONE;
	if (r == -ESRCH)
		rrc_tracee_dead(e, t);
	return r;
}

int rrc_tproc_getfd(const struct tproc *p, int fd)
{
	int r = (int)syscall(SYS_pidfd_getfd, p->pidfd, fd, 0);

	return r < 0 ? -errno : r;
}

int rrc_tracee_getfd(const struct tracee *t, int fd)
{
	return rrc_tproc_getfd(t->proc, fd);
}
