// SPDX-License-Identifier: GPL-2.0
/* /dev/rrc_fork: what the caller says is checked here, before anybody is disturbed. The meaning of the
 * calls is in rrc_fork.h. */
#include <linux/cgroup.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/proc_ns.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "session.h"

#define FORK_TELLS (RRC_FORK_WANT_STATE | RRC_FORK_WANT_MEMBERS)
#define FORK_FLAGS (FORK_TELLS | RRC_FORK_NO_FILES)

static int stop_at;
module_param(stop_at, int, 0644);
MODULE_PARM_DESC(stop_at, "for tests: where the agent waits to be killed (enum rrc_phase)");

static int at;
module_param(at, int, 0444);
MODULE_PARM_DESC(at, "for tests: where the agent waits");

static int get_sessions(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%ld\n", rrc_session_count());
}
static const struct kernel_param_ops sessions_ops = { .get = get_sessions };
module_param_cb(sessions, &sessions_ops, NULL, 0444);
MODULE_PARM_DESC(sessions, "forks that hold memory now");

struct device_file {
	struct mutex lock;
	struct rrc_session *s; /* parked or forked */
	bool forked, released;
	fl_owner_t
		owner; /* whose end is the end of the pause, also when others have the descriptor too */
};

void rrc_phase(enum rrc_phase phase)
{
	if (likely(READ_ONCE(stop_at) != phase))
		return;
	WRITE_ONCE(at, phase);
	schedule_timeout_killable(20 * HZ);
	WRITE_ONCE(at, 0);
}

static int select_pids(struct rrc_select *sel, const struct rrc_fork_park *in)
{
	if (!in->n_pids || in->n_pids > RRC_FORK_PIDS_MAX)
		return -EINVAL;
	sel->pids = vmemdup_user(u64_to_user_ptr(in->pids), in->n_pids * sizeof(*sel->pids));
	if (IS_ERR(sel->pids)) {
		int r = PTR_ERR(sel->pids);

		sel->pids = NULL;
		return r;
	}
	sel->n_pids = in->n_pids;
	return 0;
}

static int select_pidns(struct rrc_select *sel, const struct rrc_fork_park *in)
{
	struct file *f = fget(in->fd);
	struct ns_common *ns;
	int r = -EINVAL;

	if (!f)
		return -EBADF;
	if (file_inode(f)->i_sb->s_magic == NSFS_MAGIC) {
		ns = get_proc_ns(file_inode(f));
		/* The host's own would be everybody. */
		if (ns->ops == rrc_kernel.pidns_operations && ns != &init_pid_ns.ns) {
			sel->ns = get_pid_ns(container_of(ns, struct pid_namespace, ns));
			r = 0;
		}
	}
	fput(f);
	return r;
}

static int select_cgroup(struct rrc_select *sel, const struct rrc_fork_park *in)
{
	struct cgroup *c = cgroup_get_from_fd(in->fd);

	if (IS_ERR(c))
		return PTR_ERR(c);
	if (!cgroup_parent(c) || c->root != &cgrp_dfl_root) {
		cgroup_put(c);
		return -EINVAL;
	}
	sel->cgroup = c;
	return 0;
}

typedef int (*select_fn)(struct rrc_select *sel, const struct rrc_fork_park *in);
static const select_fn selects[] = {
	[RRC_FORK_BY_PIDS] = select_pids,
	[RRC_FORK_BY_PIDNS] = select_pidns,
	[RRC_FORK_BY_CGROUP] = select_cgroup,
};

static int select_from(struct rrc_select *sel, const struct rrc_fork_park *in)
{
	if (in->by >= ARRAY_SIZE(selects) || !selects[in->by])
		return -EINVAL;
	sel->by = in->by;
	return selects[in->by](sel, in);
}

static void select_free(struct rrc_select *sel)
{
	kvfree(sel->pids);
	if (sel->ns)
		put_pid_ns(sel->ns);
	if (sel->cgroup)
		cgroup_put(sel->cgroup);
}

static int check_park(struct rrc_fork_park *in)
{
	if (in->version != RRC_FORK_VERSION || in->zero)
		return -EINVAL;
	in->try_us = in->try_us ?: 5000;
	in->tries = in->tries ?: 50;
	in->hold_ms = in->hold_ms ?: 1000;
	if (in->try_us > RRC_FORK_TRY_US_MAX || in->tries > RRC_FORK_TRIES_MAX ||
	    in->hold_ms > RRC_FORK_HOLD_MS_MAX)
		return -EINVAL;
	return 0;
}

