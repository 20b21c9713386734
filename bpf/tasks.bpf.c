// SPDX-License-Identifier: GPL-2.0
/* Births and deaths of tasks, new programs, delivered signals. */
#include "maps.bpf.h"
#include "thread.bpf.h"

#define CLONE_VM     0x100
#define CLONE_VFORK  0x4000
#define CLONE_THREAD 0x10000

#define SIGILL	 4
#define SIGTRAP	 5
#define SIGBUS	 7
#define SIGFPE	 8
#define SIGKILL	 9
#define SIGSEGV	 11
#define SIGCHLD	 17
#define SIGCONT	 18
#define SIGURG	 23
#define SIGWINCH 28

#define SIGNAL_GROUP_EXIT 4

/* A record without payload, filled but for what the caller knows; NULL: lost, and counted. */
static __always_inline struct rrc_rec *reserve_bare(u8 kind, u32 tid, u32 pid)
{
	u32 seq = next_seq();
	struct rrc_rec *r = bpf_ringbuf_reserve(&rrc_events, sizeof(*r), 0);

	if (!r) {
		count(lost);
		return NULL;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->size = sizeof(*r);
	r->kind = kind;
	r->tid = tid;
	r->pid = pid;
	r->seq = seq;
	r->exit_ns = bpf_ktime_get_ns();
	return r;
}

static __always_inline void submit(struct rrc_rec *r)
{
	u16 flags = r->flags;
	u32 seq = r->seq;

	if (flags & RRC_F_BARRIER)
		count(barriers);
	bpf_ringbuf_submit(r, wake_flags(flags, seq));
}

/* Flags of the clone that parent is in. */
static __always_inline u64 clone_flags(struct task_struct *parent, struct task_struct *child)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(parent);
	u64 flags = 0;

	switch (regs->orig_ax) {
	case RRC_NR_clone:
		return regs->di;
	case RRC_NR_fork:
		return SIGCHLD;
	case RRC_NR_vfork:
		return CLONE_VFORK | CLONE_VM | SIGCHLD;
	case RRC_NR_clone3:
		if (!bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->di))
			return flags;
	}
	if (child->tgid == parent->tgid)
		flags |= CLONE_THREAD;
	if (child->mm == parent->mm)
		flags |= CLONE_VM;
	return flags;
}

/* A copy that the fork module made (kmod-fork/): a program's own child is born in the namespace of its parent or below
 * it, a copy beside it. It runs nothing. */
static __always_inline bool is_shadow(struct task_struct *parent, struct task_struct *child)
{
	struct pid *of_parent = parent->thread_pid, *of_child = child->thread_pid;
	u32 level;
	struct upid up;

	if (!of_parent || !of_child)
		return false;
	level = of_parent->level;
	if (of_child->level < level)
		return true;
	if (bpf_probe_read_kernel(&up, sizeof(up), &of_child->numbers[0] + level))
		return false;
	return BPF_CORE_READ(up.ns, ns.inum) != cfg_pidns;
}

/* A child starts as unpatched as its parent: the pages of the vDSO are copied. */
static __always_inline void inherit_unpatched(struct rrc_thread *p, struct rrc_thread *c)
{
	u32 ppid = p->rec.pid, cpid = c->rec.pid;
	u64 now;

	if (!p->unpatched || !bpf_map_lookup_elem(&rrc_unpatched, &ppid))
		return;
	c->unpatched = 1;
	if (cpid == ppid)
		return;
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&rrc_unpatched, &cpid, &now, BPF_ANY);
}

