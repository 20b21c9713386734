// SPDX-License-Identifier: GPL-2.0
/* The copy: each process's leader thread, parked in its own context, forks itself by the kernel's own
 * means, with another first function for the child (shadow.c). */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/ipc_namespace.h>
#include <linux/ktime.h>
#include <linux/nsproxy.h>
#include <linux/proc_ns.h>
#include <linux/sched/jobctl.h>
#include <linux/slab.h>
#include <linux/time_namespace.h>
#include <linux/utsname.h>
#include <net/net_namespace.h>

#include "compat.h"
#include "session.h"

/* A clone is refused while a signal is pending: hide what is there. It stays pending. Not SIGKILL: while that is
 * blocked the kernel does not take a process for one that ends. */
int rrc_hide_pending(struct rrc_hidden *h)
{
	int r = 0;

	spin_lock_irq(&current->sighand->siglock);
	h->blocked = current->blocked;
	h->jobctl = 0;
	h->frozen = current->frozen;
	if (current->jobctl & JOBCTL_PENDING_MASK & ~JOBCTL_TRAP_FREEZE) {
		r = -EAGAIN; /* it is about to be stopped */
	} else {
		sigfillset(&current->blocked);
		sigdelset(&current->blocked, SIGKILL);
		h->jobctl = current->jobctl & JOBCTL_TRAP_FREEZE;
		current->jobctl &= ~h->jobctl;
		current->frozen = 0;
	}
	recalc_sigpending();
	spin_unlock_irq(&current->sighand->siglock);
	return r;
}

void rrc_unhide_pending(const struct rrc_hidden *h)
{
	spin_lock_irq(&current->sighand->siglock);
	current->blocked = h->blocked;
	current->jobctl |= h->jobctl;
	current->frozen = h->frozen;
	recalc_sigpending();
	spin_unlock_irq(&current->sighand->siglock);
}

/* FN takes a reference to the session over. */
pid_t rrc_clone(struct rrc_thread *t, u64 flags, int (*fn)(void *))
{
	pid_t tids[1] = { t->vtid };
	struct kernel_clone_args args = {
		.flags = flags | CLONE_UNTRACED,
		.fn = fn,
		.fn_arg = t,
	};
	pid_t r;

	if (t->proc->s->ns) {
		args.set_tid = tids;
		args.set_tid_size = 1;
	}
	rrc_session_get(t->proc->s);
	r = rrc_kernel.kernel_clone(&args);
	if (r < 0)
		rrc_session_put(t->proc->s);
	return r;
}

/* The namespaces that it has, but its children are born in PIDNS. */
static struct nsproxy *with_pidns(const struct nsproxy *old, struct pid_namespace *pidns)
{
	struct nsproxy *n = kmem_cache_alloc(*rrc_kernel.nsproxy_cachep, GFP_KERNEL);

	if (!n)
		return NULL;
	*n = *old;
	rrc_nsproxy_first_ref(n);
	get_uts_ns(n->uts_ns);
	get_ipc_ns(n->ipc_ns);
	/* Its type is private to the kernel's fs/; this is its first member. */
	refcount_inc(&((struct ns_common *)n->mnt_ns)->count);
	n->pid_ns_for_children = get_pid_ns(pidns);
	get_net(n->net_ns);
	get_time_ns(n->time_ns);
	get_time_ns(n->time_ns_for_children);
	get_cgroup_ns(n->cgroup_ns);
	return n;
}

/* Ids may be chosen, and limits of the number of processes passed, by the copy alone. */
static struct cred *with_rights(void)
{
	struct cred *cred = prepare_creds();

	if (!cred)
		return NULL;
	cap_raise(cred->cap_effective, CAP_CHECKPOINT_RESTORE);
	cap_raise(cred->cap_effective, CAP_SYS_RESOURCE);
	return cred;
}

