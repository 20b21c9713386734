/* SPDX-License-Identifier: GPL-2.0 */
/* One fork of a container, from the first thread asked to park until its shadow is gone: what the parts
 * of this module share. */
#ifndef RRC_SESSION_H
#define RRC_SESSION_H

#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/task_work.h>
#include <linux/wait.h>

#include "rrc_fork.h"

struct cgroup;
struct rrc_session;
struct rrc_proc;

/* Records that grow while they are collected. */
struct rrc_buf {
	void *data;
	size_t used, room;
	bool failed;
};

struct rrc_thread {
	struct list_head node; /* of rrc_proc.threads */
	struct hlist_node hash; /* of rrc_session.known */
	struct callback_head park, put_regs;
	struct rrc_proc *proc;
	struct task_struct *task; /* the original; counted */
	pid_t vtid;
	bool leader;
	bool queued; /* its work was given to it */
	bool dead; /* ended, or is ending */
	bool parked;

	/* snapshot.c */
	struct pt_regs regs;
	unsigned long fsbase, gsbase;
	struct desc_struct tls[GDT_ENTRY_TLS_ENTRIES];
	u32 pkru;
	void *fpu;
	unsigned int fpu_size;
	sigset_t blocked, saved_mask;
	bool restore_mask;
	struct restart_block restart;
	unsigned long altstack, altstack_size;
	unsigned int altstack_flags;
	int __user *clear_tid;
	struct robust_list_head __user *robust;
	struct rseq __user *rseq;
	u32 rseq_len, rseq_sig;
	const struct cred *cred;
	int pdeath;
	int policy, nice;
	unsigned int rt_priority;
	u64 slack_ns;
	char comm[TASK_COMM_LEN];
};

struct rrc_vma { /* a mapping that a plain fork would not copy as it is */
	struct list_head node;
	unsigned long start, end, flags;
};

struct rrc_shm { /* shared memory, and the shadow's copy */
	struct list_head node;
	struct inode *inode; /* counted */
	struct file *copy;
};

struct rrc_open { /* an open file of the originals, and the shadow's own opening */
	struct hlist_node hash;
	struct file *file; /* counted */
	struct file *own;
	loff_t pos;
};

struct rrc_proc {
	struct list_head node; /* of rrc_session.procs */
	struct hlist_node hash;
	struct rrc_session *s;
	struct task_struct *leader; /* counted */
	struct task_struct *shadow; /* counted; the leader's, set by itself */
	struct list_head threads;
	unsigned int n; /* that are parked */
	bool agents; /* the shadow's parent is the agent */
	bool shares; /* shadow and original have memory in common that both can write */
	struct list_head vmas;
	struct rrc_buf state;
};

/* How the originals are found. */
struct rrc_select {
	u32 by;
	u32 n_pids;
	s32 *pids;
	struct pid_namespace *ns;
	struct cgroup *cgroup;
};

struct rrc_session {
	struct kref ref;
	const struct rrc_select *select; /* while parking */
	struct list_head procs;
	DECLARE_HASHTABLE(known, 10); /* threads by task */
	DECLARE_HASHTABLE(known_procs, 8); /* processes by leader */
	unsigned int n_procs, n_threads;
	struct pid_namespace *ns; /* the shadow's own; NULL: it lives in the container's */
	struct task_struct *agent;

	wait_queue_head_t wait; /* the agent: until to_park is 0 */
	atomic_t to_park, to_copy, to_bear, to_build;
	struct completion go; /* leaders: copy yourselves */
	struct completion init_made; /* the namespace has its first process */
	struct completion copied, born, built;
	struct completion linked; /* no original has a shadow for a child any more */
	struct completion release; /* originals: go on */
	unsigned long deadline; /* jiffies: nobody stands longer */
	int stage; /* enum rrc_stage: left PARKED once, before "go" */
	bool over; /* released, for whatever reason */
	bool expired; /* by the clock */
	bool broken; /* a parked thread was killed */
	int err; /* of the first that failed */
	u32 flags; /* rrc_fork_fork.flags */

