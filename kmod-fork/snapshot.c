// SPDX-License-Identifier: GPL-2.0
/* What a thread is beside memory: saved by the original when it parks, put on by its shadow before it
 * stops. */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/task_stack.h>
#include <uapi/linux/sched/types.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/fpu/api.h>
#include <asm/pkru.h>
#include <asm/prctl.h>

#include "compat.h"
#include "session.h"

int rrc_snapshot_room(struct rrc_thread *t)
{
	/* It can grow when the thread asks for more state; then the snapshot says so. */
	t->fpu_size = READ_ONCE(t->task->thread.fpu.fpstate)->size;
	t->fpu = kvmalloc(t->fpu_size, GFP_KERNEL);
	return t->fpu ? 0 : -ENOMEM;
}

static void take_fpu(struct rrc_thread *t)
{
	struct fpu *fpu = &current->thread.fpu;

	rrc_kernel.fpu_sync_fpstate(fpu);
	if (fpu->fpstate->size > t->fpu_size)
		t->fpu_size = 0;
	else
		t->fpu_size = fpu->fpstate->size;
	memcpy(t->fpu, &fpu->fpstate->regs, t->fpu_size);
}

void rrc_snapshot_take(struct rrc_thread *t)
{
	struct task_struct *c = current;

	t->regs = *current_pt_regs();
	current_save_fsgs();
	t->fsbase = c->thread.fsbase;
	t->gsbase = c->thread.gsbase;
	memcpy(t->tls, c->thread.tls_array, sizeof(t->tls));
	t->pkru = cpu_feature_enabled(X86_FEATURE_OSPKE) ? read_pkru() : c->thread.pkru;
	take_fpu(t);
	t->blocked = c->blocked;
	t->saved_mask = c->saved_sigmask;
	t->restore_mask = test_tsk_restore_sigmask(c);
	t->restart = c->restart_block;
	t->altstack = c->sas_ss_sp;
	t->altstack_size = c->sas_ss_size;
	t->altstack_flags = c->sas_ss_flags;
	t->clear_tid = c->clear_child_tid;
	t->robust = c->robust_list;
	t->rseq = c->rseq;
	t->rseq_len = rrc_rseq_len(c);
	t->rseq_sig = c->rseq_sig;
	t->cred = get_current_cred();
	t->pdeath = c->pdeath_signal;
	t->policy = c->policy;
	t->nice = task_nice(c);
	t->rt_priority = c->rt_priority;
	t->slack_ns = c->timer_slack_ns;
	memcpy(t->comm, c->comm, sizeof(t->comm));
}

static void put_cred_on(const struct rrc_thread *t)
{
	/* What is dumpable stays so: the copy is no change of identity. */
	unsigned long dumpable = current->mm->flags & MMF_DUMPABLE_MASK;

	if (current->cred != t->cred)
		commit_creds((struct cred *)get_cred(t->cred));
	set_mask_bits(&current->mm->flags, MMF_DUMPABLE_MASK, dumpable);
}

static void put_fpu(const struct rrc_thread *t)
{
	struct fpu *fpu = &current->thread.fpu;

	fpregs_lock();
	set_thread_flag(TIF_NEED_FPU_LOAD);
	if (t->fpu_size && t->fpu_size == fpu->fpstate->size)
		memcpy(&fpu->fpstate->regs, t->fpu, t->fpu_size);
	else
		rrc_session_fail(t->proc->s, -E2BIG);
	fpu->last_cpu = -1;
	current->thread.pkru = t->pkru;
	if (cpu_feature_enabled(X86_FEATURE_OSPKE))
		write_pkru(t->pkru);
	fpregs_unlock();
}

static void put_policy(const struct rrc_thread *t)
{
	struct sched_param param = { .sched_priority = t->rt_priority };

	/* Of the shadow's threads the siblings are the leader's children, in policy too. */
	if (current->policy != t->policy && t->policy != SCHED_DEADLINE)
		rrc_kernel.sched_setscheduler_nocheck(current, t->policy, &param);
	if (t->policy != SCHED_FIFO && t->policy != SCHED_RR && task_nice(current) != t->nice)
		set_user_nice(current, t->nice);
	current->timer_slack_ns = t->slack_ns;
}

/* The return from a fork sets a result; the registers come after it, and before the thread stops. */
static void put_regs(struct callback_head *work)
{
	struct rrc_thread *t = container_of(work, struct rrc_thread, put_regs);

	*current_pt_regs() = t->regs;
	rrc_session_put(t->proc->s);
}

/* As if the group had been stopped for long and this thread were born into it: it stops without a word to
 * anybody, before it would run. */
static void put_masks_and_stop(const struct rrc_thread *t)
{
	struct task_struct *c = current;

	spin_lock_irq(&c->sighand->siglock);
	c->blocked = t->blocked;
	c->saved_sigmask = t->saved_mask;
	c->restore_sigmask = t->restore_mask;
	if (!(c->signal->flags & SIGNAL_GROUP_EXIT)) {
		c->signal->flags |= SIGNAL_STOP_STOPPED;
		c->jobctl &= ~JOBCTL_STOP_SIGMASK;
		c->jobctl |= SIGSTOP | JOBCTL_STOP_PENDING;
	}
	set_thread_flag(TIF_SIGPENDING);
	spin_unlock_irq(&c->sighand->siglock);
}

void rrc_snapshot_put(struct rrc_thread *t)
{
	struct task_struct *c = current;

	put_cred_on(t);
	put_policy(t);
	rrc_kernel.do_arch_prctl_64(c, ARCH_SET_FS, t->fsbase);
	rrc_kernel.do_arch_prctl_64(c, ARCH_SET_GS, t->gsbase);
	memcpy(c->thread.tls_array, t->tls, sizeof(t->tls));
	c->restart_block = t->restart;
	/* CRIU takes a process for the one that it dumped before by its age. */
	c->start_time = t->task->start_time;
	c->start_boottime = t->task->start_boottime;
	c->sas_ss_sp = t->altstack;
	c->sas_ss_size = t->altstack_size;
	c->sas_ss_flags = t->altstack_flags;
	c->pdeath_signal = t->pdeath;
	if (!t->proc->shares) {
		/* The end of the shadow writes there: only if that is memory of its own. */
		c->clear_child_tid = t->clear_tid;
		c->robust_list = t->robust;
	}
	c->rseq = t->rseq;
	rrc_set_rseq_len(c, t->rseq_len);
	c->rseq_sig = t->rseq_sig;
	task_lock(c);
	memcpy(c->comm, t->comm, sizeof(c->comm));
	task_unlock(c);
	put_fpu(t);
	put_masks_and_stop(t);
	init_task_work(&t->put_regs, put_regs);
	rrc_session_get(t->proc->s);
	if (task_work_add(c, &t->put_regs, TWA_RESUME))
		rrc_session_put(t->proc->s);
}
