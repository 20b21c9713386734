/* SPDX-License-Identifier: MIT */
/* Calls made in another process, see remotecall.h. A call returns to address 0, and stops there by its fault. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ptrace.h"
#include "remotecall.h"
#include "util.h"

#define RED_ZONE	    128
#define STACK_NEEDED	    (96 * 1024)
#define KERNEL_SIGSET_BYTES 8

int rrc_stop_process(pid_t pid, struct rrc_stopped *s, struct rrc_error *err)
{
	*s = (struct rrc_stopped){ .pid = pid };
	s->n = rrc_seize_process(pid, 0, &s->tids, err);
	if (s->n < 0)
		return s->n;
	s->regs = calloc((size_t)s->n, sizeof(*s->regs));
	for (int i = 0; s->regs && i < s->n; i++)
		/* one that was killed meanwhile: nothing of it matters any more */
		if (ptrace(PTRACE_GETREGS, s->tids[i], NULL, &s->regs[i]))
			s->regs[i].rip = 0;
	if (s->regs)
		return 0;
	rrc_go_on(s, -1);
	rrc_stopped_free(s);
	return rrc_fail(err, ENOMEM, "no memory");
}

/* Is there a signal that will be delivered when it goes on? Then EINTR is the signal's. */
static int signal_waits(pid_t tid)
{
	unsigned long long pending = 0, blocked = 0, v;
	rrc_autofclose FILE *f = NULL;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "SigPnd: %llx", &v) == 1 || sscanf(line, "ShdPnd: %llx", &v) == 1)
			pending |= v;
		else if (sscanf(line, "SigBlk: %llx", &v) == 1)
			blocked = v;
	}
	return (pending & ~blocked) != 0;
}

static void rewind_call(pid_t tid, struct user_regs_struct *r)
{
	if ((long)r->orig_rax < 0 || (long)r->rax != -EINTR || r->orig_rax == SYS_close ||
	    signal_waits(tid))
		return;
	r->rax = r->orig_rax;
	r->orig_rax = (uint64_t)-1;
	r->rip -= 2;
}

static void let_go(struct rrc_stopped *s, int i)
{
	struct user_regs_struct before = s->regs[i];

	rewind_call(s->tids[i], &s->regs[i]);
	if (memcmp(&before, &s->regs[i], sizeof(before)))
		ptrace(PTRACE_SETREGS, s->tids[i], NULL, &s->regs[i]);
	ptrace(PTRACE_DETACH, s->tids[i], NULL, NULL);
	s->tids[i] = 0;
}

void rrc_go_on(struct rrc_stopped *s, int keep)
{
	for (int i = 0; s->regs && i < s->n; i++)
		if (i != keep && s->tids[i])
			let_go(s, i);
}

void rrc_stopped_free(struct rrc_stopped *s)
{
	rrc_go_on(s, -1);
	free(s->tids);
	free(s->regs);
	*s = (struct rrc_stopped){ 0 };
}

uint64_t rrc_remote_room(const struct rrc_stopped *s, int i)
{
	return (s->regs[i].rsp - RED_ZONE - RRC_REMOTE_ROOM) & ~15ull;
}

int rrc_remote_has_stack(const struct rrc_stopped *s, int i)
{
	rrc_autofclose FILE *f = NULL;
	rrc_autofree char *line = NULL;
	unsigned long from, to;
	char path[64];
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", s->pid);
	f = fopen(path, "re");
	while (f && getline(&line, &room, f) > 0) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2 || s->regs[i].rsp < from ||
		    s->regs[i].rsp >= to)
			continue;
		/* the first thread's grows */
		return s->regs[i].rsp - from >= STACK_NEEDED || strstr(line, "[stack]");
	}
	return 0;
}

/* Until it stands at address 0. Signals are blocked but for those that it causes itself. */
static int wait_returned(pid_t tid, struct user_regs_struct *r)
{
	int status;

	for (;;) {
		while (waitpid(tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (ptrace(PTRACE_GETREGS, tid, NULL, r))
			return -errno;
		if (status >> 16 == 0 && WSTOPSIG(status) == SIGSEGV)
			return r->rip ? -EFAULT : 0;
		if (ptrace(PTRACE_CONT, tid, NULL, status >> 16 == 0 ? (long)WSTOPSIG(status) : 0L))
			return -errno;
	}
}

int rrc_remote_call(struct rrc_stopped *s, int i, uint64_t fn, const uint64_t args[2], long *ret,
		    struct rrc_error *err)
{
	uint64_t mask, all = ~(1ull << (SIGSEGV - 1)), zero = 0;
	struct user_regs_struct r = s->regs[i];
	pid_t tid = s->tids[i];
	int e;

	r.rsp = rrc_remote_room(s, i) - 8;
	r.rip = fn;
	r.rdi = args[0];
	r.rsi = args[1];
	r.rax = 0;
	r.orig_rax = (uint64_t)-1;
	r.eflags &= ~0x400ull; /* the direction flag is clear at every call */
	if (rrc_mem_write(s->pid, r.rsp, &zero, sizeof(zero)) ||
	    ptrace(PTRACE_GETSIGMASK, tid, KERNEL_SIGSET_BYTES, &mask) ||
	    ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_BYTES, &all))
		return rrc_fail(err, errno, "thread %d: %s", tid, strerror(errno));
	e = ptrace(PTRACE_SETREGS, tid, NULL, &r) || ptrace(PTRACE_CONT, tid, NULL, NULL)
		    ? -errno
		    : wait_returned(tid, &r);
	*ret = (long)r.rax;
	if (e != -ESRCH && (ptrace(PTRACE_SETREGS, tid, NULL, &s->regs[i]) ||
			    ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_BYTES, &mask)))
		e = e ? e : -errno;
	if (e)
		return rrc_fail(err, e, "a call made in thread %d: %s", tid, strerror(-e));
	return 0;
}
