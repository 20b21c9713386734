// SPDX-License-Identifier: MIT
/* Threads that wait for their turn inside the program, without a ptrace stop: see inproc.h. */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "inproc.h"
#include "inproc_int.h"
#include "ptrace.h"
#include "util.h"

#define BRIEFS 64 /* after so many stops with few calls between it is worth it */

#define DISPATCH     59 /* PR_SET_SYSCALL_USER_DISPATCH */
#define BY_DISPATCH  2 /* si_code of its SIGSYS */
#define SIGSYS_BIT   (1ull << (SIGSYS - 1))
#define SIGSET_BYTES 8

/* A signal that is ignored is no longer so once the kernel has forced it. */
static bool is_ignored(pid_t pid)
{
	rrc_autofclose FILE *f = NULL;
	unsigned long long set = ~0ull;
	char path[64], line[128];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigIgn: %llx", &set) == 1)
			break;
	return set & SIGSYS_BIT;
}

static bool is_blocked(struct tracee *t)
{
	uint64_t mask = ~0ull;

	if (!t->mask_unsure)
		return false;
	if (ptrace(PTRACE_GETSIGMASK, t->tid, SIGSET_BYTES, &mask) || mask & SIGSYS_BIT)
		return true;
	t->mask_unsure = false;
	return false;
}

static void enable(struct rrc_engine *e, struct tracee *t)
{
	const struct rrc_inproc *ip = t->proc->inproc;
	uint64_t args[6] = { DISPATCH, 1, ip->code, ip->code_len };
	long ret;

	t->no_dispatch = true;
	if (is_ignored(t->proc->pid))
		return;
	t->slot->selector = 0;
	args[4] = ip->data + (uint64_t)((char *)&t->slot->selector - (char *)ip->area);
	if (rrc_inject(t->tid, RRC_NR_prctl, args, &ret, NULL))
		return;
	t->at = ST_NONE;
	if (ret)
		return; /* the kernel has it not */
	t->no_dispatch = false;
	t->dispatched = true;
	e->dispatched++;
}

bool rrc_inproc_may_wait(struct rrc_engine *e, struct tracee *t)
{
	if (t->at == ST_POSTED)
		return true;
	if (t->no_dispatch || t->proc->threads < 2 || (!t->dispatched && t->briefs < BRIEFS) ||
	    is_blocked(t))
		return false;
	if (!t->dispatched)
		enable(e, t);
	return t->dispatched;
}

void rrc_inproc_no_wait(struct tracee *t)
{
	uint64_t args[6] = { DISPATCH };
	long ret;

	if (!t->dispatched)
		return;
	t->slot->selector = 0;
	rrc_inject(t->tid, RRC_NR_prctl, args, &ret, NULL);
	t->at = t->at == ST_EXIT ? ST_EXIT : ST_NONE;
	t->dispatched = false;
}

void rrc_inproc_made(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec)
{
	if (rec->nr == RRC_NR_rt_sigprocmask)
		t->mask_unsure = true;
	for (struct tracee *o = e->threads;
	     rec->nr == RRC_NR_rt_sigaction && rec->args[0] == SIGSYS && o; o = o->next)
		if (o->proc == t->proc)
			o->no_dispatch = true;
}

bool rrc_inproc_dispatches(const struct tracee *t)
{
	return t->dispatching;
}

bool rrc_inproc_dispatched(struct tracee *t)
{
	siginfo_t si;

	return t->dispatching && t->state == TR_RUN &&
	       !ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &si) && si.si_code == BY_DISPATCH;
}

void rrc_inproc_select(struct tracee *t, bool on)
{
	if (t->dispatched)
		__atomic_store_n(&t->slot->selector, on, __ATOMIC_SEQ_CST);
}

static bool waits(const struct tracee *t)
{
	const struct rrc_ip_slot *s = t->slot;

	/* what it was granted it takes before it waits again */
	return t->state == TR_RUN && t->dispatching &&
	       __atomic_load_n(&s->waiting, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&s->taken, __ATOMIC_ACQUIRE) ==
		       __atomic_load_n(&s->granted, __ATOMIC_ACQUIRE);
}

bool rrc_inproc_posted(const struct rrc_engine *e)
{
	for (const struct tracee *t = e->dispatched ? e->threads : NULL; t; t = t->next)
		if (waits(t))
			return true;
	return false;
}

int rrc_inproc_posts(struct rrc_engine *e, struct rrc_error *err)
{
	for (struct tracee *t = e->threads; t; t = t->next) {
		const struct rrc_ip_slot *s = t->slot;
		int r;

		if (!waits(t))
			continue;
		r = rrc_inproc_sync(e, t, err);
		if (r)
			return r;
		t->regs.orig_rax = s->rax;
		t->regs.rdi = s->args[0];
		t->regs.rsi = s->args[1];
		t->regs.rdx = s->args[2];
		t->regs.r10 = s->args[3];
		t->regs.r8 = s->args[4];
		t->regs.r9 = s->args[5];
		t->at = ST_POSTED;
		t->state = TR_CALL;
	}
	return 0;
}

int rrc_inproc_wake(struct tracee *t)
{
	syscall(SYS_futex, &t->slot->granted, FUTEX_WAKE, 1, NULL, NULL, 0);
	return 0;
}
