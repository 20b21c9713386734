// SPDX-License-Identifier: GPL-2.0
/*
 * The recorder of system calls: each return becomes a record in the ring, driven by the one table of
 * calls. Raw tracepoints only, so that it runs where kprobes and LSM programs are forbidden.
 */
#include "maps.bpf.h"
#include "thread.bpf.h"
#include "fd.bpf.h"
#include "plan.bpf.h"
#include "emit.bpf.h"
#include "exec.bpf.h"

#define RRC_LL_PRELOAD
#include "locklog.h"

char LICENSE[] SEC("license") = "GPL";

struct rrc_map_events rrc_events SEC(".maps");
struct rrc_map_stats rrc_stats SEC(".maps");
struct rrc_map_threads rrc_threads SEC(".maps");
struct rrc_map_conns rrc_conns SEC(".maps");
struct rrc_map_barriers rrc_barriers SEC(".maps");
struct rrc_map_unpatched rrc_unpatched SEC(".maps");
struct rrc_map_cmds rrc_cmds SEC(".maps");
struct rrc_map_scratch rrc_scratch SEC(".maps");
struct rrc_map_blank rrc_blank SEC(".maps");

const volatile __u32 cfg_pidns = 0, cfg_netns = 0;
const volatile __u8 cfg_user_dynptr = 0, cfg_rdonly_cast = 0;
const volatile __u8 cfg_flag_unpatched = 0;
const volatile __u32 cfg_wake_bytes = 1 << 20;
const volatile __u64 cfg_scramble = 1;
const volatile struct rrc_sysrow cfg_rows[RRC_NSYS] = {};
volatile __u32 run_on = 0, run_watched = 0, run_unpatched_gen = 0;

#define TS_COMPAT	  2
#define ETIMEDOUT	  110
#define NR_UNKNOWN	  0xffff /* rec.nr of a call that is no x86-64 call: row 511 is a barrier */
#define FUTEX_WAIT_BITSET 9
#define FUTEX_FLAGS	  0x180ul /* private, realtime */
#define RESTART_BLOCK	  516 /* ERESTART_RESTARTBLOCK */
#define RESTART_NOHAND	  514 /* ERESTARTNOHAND: made again, unless a handler runs */
#define EINTR		  4
#define TRAP_STOP	  (1ul << 19) /* JOBCTL_TRAP_STOP: its tracer asked it to stop */

static __always_inline void take_args(struct rrc_thread *t, struct pt_regs *regs)
{
	t->rec.args[0] = regs->di;
	t->rec.args[1] = regs->si;
	t->rec.args[2] = regs->dx;
	t->rec.args[3] = regs->r10;
	t->rec.args[4] = regs->r8;
	t->rec.args[5] = regs->r9;
}

