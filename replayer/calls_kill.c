// SPDX-License-Identifier: MIT
/* kill(2) and its kin are emulated: who got the signal when is in the log. What nobody has got by the
 * end of the log is sent at go-live. */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "ptrace.h"
#include "tracee.h"
#include "util.h"

struct pending_signal *rrc_pending(struct tproc *p, int sig)
{
	if (sig <= 0 || sig >= _NSIG || !p->threads)
		return NULL;
	if (!p->pending)
		p->pending = calloc(_NSIG, sizeof(*p->pending));
	return p->pending ? &p->pending[sig] : NULL;
}

static void mark_sent(const struct rrc_engine *e, const struct tracee *sender, struct tproc *p,
		      int sig, pid_t tid)
{
	struct pending_signal *pend = rrc_pending(p, sig);

	(void)e;
	if (!pend)
		return;
	pend->sent = true;
	pend->tid = tid;
	memset(&pend->info, 0, sizeof(pend->info));
	pend->info.si_signo = sig;
	pend->info.si_code = tid ? SI_TKILL : SI_USER;
	pend->info.si_pid = (pid_t)sender->proc->ns_pid;
}

/* kill(2)'s meaning of a process id that is not one. */
static bool meant(const struct rrc_engine *e, const struct tracee *sender, const struct tproc *p,
		  int pid)
{
	if (!p->threads)
		return false;
	if (pid > 0)
		return p->ns_pid == (uint32_t)pid;
	if (pid == -1)
		return p->ns_pid != 1 && p != sender->proc;
	if (pid == 0)
		return getpgid(p->pid) == getpgid(sender->proc->pid);
	for (const struct tproc *leader = e->procs; leader; leader = leader->next)
		if (leader->threads && leader->ns_pid == (uint32_t)-pid)
			return getpgid(p->pid) == leader->pid;
	return false;
}

static int kill_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			 struct rrc_error *err)
{
	int target = (int)rec->args[0], sig = (int)rec->args[1];
	bool thread = rec->nr == RRC_NR_tkill;

	(void)err;
	if (rec->ret < 0)
		return 0;
	if (rec->nr == RRC_NR_tgkill || rec->nr == RRC_NR_rt_tgsigqueueinfo) {
		thread = true;
		target = (int)rec->args[1];
		sig = (int)rec->args[2];
	}
	/* whom a pidfd means is not in the record, but the signal's delivery is */
	if (rec->nr == RRC_NR_pidfd_send_signal)
		return 0;
	if (thread) {
		struct tracee *to = rrc_tracee_ns(e, (uint32_t)target);

		if (to)
			mark_sent(e, t, to->proc, sig, to->tid);
		return 0;
	}
	for (struct tproc *p = e->procs; p; p = p->next)
		if (meant(e, t, p, target))
			mark_sent(e, t, p, sig, 0);
	return 0;
}

const struct rrc_call_ops rrc_ops_kill = { .emulated = kill_emulated };

/* A thread of the process that stands still. */
static struct tracee *stopped_thread(const struct rrc_engine *e, const struct tproc *p, pid_t tid)
{
	for (struct tracee *t = e->threads; t; t = t->next)
		if (t->proc == p && t->stopped && t->state < TR_EXITING && (!tid || t->tid == tid))
			return t;
	return NULL;
}

/* Only to itself may a process send a signal that tells of another sender: made in the receiver. */
static int send_from_inside(struct tracee *t, const struct tproc *p, int sig, bool thread,
			    const siginfo_t *info)
{
	struct user_regs_struct regs;
	uint64_t to_process[6] = { p->ns_pid, (uint64_t)sig };
	uint64_t to_thread[6] = { p->ns_pid, t->ns_tid, (uint64_t)sig };
	long ret;
	int r;

	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs))
		return -errno;
	/* below what it may use of its stack */
	to_process[2] = to_thread[3] = (regs.rsp - 1024) & ~15ull;
	r = rrc_mem_write(t->tid, to_process[2], info, sizeof(*info));
	if (r)
		return r;
	r = rrc_inject(t->tid, thread ? RRC_NR_rt_tgsigqueueinfo : RRC_NR_rt_sigqueueinfo,
		       thread ? to_thread : to_process, &ret, NULL);
	t->at = ST_NONE;
	return r ? r : (int)ret;
}

void rrc_send_leftovers(struct rrc_engine *e)
{
	for (struct tproc *p = e->procs; p; p = p->next) {
		if (!p->threads || !p->pending)
			continue;
		for (int sig = 1; sig < _NSIG; sig++) {
			struct pending_signal *pend = &p->pending[sig];
			struct tracee *t = stopped_thread(e, p, pend->tid);

			if (!pend->sent && pend->made <= 0)
				continue;
			if (sig == SIGKILL || !t ||
			    send_from_inside(t, p, sig, pend->tid, &pend->info))
				kill(p->pid, sig);
			pend->sent = false;
			pend->made = 0;
		}
	}
}
