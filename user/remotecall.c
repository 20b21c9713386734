/* SPDX-License-Identifier: MIT */
/* Calls made in another process, see remotecall.h. A call returns to where handlers of signals do, with a frame on the
 * stack that holds what was before; it is stopped there, at the entry of sigreturn, which is then not made. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "ptrace.h"
#include "remotecall.h"
#include "util.h"

#define RED_ZONE	    128
#define STACK_NEEDED	    (96 * 1024)
#define KERNEL_SIGSET_BYTES 8
#define CALL_STOP	    (SIGTRAP | 0x80)

/* mov $SYS_rt_sigreturn, %rax; syscall */
static const uint8_t restorer_code[] = { 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05 };

uint64_t rrc_remote_restorer(pid_t pid, uint64_t from, uint64_t to)
{
	uint8_t page[4096 + sizeof(restorer_code)];

	for (; from < to; from += 4096) {
		const uint8_t *hit;
		size_t n = rrc_min(to - from, sizeof(page));

		if (rrc_mem_read(pid, from, page, n) && rrc_mem_read(pid, from, page, n = 4096))
			continue;
		hit = memmem(page, n, restorer_code, sizeof(restorer_code));
		if (hit)
			return from + (uint64_t)(hit - page);
	}
	return 0;
}

int rrc_stop_process(pid_t pid, struct rrc_stopped *s, struct rrc_error *err)
{
	*s = (struct rrc_stopped){ .pid = pid };
	s->n = rrc_seize_process(pid, PTRACE_O_TRACESYSGOOD, &s->tids, err);
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

/* What the kernel would do at the end of the stop that broke a call off. */
static void end_stop(pid_t tid, struct user_regs_struct *r)
{
	long ret = (long)r->rax, waits;

	rewind_call(tid, r);
	if ((long)r->orig_rax < 0)
		return;
	waits = signal_waits(tid);
	if ((ret == -512 || ret == -513 || ret == -514 || ret == -516) && !waits) {
		r->rax = ret == -516 ? SYS_restart_syscall : r->orig_rax;
		r->rip -= 2;
	} else if (ret <= -512 && ret >= -516) {
		r->rax = (uint64_t)-EINTR;
	}
	r->orig_rax = (uint64_t)-1;
}

static void fill_frame(ucontext_t *u, const struct user_regs_struct *r, uint64_t mask)
{
	greg_t *g = u->uc_mcontext.gregs;

	memset(u, 0, sizeof(*u));
	u->uc_flags = 6; /* the stack segment is in it */
	u->uc_stack.ss_flags = -1; /* none that is known: the stack for signals stays as it is */
	g[REG_R8] = (greg_t)r->r8;
	g[REG_R9] = (greg_t)r->r9;
	g[REG_R10] = (greg_t)r->r10;
	g[REG_R11] = (greg_t)r->r11;
	g[REG_R12] = (greg_t)r->r12;
	g[REG_R13] = (greg_t)r->r13;
	g[REG_R14] = (greg_t)r->r14;
	g[REG_R15] = (greg_t)r->r15;
	g[REG_RDI] = (greg_t)r->rdi;
	g[REG_RSI] = (greg_t)r->rsi;
	g[REG_RBP] = (greg_t)r->rbp;
	g[REG_RBX] = (greg_t)r->rbx;
	g[REG_RDX] = (greg_t)r->rdx;
	g[REG_RAX] = (greg_t)r->rax;
	g[REG_RCX] = (greg_t)r->rcx;
	g[REG_RSP] = (greg_t)r->rsp;
	g[REG_RIP] = (greg_t)r->rip;
	g[REG_EFL] = (greg_t)r->eflags;
	g[REG_CSGSFS] = (greg_t)(r->cs | r->ss << 48);
	memcpy(&u->uc_sigmask, &mask, sizeof(mask));
}

/* Until it is at the entry of sigreturn. Signals are blocked but for those that it causes itself. */
static int wait_returned(const struct rrc_stopped *s, pid_t tid, struct user_regs_struct *r)
{
	int status;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL))
			return -errno;
		while (waitpid(tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (ptrace(PTRACE_GETREGS, tid, NULL, r))
			return -errno;
		if (WSTOPSIG(status) == CALL_STOP && r->orig_rax == SYS_rt_sigreturn &&
		    r->rip == s->restorer + sizeof(restorer_code))
			return 0;
		if (status >> 16 == 0 && WSTOPSIG(status) != CALL_STOP)
			return -EFAULT;
	}
}

int rrc_remote_call(struct rrc_stopped *s, int i, uint64_t fn, const uint64_t args[2],
		    struct rrc_error *err)
{
	uint64_t mask, all = ~(1ull << (SIGSEGV - 1));
	struct user_regs_struct r;
	pid_t tid = s->tids[i];
	ucontext_t frame;
	int e;

	if (ptrace(PTRACE_GETSIGMASK, tid, KERNEL_SIGSET_BYTES, &mask))
		return rrc_fail(err, errno, "thread %d: %s", tid, strerror(errno));
	end_stop(tid, &s->regs[i]);
	r = s->regs[i];
	fill_frame(&frame, &r, mask);
	r.rsp = (rrc_remote_room(s, i) - sizeof(frame)) & ~15ull;
	if (rrc_mem_write(s->pid, r.rsp, &frame, sizeof(frame)) ||
	    rrc_mem_write(s->pid, r.rsp -= 8, &s->restorer, sizeof(s->restorer)) ||
	    ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_BYTES, &all))
		return rrc_fail(err, EFAULT, "thread %d: its stack cannot be written", tid);
	r.rip = fn;
	r.rdi = args[0];
	r.rsi = args[1];
	r.rax = 0;
	r.eflags &= ~0x400ull; /* the direction flag is clear at every call */
	e = ptrace(PTRACE_SETREGS, tid, NULL, &r) ? -errno : wait_returned(s, tid, &r);
	if (e != -ESRCH && (ptrace(PTRACE_SETREGS, tid, NULL, &s->regs[i]) ||
			    ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_BYTES, &mask)))
		e = e ? e : -errno;
	if (e)
		return rrc_fail(err, e, "a call made in thread %d: %s", tid, strerror(-e));
	return 0;
}