/* A thread waits for room in its ring of the lock log (locklog.h): the reader is asked to come at once. */
static __always_inline void wake_reader(void)
{
	u64 *nothing = bpf_ringbuf_reserve(&rrc_events, sizeof(*nothing), 0);

	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(rrc_sys_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const volatile struct rrc_sysrow *row;
	struct rrc_thread *t = thread_of(task);
	u32 flags;
	u8 fd;

	if (!t)
		return 0;
	t->rec.entry_ns = 0;
	t->in_call = 0;
	if (!run_on)
		return 0;
	t->rec.nr = nr;
	t->rec.flags = 0;
	t->fd_known = 0;
	t->in_call = 1;
	if ((u64)nr >= RRC_NSYS || task->thread_info.status & TS_COMPAT)
		return 0;
	row = &cfg_rows[nr & (RRC_NSYS - 1)];
	flags = row->flags;
	if (row->special == RRC_S_FUTEX && regs->di - RRC_LL_BASE < sizeof(struct rrc_ll_area))
		wake_reader();
	/* Replay asks when executed calls began. Emulated ones that do not block are the most frequent
	 * (clocks), and reading a clock is a tenth of what such a record costs. */
	if (row->cls != RRC_EMULATE || flags & RRC_ROW_BLOCKS)
		t->rec.entry_ns = bpf_ktime_get_ns();
	if (!(flags & (RRC_ROW_NORETURN | RRC_ROW_ENTRY_VALRES | RRC_ROW_FDTABLE)) &&
	    row->special != RRC_S_EXEC)
		return 0;
	take_args(t, regs);
	fd = row->fd;
	if (flags & RRC_ROW_FDTABLE && !(flags & RRC_ROW_FDRET) && fd < 6) {
		/* It may be closed, or be another, at exit. */
		rrc_describe_fd(t, t->rec.args[fd]);
		t->fd_known = 1;
	}
	if (flags & RRC_ROW_ENTRY_VALRES) {
		for (int i = 0; i < RRC_ROW_SEGS; i++)
			if (i < row->nseg)
				rrc_entry_len(t, i);
	}
	if (flags & RRC_ROW_NORETURN) {
		t->rec.kind = RRC_REC_ENTER;
		t->rec.ret = 0;
		t->rec.fdkind = RRC_FD_NONE;
		t->rec.obj = 0;
		t->npiece = 0;
		t->total = 0;
		rrc_emit(t);
	}
	return 0;
}

/* The class of this call: by its number, or by command. */
static __always_inline u8 class_of(const volatile struct rrc_sysrow *row, struct rrc_thread *t)
{
	struct rrc_cmdrow *c;
	u64 key;

	if (!(row->flags & RRC_ROW_BYCMD))
		return row->cls;
	key = RRC_CMD_KEY(t->rec.nr, rrc_cmd_of(t->rec.nr, t->rec.args));
	c = bpf_map_lookup_elem(&rrc_cmds, &key);
	if (c)
		return c->cls;
	return row->special == RRC_S_SOCKOPT ? row->cls : RRC_BARRIER;
}

/* A call that the table cannot speak of: 32-bit, or a number beyond it. */
static __always_inline void foreign_call(struct rrc_thread *t, struct pt_regs *regs, bool compat)
{
	t->rec.nr = compat ? regs->orig_ax : NR_UNKNOWN;
	t->rec.flags = RRC_F_BARRIER | (compat ? RRC_F_COMPAT : 0);
	t->rec.fdkind = RRC_FD_NONE;
	t->rec.obj = 0;
	rrc_emit(t);
}

static __always_inline void own_call(struct rrc_thread *t, struct pt_regs *regs, long ret, u64 nr)
{
	const volatile struct rrc_sysrow *row = &cfg_rows[nr & (RRC_NSYS - 1)];
	bool new_image = row->special == RRC_S_EXEC && ret == 0;
	u32 rowflags = row->flags;
	u8 cls = row->cls, fd = row->fd, nseg = row->nseg;

	if (cls == RRC_LOCAL && !(row->special == RRC_S_FUTEX && ret == -ETIMEDOUT))
		return;
	t->rec.nr = nr;
	/* After exec the registers and the memory are the new program's. */
	if (!new_image)
		take_args(t, regs);
	cls = class_of(row, t);
	if (cls == RRC_LOCAL && row->cls != RRC_LOCAL)
		return;
	if (cls == RRC_BARRIER && !rrc_no_effect(nr, ret))
		t->rec.flags |= RRC_F_BARRIER;
	/* Rule 4: the rest of a poll() fills what this call's row knows nothing of. */
	if (row->special == RRC_S_RESTART && ret > 0)
		t->rec.flags |= RRC_F_BARRIER;
	if (cfg_flag_unpatched)
		flag_unpatched(t);
	if (rowflags & RRC_ROW_FDRET && ret >= 0) {
		rrc_describe_fd(t, ret);
	} else if (!t->fd_known) {
		if (fd < 6) {
			rrc_describe_fd(t, t->rec.args[fd]);
		} else {
			t->rec.fdkind = RRC_FD_NONE;
			t->rec.obj = 0;
		}
	}
	if (row->special == RRC_S_SENDFILE && ret > 0)
		rrc_describe_sent(t);
	if (new_image) {
		emit_exec(t);
		t->rec.kind = RRC_REC_SYSCALL;
	} else if (nseg && !plan_simple(t, row, nseg)) {
		for (int i = 0; i < RRC_ROW_SEGS; i++)
			if (i < nseg)
				rrc_plan_row(t, i);
	}
	rrc_emit(t);
}

/* The rest of a call that was broken off before we were there: libc's waits say "any of 32 bits". */
static __always_inline bool waits_in_futex(struct pt_regs *regs)
{
	return (regs->si & ~FUTEX_FLAGS) == FUTEX_WAIT_BITSET && (u32)regs->r9 == 0xffffffff;
}

/* Nobody but the exec watcher broke this wait off, and it will have it made again: so the log says. */
static __always_inline bool broken_off(struct task_struct *task, struct rrc_thread *t,
				       struct pt_regs *regs, long ret)
{
	u64 args[6] = { 0, 0, regs->dx, regs->r10 };

	return ret == -EINTR && run_watched && task->jobctl & TRAP_STOP && t->in_call &&
	       t->rec.entry_ns && !(task->thread_info.status & TS_COMPAT) &&
	       rrc_made_again(regs->orig_ax, args);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(rrc_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rrc_thread *t = thread_of(task);
	bool compat;
	u64 nr;

	if (!t)
		return 0;
	if (!run_on) {
		t->again_ns = 0;
		goto out;
	}
	if (!t->in_call) { /* entered before we were there */
		t->rec.flags = 0;
		t->fd_known = 0;
	}
	if (!broken_off(task, t, regs, ret)) {
		t->again_ns = 0;
	} else {
		ret = -RESTART_NOHAND;
		t->again_ns = t->again_ns ?: t->rec.entry_ns;
	}
	t->rec.kind = RRC_REC_SYSCALL;
	t->rec.ret = ret;
	t->npiece = 0;
	t->total = 0;
	compat = task->thread_info.status & TS_COMPAT;
	nr = regs->orig_ax;
	if (nr == RRC_NR_restart_syscall && (t->futex_rests || waits_in_futex(regs)))
		nr = RRC_NR_futex; /* with that call's arguments, and recorded no more than it */
	t->futex_rests = nr == RRC_NR_futex && ret == -RESTART_BLOCK;
	if (nr < RRC_NSYS && !compat)
		own_call(t, regs, ret, nr);
	else if (nr != (u64)-1 || !t->in_call || t->rec.nr != RRC_NR_rt_sigreturn)
		foreign_call(t, regs, compat);
out:
	t->rec.entry_ns = 0;
	t->in_call = 0;
	return 0;
}