/* Before the child can run, and before the parent's call returns. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(rrc_fork, struct task_struct *parent, struct task_struct *child)
{
	struct rrc_thread *p, *c;
	struct rrc_rec *r;
	u64 flags;

	if (!may_be_ours(child))
		return 0;
	/* The parent's entry first: the child's may need its mark. */
	p = thread_of(parent);
	c = thread_of(child);
	barrier_var(p); /* else the compiler ORs two pointers, which the verifier refuses */
	if (!p) {
		barrier_var(c);
		if (!c)
			return 0;
	}
	if (p && !c && is_shadow(parent, child))
		return 0;
	count(births);
	if (p && c) {
		c->rec.entry_ns = p->rec.entry_ns;
		c->in_call = 1;
		inherit_unpatched(p, c);
	}
	if (!run_on)
		return 0;
	r = reserve_bare(RRC_REC_BIRTH, p ? p->rec.tid : 0, p ? p->rec.pid : 0);
	if (!r)
		return 0;
	flags = clone_flags(parent, child);
	r->args[0] = flags;
	if (c) {
		r->ret = c->rec.tid;
		r->args[1] = c->rec.pid;
	}
	/* Somebody entered the namespace, or made one below it: not ours to replay. */
	if (!p || !c)
		r->flags = RRC_F_BARRIER;
	submit(r);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(rrc_exit, struct task_struct *task)
{
	struct rrc_thread *t = thread_of(task);
	struct signal_struct *signal = task->signal;
	u32 key = task->pid, pid;
	struct rrc_rec *r;

	if (!t)
		return 0;
	count(deaths);
	if (run_on) {
		r = reserve_bare(RRC_REC_DEATH, t->rec.tid, t->rec.pid);
		if (r) {
			r->ret = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
								   : task->exit_code;
			submit(r);
		}
	}
	if (t->rec.tid == t->rec.pid && t->unpatched) {
		pid = t->rec.pid;
		bpf_map_delete_elem(&rrc_unpatched, &pid);
	}
	bpf_map_delete_elem(&rrc_threads, &key);
	return 0;
}

/* The vDSO is fresh, and a thread that was not the leader has become it. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(rrc_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	u32 key = task->pid, old = old_pid, pid;
	struct rrc_thread *t, *was;
	u64 now = bpf_ktime_get_ns();

	if (!may_be_ours(task))
		return 0;
	t = thread_of(task);
	if (!t)
		return 0;
	if (old != key) {
		was = bpf_map_lookup_elem(&rrc_threads, &old);
		if (was) {
			t->rec.entry_ns = was->rec.entry_ns;
			t->rec.nr = was->rec.nr;
			t->in_call = was->in_call;
			for (int i = 0; i < 6; i++)
				t->rec.args[i] = was->rec.args[i];
			bpf_map_delete_elem(&rrc_threads, &old);
		}
	}
	if (cfg_flag_unpatched) {
		pid = t->rec.pid;
		t->unpatched = 1;
		bpf_map_update_elem(&rrc_unpatched, &pid, &now, BPF_ANY);
	}
	return 0;
}

static __always_inline bool is_fault(int sig, int code)
{
	switch (sig) {
	case SIGILL:
	case SIGTRAP:
	case SIGBUS:
	case SIGFPE:
	case SIGSEGV:
		return code > 0;
	}
	return false;
}

/* Whether the program can notice: a handler, or a default that stops or ends it. */
static __always_inline bool is_noticed(int sig, u64 handler)
{
	if (handler == 1) /* SIG_IGN */
		return false;
	if (handler == 0 && (sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH))
		return false;
	/* After SIGKILL there is nobody who could see where it struck. */
	return sig != SIGKILL;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(rrc_signal, int sig, struct kernel_siginfo *info, struct k_sigaction *ka)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rrc_thread *t = thread_of(task);
	struct pt_regs *regs;
	struct {
		struct rrc_rec rec;
		struct rrc_seg seg;
		struct rrc_rec_signal signal;
	} * r;
	u64 handler = 0;
	int code = 0;
	u32 seq;

	if (!t || !run_on)
		return 0;
	count(signals);
	seq = next_seq();
	r = bpf_ringbuf_reserve(&rrc_events, sizeof(*r), 0);
	if (!r) {
		count(lost);
		return 0;
	}
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__builtin_memset(r, 0, sizeof(*r));
	r->rec.size = sizeof(*r);
	r->rec.kind = RRC_REC_SIGNAL;
	r->rec.tid = t->rec.tid;
	r->rec.pid = t->rec.pid;
	r->rec.seq = seq;
	r->rec.ret = sig;
	r->rec.nseg = 1;
	r->rec.exit_ns = bpf_ktime_get_ns();
	r->seg.len = sizeof(r->signal);
	r->signal.ip = regs->ip;
	r->signal.sp = regs->sp;
	r->signal.ax = regs->ax;
	r->signal.orig_ax = regs->orig_ax;
	/* There is none (NULL) when a group exit or exec kills the thread: then it stays zero. */
	bpf_probe_read_kernel(r->signal.info, sizeof(r->signal.info), info);
	bpf_probe_read_kernel(&handler, sizeof(handler), &ka->sa.sa_handler);
	__builtin_memcpy(&code, r->signal.info + 8, sizeof(code)); /* si_code */
	if (r->signal.orig_ax < 0 && !is_fault(sig, code) && is_noticed(sig, handler))
		r->rec.flags = RRC_F_BARRIER;
	submit(&r->rec);
	return 0;
}
