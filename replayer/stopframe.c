/* SPDX-License-Identifier: MIT */
/* Out of a handler that only CRIU's stopping started, see stopframe.h. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "ptrace.h"
#include "stopframe.h"
#include "syscalls.h"

/* struct rt_sigframe: return address, struct ucontext with the kernel's short mask, siginfo */
#define FRAME_UC	  8
#define FRAME_INFO	  (FRAME_UC + 304)
#define FRAME_REGS	  (FRAME_UC + offsetof(ucontext_t, uc_mcontext.gregs))
#define KERNEL_SIGSET_LEN 8

/* Registers as the kernel sets them for a handler's first instruction. */
static int stands_there(const struct user_regs_struct *r)
{
	return r->rdi == SIGCHLD && !r->rax && r->rdx == r->rsp + FRAME_UC &&
	       r->rsi == r->rsp + FRAME_INFO;
}

/* Would the program have gone on with this call? Then the primary did not deliver the signal. */
static int goes_on(pid_t tid, const struct user_regs_struct *r, const struct rrc_rec *next)
{
	static const uint8_t insn[2] = { 0x0f, 0x05 };
	uint8_t code[2];
	gregset_t g;

	if (rrc_mem_read(tid, r->rsp + FRAME_REGS, g, sizeof(g)))
		return 0;
	if (next->nr == RRC_NR_restart_syscall)
		return g[REG_RAX] == -EINTR;
	return g[REG_RAX] == next->nr && (uint64_t)g[REG_RDI] == next->args[0] &&
	       (uint64_t)g[REG_RSI] == next->args[1] && (uint64_t)g[REG_RDX] == next->args[2] &&
	       !rrc_mem_read(tid, (uint64_t)g[REG_RIP], code, sizeof(code)) &&
	       !memcmp(code, insn, sizeof(insn));
}

/* Runs on to the next stop at a call's entry or exit; every signal is blocked. */
static int to_syscall_stop(pid_t tid)
{
	int status;

	do {
		if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL))
			return -errno;
		while (waitpid(tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFSTOPPED(status))
			return -ESRCH;
	} while (status >> 8 != (SIGTRAP | 0x80));
	return 0;
}

int rrc_leave_stop_handler(pid_t tid, const struct rrc_rec *next)
{
	struct user_regs_struct r;
	uint64_t all = ~0ull;
	int ret;

	if (!next || next->kind != RRC_REC_SYSCALL)
		return 0;
	if (ptrace(PTRACE_GETREGS, tid, NULL, &r))
		return -errno;
	if (!stands_there(&r) || !goes_on(tid, &r, next))
		return 0;
	/* As if the handler had returned; rt_sigreturn puts the mask right, too. */
	if (rrc_mem_read(tid, r.rsp, &r.rip, sizeof(r.rip)))
		return -EFAULT;
	r.rsp += sizeof(r.rip);
	r.orig_rax = (uint64_t)-1;
	if (ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_LEN, &all) ||
	    ptrace(PTRACE_SETREGS, tid, NULL, &r))
		return -errno;
	ret = to_syscall_stop(tid);
	if (!ret && !ptrace(PTRACE_GETREGS, tid, NULL, &r) && r.orig_rax != RRC_NR_rt_sigreturn)
		ret = -EPROTO;
	if (!ret)
		ret = to_syscall_stop(tid);
	return ret ? ret : 1;
}
