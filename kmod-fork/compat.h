/* SPDX-License-Identifier: GPL-2.0 */
/* Functions of the kernel that it does not export, found by name when the module is loaded; and what
 * differs between 6.1 and 6.12. */
#ifndef RRC_COMPAT_H
#define RRC_COMPAT_H

#include <linux/mm.h>
#include <linux/nsproxy.h>
#include <linux/posix-timers.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/version.h>
#include <asm/fpu/api.h>

struct sock;

/* Their declarations are the kernel's; a row of the table in compat.c for each. */
struct rrc_kernel {
	pid_t (*kernel_clone)(struct kernel_clone_args *);
	long (*do_arch_prctl_64)(struct task_struct *, int, unsigned long);
	void (*fpu_sync_fpstate)(struct fpu *);
	rwlock_t *tasklist_lock;
	void (*switch_task_namespaces)(struct task_struct *, struct nsproxy *);
	struct kmem_cache **nsproxy_cachep;
	void (*change_pid)(struct task_struct *, enum pid_type, struct pid *);
	struct pid_namespace *(*copy_pid_ns)(unsigned long, struct user_namespace *,
					     struct pid_namespace *);
	const void *pidns_operations;
	long (*kernel_wait4)(pid_t, int __user *, int, struct rusage *);
	int (*do_getitimer)(int, struct itimerspec64 *);
	int (*do_timer_gettime)(timer_t, struct itimerspec64 *);
	struct file *(*shmem_kernel_file_setup)(const char *, loff_t, unsigned long);
	const void *shmem_aops;
	int (*replace_fd)(unsigned int, struct file *, unsigned int);
	int (*sched_setscheduler_nocheck)(struct task_struct *, int, const struct sched_param *);
	u64 (*sock_gen_cookie)(struct sock *);
	const void *hrtimer_nanosleep_restart;
	const void *posix_cpu_nsleep_restart;
	const void *futex_wait_restart;
	const void *do_restart_poll;
};
extern struct rrc_kernel rrc_kernel; /* written once, before the device exists */
int rrc_kernel_find(void);

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void rrc_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void rrc_vm_flags_clear(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags &= ~flags;
}

static inline u32 rrc_rseq_len(const struct task_struct *t)
{
	return t->rseq ? sizeof(struct rseq) : 0;
}

static inline void rrc_set_rseq_len(struct task_struct *t, u32 len)
{
}
#else
#define rrc_vm_flags_set   vm_flags_set
#define rrc_vm_flags_clear vm_flags_clear

static inline u32 rrc_rseq_len(const struct task_struct *t)
{
	return t->rseq_len;
}

static inline void rrc_set_rseq_len(struct task_struct *t, u32 len)
{
	t->rseq_len = len;
}
#endif

static inline void rrc_nsproxy_first_ref(struct nsproxy *n)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	atomic_set(&n->count, 1);
#else
	refcount_set(&n->count, 1);
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define rrc_for_each_posix_timer(pos, signal) \
	list_for_each_entry (pos, &(signal)->posix_timers, list)
#else
#define rrc_for_each_posix_timer(pos, signal) \
	hlist_for_each_entry(pos, &(signal)->posix_timers, list)
#endif

#endif