static int clone_self(struct rrc_thread *t)
{
	struct rrc_session *s = t->proc->s;
	struct nsproxy *old = current->nsproxy, *inside = NULL;
	const struct cred *was;
	struct cred *cred;
	pid_t r;

	cred = with_rights();
	if (!cred)
		return -ENOMEM;
	if (s->ns) {
		inside = with_pidns(old, s->ns);
		if (!inside) {
			put_cred(cred);
			return -ENOMEM;
		}
	}
	was = override_creds(cred);
	if (inside) {
		get_nsproxy(old); /* the switch drops one */
		rrc_kernel.switch_task_namespaces(current, inside);
	}
	r = rrc_clone(t, 0, rrc_shadow_leader);
	if (inside)
		rrc_kernel.switch_task_namespaces(current, old);
	revert_creds(was);
	put_cred(cred);
	return r < 0 ? r : 0;
}

static int copy(struct rrc_thread *t)
{
	struct rrc_session *s = t->proc->s;
	struct rrc_hidden hidden;
	int r;

	/* In a new namespace nobody can come before its first process. */
	if (s->ns && t->vtid != 1)
		wait_for_completion(&s->init_made);
	if (READ_ONCE(s->over) || READ_ONCE(s->err))
		return -ECANCELED;
	r = rrc_hide_pending(&hidden);
	if (r)
		return r;
	if (!(s->flags & RRC_FORK_NO_FILES))
		r = rrc_files_before(s);
	r = r ?: rrc_memory_before(t->proc) ?: clone_self(t);
	rrc_memory_after(t->proc);
	rrc_unhide_pending(&hidden);
	return r;
}

/* In a parked leader, when it was let go for a copy or altogether. */
void rrc_fork_self(struct rrc_thread *t)
{
	struct rrc_proc *p = t->proc;
	struct rrc_session *s = p->s;
	int r;

	if (READ_ONCE(s->stage) != RRC_STAGE_FORKING)
		return;
	r = copy(t);
	if (t->vtid == 1)
		complete_all(&s->init_made);
	if (r) {
		rrc_session_fail(s, r);
		if (atomic_sub_and_test(p->n, &s->to_build))
			complete_all(&s->built);
		if (atomic_dec_and_test(&s->to_bear))
			complete_all(&s->born);
	} else if (s->flags & (RRC_FORK_WANT_STATE | RRC_FORK_WANT_MEMBERS)) {
		rrc_origin_tell(p);
		if (s->flags & RRC_FORK_WANT_STATE)
			rrc_descriptors_tell(p);
		rrc_memory_tell(p);
		if (p->state.failed)
			rrc_session_fail(s, -ENOMEM);
	}
	if (atomic_dec_and_test(&s->to_copy)) {
		s->t_copied = ktime_get_ns();
		complete_all(&s->copied);
	}
}

/* In the agent. Nothing here waits for anything but work of the kernel's own, so no wait can be broken
 * off: the shadow's tree is the agent's before the originals go on, and they never see it. */
int rrc_fork(struct rrc_session *s, struct rrc_fork_fork *out)
{
	struct rrc_proc *p;

	s->flags = out->flags;
	atomic_set(&s->to_copy, s->n_procs);
	atomic_set(&s->to_bear, s->n_procs);
	atomic_set(&s->to_build, s->n_threads);
	if (cmpxchg(&s->stage, RRC_STAGE_PARKED, RRC_STAGE_FORKING) != RRC_STAGE_PARKED) {
		rrc_session_fail(s, s->broken ? -ESRCH : -ETIMEDOUT);
		complete_all(&s->built); /* there is nothing to wait for */
		return s->err;
	}
	complete_all(&s->go);
	rrc_phase(RRC_PHASE_COPYING);
	wait_for_completion(&s->copied);
	rrc_phase(RRC_PHASE_COPIED);
	wait_for_completion(&s->born);
	rrc_tree_link(s);
	complete_all(&s->linked);
	rrc_phase(RRC_PHASE_LINKED);
	out->tree_ns = ktime_get_ns() - s->t_parked;
	out->copy_ns = s->t_copied - s->t_parked;
	out->processes = s->n_procs;
	list_for_each_entry (p, &s->procs, node) {
		out->state_bytes += p->state.used;
		if (!out->init && p->shadow)
			out->init = task_tgid_vnr(p->shadow);
	}
	if (READ_ONCE(s->over))
		rrc_session_fail(s, s->broken ? -ESRCH : -ETIMEDOUT);
	return READ_ONCE(s->err);
}