	struct mutex share; /* for the rest: */
	struct list_head shms;
	DECLARE_HASHTABLE(opens, 8);
	unsigned int kept_shared;

	u64 t_ask, t_parked, t_copied, t_built;
};

enum rrc_stage {
	RRC_STAGE_PARKED,
	RRC_STAGE_FORKING, /* every leader makes its copy, or counts as one who could not */
	RRC_STAGE_RELEASED, /* no copy will be made */
};

/* session.c */
struct rrc_session *rrc_session_new(const struct rrc_select *select);
void rrc_session_get(struct rrc_session *s);
void rrc_session_put(struct rrc_session *s);
void rrc_session_fail(struct rrc_session *s, int err);
void rrc_session_release(struct rrc_session *s);
void rrc_session_forget_shared(struct rrc_session *s);
long rrc_session_count(void);

/* collect.c */
int rrc_collect(struct rrc_session *s, bool *ending);
int rrc_collect_check(struct rrc_session *s, struct task_struct **blocker);

/* park.c */
int rrc_park(struct rrc_session *s, u64 try_ns, unsigned long hold, struct task_struct **blocker);

/* snapshot.c */
int rrc_snapshot_room(struct rrc_thread *t);
void rrc_snapshot_take(struct rrc_thread *t);
void rrc_snapshot_put(struct rrc_thread *t);

/* fork.c: in the originals */
struct rrc_hidden {
	sigset_t blocked;
	unsigned long jobctl;
	unsigned int frozen;
};
int rrc_hide_pending(struct rrc_hidden *h);
void rrc_unhide_pending(const struct rrc_hidden *h);
pid_t rrc_clone(struct rrc_thread *t, u64 flags, int (*fn)(void *));
void rrc_fork_self(struct rrc_thread *t);
int rrc_fork(struct rrc_session *s, struct rrc_fork_fork *out);

/* shadow.c: in the shadow's threads */
int rrc_shadow_leader(void *thread);

/* tree.c */
void rrc_tree_link(struct rrc_session *s);
int rrc_tree_settle(struct rrc_session *s);
void rrc_tree_kill(struct rrc_session *s);
int rrc_tree_reap(struct rrc_session *s);

/* memory.c */
int rrc_memory_before(struct rrc_proc *p);
void rrc_memory_after(struct rrc_proc *p);
int rrc_memory_shadow(struct rrc_proc *p);
int rrc_memory_copy(struct rrc_session *s, struct file *f);
struct file *rrc_memory_copy_of(struct rrc_session *s, const struct inode *inode);
bool rrc_memory_copyable(const struct file *f);
void rrc_memory_tell(struct rrc_proc *p);

/* files.c */
int rrc_files_before(struct rrc_session *s);
void rrc_files_close(bool all);
int rrc_files_reopen(struct rrc_session *s);
bool rrc_files_closed(const struct file *f);
struct file *rrc_files_next(unsigned int *fd, bool *cloexec);

/* origin.c, descriptors.c */
void *rrc_buf_add(struct rrc_buf *b, size_t size);
void *rrc_buf_rec(struct rrc_proc *p, u32 kind, size_t size, pid_t tid);
void rrc_origin_tell(struct rrc_proc *p);
void rrc_descriptors_tell(struct rrc_proc *p);

/* main.c: numbered places where a test stops the agent */
enum rrc_phase {
	RRC_PHASE_COLLECTED = 1, /* nobody parked yet */
	RRC_PHASE_ASKED, /* some parked, some not */
	RRC_PHASE_PARKED,
	RRC_PHASE_COPYING, /* the originals make their copies */
	RRC_PHASE_COPIED,
	RRC_PHASE_LINKED, /* the shadow's tree stands */
	RRC_PHASE_RELEASING,
	RRC_PHASE_RELEASED,
	RRC_PHASE_BUILT,
	RRC_PHASE_DROPPING, /* the shadow is killed, not reaped */
};
void rrc_phase(enum rrc_phase phase);

#endif