/* Tries until all stand. Between tries the originals get as long as a try took. */
static int park(struct device_file *d, const struct rrc_select *sel, struct rrc_fork_park *io)
{
	struct task_struct *blocker;
	struct rrc_session *s;
	int r;

	do {
		s = rrc_session_new(sel);
		if (!s)
			return -ENOMEM;
		blocker = NULL;
		r = rrc_park(s, io->try_us * NSEC_PER_USEC, msecs_to_jiffies(io->hold_ms),
			     &blocker);
		s->select = NULL;
		io->tried++;
		io->processes = s->n_procs;
		io->threads = s->n_threads;
		io->blocker = blocker ? task_pid_vnr(blocker) : 0;
		io->park_ns = s->t_parked - s->t_ask;
		if (!r) {
			d->s = s;
			return 0;
		}
		io->lost_ns += io->park_ns;
		rrc_session_put(s);
		if (r == -EAGAIN)
			usleep_range(io->try_us / 2 + 100, io->try_us + 200);
	} while (r == -EAGAIN && io->tried < io->tries && !signal_pending(current));
	return r == -EAGAIN && signal_pending(current) ? -EINTR : r;
}

static long ioctl_park(struct device_file *d, void *arg)
{
	struct rrc_fork_park *io = arg;
	struct rrc_select sel = {};
	int r;

	if (d->s)
		return -EBUSY;
	r = check_park(io) ?: select_from(&sel, io);
	io->processes = io->threads = io->tried = io->blocker = 0;
	io->park_ns = io->lost_ns = 0;
	if (!r)
		r = park(d, &sel, io);
	d->forked = d->released = false;
	select_free(&sel);
	return r;
}

static void end(struct device_file *d)
{
	rrc_session_put(d->s);
	d->s = NULL;
}

static long ioctl_fork(struct device_file *d, void *arg)
{
	struct rrc_fork_fork *io = arg;
	int r;

	if (!d->s || d->forked || d->released)
		return -EINVAL;
	if (io->version != RRC_FORK_VERSION || (io->flags & ~FORK_FLAGS))
		return -EINVAL;
	*io = (struct rrc_fork_fork){ .version = io->version, .flags = io->flags };
	r = rrc_fork(d->s, io);
	d->forked = true;
	if (r) {
		rrc_session_release(d->s);
		rrc_tree_kill(d->s);
	}
	return r;
}

static long ioctl_release(struct device_file *d, void *arg)
{
	struct rrc_fork_release *io = arg;

	if (!d->s || d->released)
		return -EINVAL;
	rrc_phase(RRC_PHASE_RELEASING);
	io->pause_ns = ktime_get_ns() - d->s->t_ask;
	rrc_session_release(d->s);
	d->released = true;
	rrc_phase(RRC_PHASE_RELEASED);
	return READ_ONCE(d->s->expired) ? -ETIMEDOUT : READ_ONCE(d->s->broken) ? -ESRCH : 0;
}

static long ioctl_wait(struct device_file *d, void *arg)
{
	struct rrc_fork_wait *io = arg;
	struct rrc_session *s = d->s;

	if (!s || !d->forked)
		return -EINVAL;
	if (wait_for_completion_killable(&s->built) || rrc_tree_settle(s))
		return -EINTR;
	rrc_phase(RRC_PHASE_BUILT);
	*io = (struct rrc_fork_wait){
		.build_ns = s->t_built > s->t_copied ? s->t_built - s->t_copied : 0,
		.kept_shared = s->kept_shared,
	};
	return READ_ONCE(s->err);
}

static long ioctl_list(struct device_file *d, void *arg)
{
	struct rrc_fork_list *io = arg;
	struct rrc_fork_process __user *to = u64_to_user_ptr(io->processes);
	struct rrc_proc *p;

	if (!d->s || !d->forked)
		return -EINVAL;
	io->n = d->s->n_procs;
	if (io->n > io->room)
		return -ENOSPC;
	list_for_each_entry (p, &d->s->procs, node) {
		struct rrc_fork_process one = {
			.pid = task_tgid_vnr(p->leader),
			.shadow = p->shadow ? task_tgid_vnr(p->shadow) : 0,
			.threads = p->n,
		};
		struct rrc_thread *t;

		if (!p->n)
			continue;
		list_for_each_entry (t, &p->threads, node)
			if (t->leader)
				one.vpid = t->vtid;
		if (copy_to_user(to++, &one, sizeof(one)))
			return -EFAULT;
	}
	return 0;
}

