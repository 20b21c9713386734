// SPDX-License-Identifier: GPL-2.0
/* Who belongs to the container. Called again until there is nobody new: a process or thread born while
 * others were parked is found by the next look. */
#include <linux/cgroup.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "session.h"

#define FOUND_AT_ONCE 256

static struct rrc_proc *known_proc(struct rrc_session *s, struct task_struct *leader)
{
	struct rrc_proc *p;

	hash_for_each_possible (s->known_procs, p, hash, (unsigned long)leader)
		if (p->leader == leader)
			return p;
	return NULL;
}

static struct rrc_thread *known(struct rrc_session *s, struct task_struct *task)
{
	struct rrc_thread *t;

	hash_for_each_possible (s->known, t, hash, (unsigned long)task)
		if (t->task == task)
			return t;
	return NULL;
}

static bool named(const struct rrc_select *sel, struct task_struct *leader)
{
	pid_t pid = task_pid_vnr(leader);
	u32 i;

	for (i = 0; i < sel->n_pids; i++)
		if (sel->pids[i] == pid)
			return true;
	return false;
}

/* Called in an RCU read section, like everything that looks at the tree. */
static bool by_pids(struct rrc_session *s, struct task_struct *leader)
{
	for (; leader->pid > 1; leader = rcu_dereference(leader->real_parent)->group_leader)
		if (known_proc(s, leader) || named(s->select, leader))
			return true;
	return false;
}

static bool by_pidns(struct rrc_session *s, struct task_struct *leader)
{
	struct pid_namespace *ns = task_active_pid_ns(leader);

	/* Those below are found too, and refused: nothing of the container is left out in silence. */
	for (; ns; ns = ns->parent)
		if (ns == s->select->ns)
			return true;
	return false;
}

static bool by_cgroup(struct rrc_session *s, struct task_struct *leader)
{
	return cgroup_is_descendant(task_dfl_cgroup(leader), s->select->cgroup);
}

typedef bool (*rrc_member)(struct rrc_session *s, struct task_struct *leader);
static const rrc_member members[] = {
	[RRC_FORK_BY_PIDS] = by_pids,
	[RRC_FORK_BY_PIDNS] = by_pidns,
	[RRC_FORK_BY_CGROUP] = by_cgroup,
};

/* Threads that are the kernel's own inside a process (io_uring) run no code of the program. */
static bool kernels_own(const struct task_struct *t)
{
#ifdef PF_USER_WORKER
	return t->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER);
#else
	return t->flags & (PF_KTHREAD | PF_IO_WORKER);
#endif
}

static struct rrc_proc *add_proc(struct rrc_session *s, struct task_struct *leader)
{
	struct rrc_proc *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (!p)
		return NULL;
	p->s = s;
	p->leader = get_task_struct(leader);
	INIT_LIST_HEAD(&p->threads);
	INIT_LIST_HEAD(&p->vmas);
	hash_add(s->known_procs, &p->hash, (unsigned long)leader);
	/* A namespace's first process first: the others' copies need its copy. */
	if (task_pid_nr_ns(leader, task_active_pid_ns(leader)) == 1)
		list_add(&p->node, &s->procs);
	else
		list_add_tail(&p->node, &s->procs);
	s->n_procs++;
	return p;
}

/* TASK is counted; the thread takes that over. */
static int add_thread(struct rrc_session *s, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct rrc_proc *p = known_proc(s, leader);
	struct rrc_thread *t;

	if (!p)
		p = add_proc(s, leader);
	t = p ? kzalloc(sizeof(*t), GFP_KERNEL) : NULL;
	if (!t) {
		put_task_struct(task);
		return -ENOMEM;
	}
	t->task = task;
	t->proc = p;
	t->leader = task == leader;
	t->vtid = task_pid_nr_ns(task, task_active_pid_ns(leader));
	list_add_tail(&t->node, &p->threads);
	hash_add(s->known, &t->hash, (unsigned long)task);
	return rrc_snapshot_room(t);
}

struct found {
	struct task_struct *task[FOUND_AT_ONCE];
	unsigned int n;
	bool more, ending;
};

static int look(struct rrc_session *s, struct found *f)
{
	rrc_member member = members[s->select->by];
	struct task_struct *p, *t;
	int err = 0;

	f->n = 0;
	f->more = false;
	f->ending = false;
	rcu_read_lock();
	for_each_process (p) {
		if ((p->flags & PF_KTHREAD) || !member(s, p))
			continue;
		if (p == current->group_leader) {
			err = -EDEADLK; /* it would wait for itself */
			break;
		}
		for_each_thread (p, t) {
			if (kernels_own(t))
				continue;
			if (t->flags & PF_EXITING) {
				/* Its end is seen in memory and by its kin: wholly, or not at all. */
				if (!READ_ONCE(t->exit_state))
					f->ending = true;
				continue;
			}
			if (known(s, t))
				continue;
			if (f->n == FOUND_AT_ONCE) {
				f->more = true;
				continue;
			}
			f->task[f->n++] = get_task_struct(t);
		}
	}
	rcu_read_unlock();
	return err;
}

/* Adds who is not known yet. Returns how many, or an error; ENDING: somebody is about to be gone. */
int rrc_collect(struct rrc_session *s, bool *ending)
{
	struct found *f = kmalloc(sizeof(*f), GFP_KERNEL);
	int r = 0, added = 0;
	unsigned int i;

	if (!f)
		return -ENOMEM;
	do {
		r = look(s, f);
		for (i = 0; i < f->n; i++) {
			if (r)
				put_task_struct(f->task[i]);
			else
				r = add_thread(s, f->task[i]);
		}
		added += f->n;
	} while (!r && f->more);
	*ending = f->ending;
	kfree(f);
	return r ? r : added;
}

/* When all that can be parked are: is it something that can be copied? Processes that ended meanwhile are
 * left out. The counts are set. */
int rrc_collect_check(struct rrc_session *s, struct task_struct **blocker)
{
	struct pid_namespace *ns = NULL;
	struct rrc_proc *p, *q;
	struct rrc_thread *t;
	bool leader;

	s->n_procs = 0;
	s->n_threads = 0;
	list_for_each_entry (p, &s->procs, node) {
		leader = false;
		p->n = 0;
		list_for_each_entry (t, &p->threads, node) {
			if (!t->parked)
				continue;
			p->n++;
			leader |= t->leader;
			/* After an exec by another thread the leader is somebody else. */
			if (t->task->group_leader != p->leader) {
				*blocker = t->task;
				return -EAGAIN;
			}
		}
		if (!p->n)
			continue;
		if (!leader) {
			*blocker = p->leader;
			return p->leader->exit_state ? -EOPNOTSUPP : -EAGAIN;
		}
		if (ns && task_active_pid_ns(p->leader) != ns)
			return -EOPNOTSUPP;
		ns = task_active_pid_ns(p->leader);
		list_for_each_entry (q, &s->procs, node) {
			if (q == p)
				break;
			if (q->n && q->leader->mm == p->leader->mm)
				return -EOPNOTSUPP;
		}
		s->n_procs++;
		s->n_threads += p->n;
	}
	return s->n_procs ? 0 : -ESRCH;
}
