/* SPDX-License-Identifier: MIT */
/*
 * A stop ends some waits with -EINTR, which no program should see ten times a second: they are made again, for the
 * rest of their time. The recorder has said in the log that they are (bpf/record.bpf.c), and its word counts.
 */
#include <errno.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "execwatch_int.h"
#include "ptrace.h"
#include "util.h"

#define RESTART_NOHAND \
	(-514ll) /* ERESTARTNOHAND: the kernel makes it again, unless a handler runs */
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* When a wait that began then is over; 0: never. */
static uint64_t end_of(const struct rrc_tracee *t, const struct user_regs_struct *r, uint64_t began)
{
	struct timespec ts;

	switch (r->orig_rax) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return (int)r->r10 < 0 ? 0 : began + (uint64_t)(int)r->r10 * NS_PER_MS;
	case SYS_epoll_pwait2:
		if (!r->r10 || rrc_mem_read(t->tid, r->r10, &ts, sizeof(ts)) ||
		    ts.tv_sec >= INT32_MAX / 1000)
			return 0;
		return began + (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
	default:
		return 0;
	}
}

/* The rest of its time, in whole milliseconds: never less than it asked for. Where the time is in memory of the
 * program, which is not ours to write, the call becomes the one that has it in a register. */
static void give_rest(struct rrc_tracee *t, struct user_regs_struct *r)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);
	uint64_t left = t->end_ns > now ? t->end_ns - now : 0;

	if (r->orig_rax == SYS_epoll_pwait2)
		r->orig_rax = SYS_epoll_pwait;
	r->r10 = (left + NS_PER_MS - 1) / NS_PER_MS;
}

void rrc_watch_again(struct rrc_execwatch *w, struct rrc_tracee *t)
{
	struct user_regs_struct r;
	uint64_t began;

	if (!w->calls.broken_off || ptrace(PTRACE_GETREGS, t->tid, NULL, &r) ||
	    (long)r.orig_rax < 0 || (long)r.rax != -EINTR ||
	    !w->calls.broken_off(w->calls.ctx, t->tid, &began))
		return;
	/* Again and again: the rest is of the time that it had at first. */
	if (t->began_ns != began || t->rest != r.r10)
		t->end_ns = end_of(t, &r, began);
	t->began_ns = began;
	r.rax = (unsigned long long)RESTART_NOHAND;
	if (t->end_ns)
		give_rest(t, &r);
	t->rest = r.r10;
	ptrace(PTRACE_SETREGS, t->tid, NULL, &r);
}
