/* SPDX-License-Identifier: MIT */
/* Registers of a stopped thread, see threads.h. */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "threads.h"

/* The kernel's own results, never seen by programs (include/linux/errno.h). */
#define ERESTARTSYS	      512
#define ERESTARTNOINTR	      513
#define ERESTARTNOHAND	      514
#define ERESTART_RESTARTBLOCK 516
#define SYSCALL_BYTES	      2

#define SIGSET_BYTES 8

void rrc_thread_normalise(struct user_regs_struct *regs)
{
	if ((long long)regs->orig_rax < 0)
		return;
	switch (-(long long)regs->rax) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		regs->rax = regs->orig_rax;
		regs->rip -= SYSCALL_BYTES;
		break;
	case ERESTART_RESTARTBLOCK:
		regs->rax = (unsigned long long)-EINTR;
		break;
	default:
		break;
	}
	regs->orig_rax = (unsigned long long)-1;
}

int rrc_thread_take(pid_t tid, struct rrc_delta_thread *t, uint8_t *xsave)
{
	struct iovec regs = { &t->regs, sizeof(t->regs) };
	struct iovec area = { xsave, RRC_DELTA_MAX_XSAVE };

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &regs) ||
	    ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &area) ||
	    ptrace(PTRACE_GETSIGMASK, tid, SIGSET_BYTES, &t->mask))
		return -errno;
	if (regs.iov_len != sizeof(t->regs) || area.iov_len == RRC_DELTA_MAX_XSAVE)
		return -EOVERFLOW; /* a 32-bit thread, or more state than fits */
	t->xsave_len = (uint32_t)area.iov_len;
	rrc_thread_normalise(&t->regs);
	return 0;
}

static int peek(pid_t tid, uint32_t flags, uint64_t mask)
{
	struct __ptrace_peeksiginfo_args args = { .flags = flags, .nr = 1 };
	siginfo_t info;
	long n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, &info);

	if (n < 0)
		return -errno;
	if (!n)
		return 0;
	return mask >> (info.si_signo - 1) & 1 ? -EBUSY : -EAGAIN;
}

int rrc_thread_pending(pid_t tid, int shared)
{
	uint64_t mask;
	int ret;

	if (ptrace(PTRACE_GETSIGMASK, tid, SIGSET_BYTES, &mask))
		return -errno;
	ret = peek(tid, 0, mask);
	return ret || !shared ? ret : peek(tid, PTRACE_PEEKSIGINFO_SHARED, mask);
}