static long ioctl_state(struct device_file *d, void *arg)
{
	struct rrc_fork_state *io = arg;
	char __user *to = u64_to_user_ptr(io->buf);
	struct rrc_proc *p;

	if (!d->s || !d->forked || !(d->s->flags & FORK_TELLS))
		return -EINVAL;
	io->size = 0;
	list_for_each_entry (p, &d->s->procs, node)
		io->size += p->state.used;
	if (io->size > io->room)
		return -ENOSPC;
	list_for_each_entry (p, &d->s->procs, node) {
		if (p->state.used && copy_to_user(to, p->state.data, p->state.used))
			return -EFAULT;
		to += p->state.used;
	}
	return 0;
}

static long ioctl_drop(struct device_file *d, void *arg)
{
	int r;

	if (!d->s)
		return -EINVAL;
	rrc_session_release(d->s);
	d->released = true;
	if (d->forked) {
		if (wait_for_completion_killable(&d->s->built))
			return -EINTR;
		rrc_tree_kill(d->s);
		rrc_phase(RRC_PHASE_DROPPING);
		r = rrc_tree_reap(d->s);
		if (r)
			return r;
	}
	end(d);
	return 0;
}

static const struct {
	unsigned int cmd;
	long (*call)(struct device_file *d, void *arg);
} calls[] = {
	{ RRC_FORK_PARK, ioctl_park },	     { RRC_FORK_FORK, ioctl_fork },
	{ RRC_FORK_RELEASE, ioctl_release }, { RRC_FORK_WAIT, ioctl_wait },
	{ RRC_FORK_LIST, ioctl_list },	     { RRC_FORK_STATE, ioctl_state },
	{ RRC_FORK_DROP, ioctl_drop },
};

static long device_ioctl(struct file *f, unsigned int cmd, unsigned long at)
{
	struct device_file *d = f->private_data;
	void __user *user = (void __user *)at;
	u64 arg[16] = {};
	long r;
	int i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].cmd == cmd)
			break;
	if (i == ARRAY_SIZE(calls))
		return -ENOTTY;
	BUILD_BUG_ON(sizeof(struct rrc_fork_park) > sizeof(arg));
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(arg, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	if (mutex_lock_killable(&d->lock))
		return -EINTR;
	r = calls[i].call(d, arg);
	mutex_unlock(&d->lock);
	/* Also with an error: that tells what went on. */
	if ((_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(user, arg, _IOC_SIZE(cmd)))
		r = -EFAULT;
	return r;
}

static int device_open(struct inode *inode, struct file *f)
{
	struct device_file *d;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return -ENOMEM;
	mutex_init(&d->lock);
	d->owner = current->files;
	f->private_data = d;
	return 0;
}

/* At each close: the agent's end is not hidden by a child that has the descriptor too. */
static int device_flush(struct file *f, fl_owner_t id)
{
	struct device_file *d = f->private_data;

	if (id != d->owner)
		return 0;
	mutex_lock(&d->lock);
	if (d->s) {
		rrc_session_release(d->s);
		rrc_tree_kill(d->s);
		d->released = true;
	}
	mutex_unlock(&d->lock);
	return 0;
}

static int device_release(struct inode *inode, struct file *f)
{
	struct device_file *d = f->private_data;

	if (d->s) {
		rrc_session_release(d->s);
		rrc_tree_kill(d->s);
		if (d->forked && !(current->flags & PF_EXITING) &&
		    current->group_leader == d->s->agent)
			rrc_tree_reap(d->s);
		end(d);
	}
	kfree(d);
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.flush = device_flush,
	.release = device_release,
	.unlocked_ioctl = device_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "rrc_fork",
	.fops = &fops,
	.mode = 0600,
};

static int __init rrc_fork_init(void)
{
	return rrc_kernel_find() ?: misc_register(&device);
}

static void __exit rrc_fork_exit(void)
{
	misc_deregister(&device);
	/* A thread that let its session go may still be on its last instructions in here. */
	synchronize_rcu_tasks();
}

module_init(rrc_fork_init);
module_exit(rrc_fork_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Container fork: a copy on write of all processes of a container");
MODULE_VERSION("2");
