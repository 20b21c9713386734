// SPDX-License-Identifier: GPL-2.0
/* The shadow's family: who is whose child, groups and sessions as among the originals; and its end. */
#include <linux/delay.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <uapi/linux/wait.h>

#include "compat.h"
#include "session.h"

static struct task_struct *shadow_of(struct rrc_session *s, struct task_struct *original)
{
	struct rrc_proc *p;

	hash_for_each_possible (s->known_procs, p, hash, (unsigned long)original)
		if (p->leader == original && p->shadow && !(p->shadow->flags & PF_EXITING))
			return p->shadow;
	return NULL;
}

/* All of this with tasklist_lock held for writing. */
static void link_parent(struct rrc_session *s, struct rrc_proc *p)
{
	struct task_struct *parent = NULL, *t;

	/* An original that was killed meanwhile has no family any more; a shadow that died is for the agent. */
	if (p->leader->sighand && !p->shadow->exit_state)
		parent = shadow_of(
			s, rcu_dereference_protected(p->leader->real_parent, 1)->group_leader);
	p->agents = !parent;
	if (parent)
		p->shadow->exit_signal = p->leader->exit_signal;
	else
		parent = s->agent; /* with exit signal 0: its end says nothing to the agent */
	list_move_tail(&p->shadow->sibling, &parent->children);
	for_each_thread (p->shadow, t) {
		RCU_INIT_POINTER(t->real_parent, parent);
		if (!t->ptrace)
			t->parent = parent;
	}
}

/* A group from outside the container must not be the originals': a signal to it would reach the shadow. */
static void link_group(struct rrc_session *s, struct rrc_proc *p, enum pid_type type)
{
	struct pid *old = p->leader->signal->pids[type], *new = NULL;
	struct pid_namespace *ns = task_active_pid_ns(p->leader);
	pid_t nr = old ? pid_nr_ns(old, ns) : 0;

	if (s->ns && nr)
		new = find_pid_ns(nr, s->ns);
	if (!new)
		new = s->agent->signal->pids[type];
	if (new)
		rrc_kernel.change_pid(p->shadow, type, new);
}

void rrc_tree_link(struct rrc_session *s)
{
	struct rrc_proc *p;

	write_lock_irq(rrc_kernel.tasklist_lock);
	list_for_each_entry (p, &s->procs, node) {
		if (!p->shadow)
			continue;
		link_parent(s, p);
		if (!p->leader->sighand)
			rrc_session_fail(s, -ESRCH);
		if (!p->leader->sighand || p->shadow->exit_state)
			continue;
		link_group(s, p, PIDTYPE_PGID);
		link_group(s, p, PIDTYPE_SID);
		p->shadow->signal->leader = p->leader->signal->leader;
		p->shadow->signal->is_child_subreaper = p->leader->signal->is_child_subreaper;
	}
	write_unlock_irq(rrc_kernel.tasklist_lock);
}

static bool moves(struct task_struct *leader)
{
	struct task_struct *t;
	bool found = false;

	rcu_read_lock();
	for_each_thread (leader, t)
		if (!(READ_ONCE(t->__state) & (__TASK_STOPPED | __TASK_TRACED)) &&
		    !(t->flags & PF_EXITING))
			found = true;
	rcu_read_unlock();
	return found;
}

/* When all is built each thread is on its last steps to its stop. -EINTR: the agent is killed. */
int rrc_tree_settle(struct rrc_session *s)
{
	struct rrc_proc *p;

	list_for_each_entry (p, &s->procs, node)
		while (p->shadow && moves(p->shadow)) {
			if (fatal_signal_pending(current))
				return -EINTR;
			usleep_range(10, 50);
		}
	return 0;
}

void rrc_tree_kill(struct rrc_session *s)
{
	struct rrc_proc *p;

	list_for_each_entry (p, &s->procs, node)
		if (p->shadow)
			send_sig(SIGKILL, p->shadow, 1);
}

/* In the agent: takes the ends of the shadow's processes that are its children. The namespace's first one comes last:
 * it ends when the others are gone. -EINTR: not all ended yet. */
int rrc_tree_reap(struct rrc_session *s)
{
	struct rrc_proc *p;
	pid_t pid;

	list_for_each_entry_reverse (p, &s->procs, node) {
		pid = p->shadow && p->agents ? task_tgid_vnr(p->shadow) : 0;
		if (!pid)
			continue;
		if (rrc_kernel.kernel_wait4(pid, NULL, __WALL, NULL) == -ERESTARTSYS)
			return -EINTR;
		p->agents = false; /* or somebody else took it: -ECHILD */
	}
	return 0;
}
