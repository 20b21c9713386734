/* SPDX-License-Identifier: GPL-2.0 */
/* Which tasks are the container's, and what is known about each. */
#ifndef RRC_THREAD_BPF_H
#define RRC_THREAD_BPF_H

#include "maps.bpf.h"

/* The task's id in its own pid namespace and that namespace's inode number. */
struct own_id {
	u32 id;
	u32 ns;
};

static __always_inline struct own_id own_id(struct task_struct *task)
{
	struct own_id own = {};
	struct pid *pid = task->thread_pid;
	struct upid up;
	u32 level;

	if (!pid)
		return own;
	level = pid->level;
	if (bpf_probe_read_kernel(&up, sizeof(up), &pid->numbers[0] + level))
		return own;
	own.id = up.nr;
	own.ns = BPF_CORE_READ(up.ns, ns.inum);
	return own;
}

/* Cheap, and settles it for most tasks of the host: the container is below the first namespace. */
static __always_inline bool may_be_ours(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;

	return pid && pid->level;
}

/*
 * The entry of a task of the container, made when it is not there yet; NULL: not ours. `task` is
 * current, or a child that has not run.
 */
static __always_inline struct rrc_thread *thread_of(struct task_struct *task)
{
	struct rrc_thread *t;
	struct own_id own, leader;
	u32 key, zero = 0;
	void *blank;

	if (!may_be_ours(task))
		return NULL;
	key = task->pid;
	t = bpf_map_lookup_elem(&rrc_threads, &key);
	if (t)
		return t;
	own = own_id(task);
	if (own.ns != cfg_pidns)
		return NULL;
	leader = own_id(task->group_leader);
	/* Too large for the stack, and the scratch page may be in use: a copy of a blank entry. */
	blank = bpf_map_lookup_elem(&rrc_blank, &zero);
	if (!blank)
		return NULL;
	if (bpf_map_update_elem(&rrc_threads, &key, blank, BPF_NOEXIST)) {
		count(lost);
		return NULL;
	}
	t = bpf_map_lookup_elem(&rrc_threads, &key);
	if (!t)
		return NULL;
	t->rec.tid = own.id;
	t->rec.pid = leader.id;
	return t;
}

#endif
