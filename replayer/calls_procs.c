// SPDX-License-Identifier: MIT
/* Births with the recorded ids, new programs, waiting for children. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "nspid.h"
#include "ptrace.h"
#include "reclog.h"
#include "locks.h"
#include "tracee.h"
#include "util.h"
#include "vdso.h"

static bool makes_task(unsigned int nr)
{
	return rrc_sysrow(nr)->special == RRC_S_CLONE;
}

/* The call that makes a birth is compared with its own record, which comes later. */
static int match_clone(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	uint32_t i = e->next[t->next_rec];
	unsigned int nr = (unsigned int)t->regs.orig_rax;

	if (!makes_task(nr))
		return rrc_diverge(e, t->next_rec, t, err, "the program calls %s",
				   rrc_sysname(nr) ? rrc_sysname(nr) : "?");
	if (i < e->end && rrc_log_rec(e, i)->kind == RRC_REC_SYSCALL)
		return rrc_call_match(e, t, rrc_log_rec(e, i), err);
	return 0;
}

int rrc_birth_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct rrc_error *err)
{
	const struct tracee *old = rrc_tracee_ns(e, (uint32_t)rec->ret);
	int r;

	if (t->state != TR_CALL)
		return 0;
	r = match_clone(e, t, err);
	if (r)
		return r;
	/* the id must be free, and no other task may take it */
	if (e->cloning || (old && old->state != TR_DEAD))
		return 0;
	r = rrc_nspid_next(e->nspid, (pid_t)rec->ret, err);
	if (r)
		return r;
	e->cloning = t;
	t->birth = t->next_rec;
	t->state = TR_BUSY;
	rrc_trace_step(e, t, "birth");
	r = rrc_run_real(t, &t->regs);
	return r ? rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r)) : 0;
}

/* Stops of the newborn that came before its parent's. */
static int catch_up(struct rrc_engine *e, pid_t tid, struct rrc_error *err)
{
	for (size_t i = 0; i < e->nearly; i++) {
		int status = e->early[i].status;

		if (e->early[i].tid != tid)
			continue;
		e->early[i] = e->early[--e->nearly];
		return rrc_on_status(e, tid, status, err);
	}
	return 0;
}

int rrc_on_birth(struct rrc_engine *e, struct tracee *parent, pid_t tid, struct rrc_error *err)
{
	const struct rrc_rec *rec;
	struct tracee *child;
	struct tproc *proc = parent->proc;
	int ns_tid = rrc_ns_tid(tid);

	if (parent->birth == RRC_NO_REC)
		return rrc_diverge(e, parent->next_rec, parent, err, "the program makes a task");
	rec = rrc_log_rec(e, parent->birth);
	if (ns_tid != rec->ret)
		return rrc_fail(err, -EEXIST, "the new task should have id %lld, it got %d",
				(long long)rec->ret, ns_tid);
	if (rec->args[1] == (uint64_t)rec->ret) {
		proc = rrc_tproc_add(e, tid, (uint32_t)ns_tid, err);
		if (!proc)
			return err->code;
	}
	child = rrc_tracee_add(e, tid, (uint32_t)ns_tid, proc, err);
	if (!child)
		return err->code;
	child->affinity = parent->affinity;
	child->next_rec = rrc_birth_first(e, parent->birth);
	parent->birth = RRC_NO_REC;
	e->cloning = NULL;
	e->rep.births++;
	rrc_pass_rec(e, parent);
	return catch_up(e, tid, err);
}

static int clone_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		     struct user_regs_struct *real, struct rrc_error *err)
{
	(void)real;
	if (rec->ret < 0)
		return RRC_HOW_EMULATE;
	return rrc_diverge(e, t->next_rec, t, err, "the log has no birth before it");
}

const struct rrc_call_ops rrc_ops_clone = { .how = clone_how };

static bool is_exec(unsigned int nr)
{
	return nr == RRC_NR_execve || nr == RRC_NR_execveat;
}

int rrc_exec_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		  struct rrc_error *err)
{
	unsigned int nr = (unsigned int)t->regs.orig_rax;
	int r;

	(void)rec;
	if (t->state != TR_CALL)
		return 0;
	if (!is_exec(nr))
		return rrc_diverge(e, t->next_rec, t, err, "the program calls %s",
				   rrc_sysname(nr) ? rrc_sysname(nr) : "?");
	t->state = TR_BUSY;
	rrc_trace_step(e, t, "exec");
	r = rrc_run_real(t, &t->regs);
	return r ? rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r)) : 0;
}

bool rrc_exec_start(struct rrc_engine *e, struct tproc *p)
{
	for (struct tracee *t = e->threads; t; t = t->next) {
		const struct rrc_rec *rec = rrc_next_rec(e, t);

		if (t->proc != p || !rec || rec->kind != RRC_REC_EXEC)
			continue;
		if (t->state == TR_BUSY)
			return true;
		if (t->state == TR_CALL && is_exec((unsigned int)t->regs.orig_rax)) {
			t->state = TR_BUSY;
			return !rrc_run_real(t, &t->regs);
		}
	}
	return false;
}

/* What the kernel chose at random for the new program. */
static int same_chance(struct rrc_engine *e, struct tracee *t, const struct rrc_rec_exec *x,
		       struct rrc_error *err)
{
	uint64_t at;
	int r;

	if (!rrc_auxv(t->tid, AT_SYSINFO_EHDR, &at) && x->vdso && at != x->vdso)
		return rrc_diverge(e, t->next_rec, t, err,
				   "the new program's vDSO is at %#llx, it was at %#llx",
				   (unsigned long long)at, (unsigned long long)x->vdso);
	r = rrc_auxv(t->tid, AT_RANDOM, &at);
	if (!r)
		r = rrc_mem_write(t->tid, at, x->random, sizeof(x->random));
	return r ? rrc_fail(err, r, "thread %u: AT_RANDOM: %s", t->ns_tid, strerror(-r)) : 0;
}

int rrc_on_exec(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t);
	const uint8_t *data;
	int r;

	if (!rec || rec->kind != RRC_REC_EXEC || !rrc_rec_seg(rec, 0, &data))
		return rrc_diverge(e, t->next_rec, t, err, "the program executes a new one");
	r = rrc_vdso_patch(t->tid, err);
	if (r < 0)
		return r;
	r = same_chance(e, t, (const struct rrc_rec_exec *)data, err);
	if (r)
		return r;
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs))
		return rrc_fail(err, -errno, "thread %u: %s", t->ns_tid, strerror(errno));
	for (struct tracee *o = e->threads; o; o = o->next)
		if (o->proc == t->proc && o != t)
			o->killed = true;
	rrc_locks_exec(e, t->proc);
	t->args_changed = false;
	t->clocks_tried = false;
	t->proc->inproc_tries = 0;
	rrc_pass_rec(e, t);
	return 0;
}

static bool ended(int status)
{
	return WIFEXITED(status) || WIFSIGNALED(status);
}

static int wait4_how(const struct rrc_rec *rec, struct user_regs_struct *real)
{
	const uint8_t *data;
	int status;

	if (rrc_rec_seg(rec, 0, &data)) {
		memcpy(&status, data, sizeof(status));
		if (!ended(status))
			return RRC_HOW_EMULATE;
	}
	real->rdi = (uint64_t)rec->ret;
	real->rsi = 0;
	real->rdx = rec->args[2] & ~(uint64_t)(WNOHANG | WUNTRACED | WCONTINUED);
	real->r10 = 0;
	return RRC_HOW_EXECUTE;
}

static int waitid_how(const struct rrc_rec *rec, struct user_regs_struct *real)
{
	siginfo_t si = { 0 };
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &data);

	if (!seg || rec->args[3] & WNOWAIT)
		return RRC_HOW_EMULATE;
	memcpy(&si, data, rrc_min((size_t)seg->len, sizeof(si)));
	if (!si.si_pid ||
	    (si.si_code != CLD_EXITED && si.si_code != CLD_KILLED && si.si_code != CLD_DUMPED))
		return RRC_HOW_EMULATE;
	real->rdi = P_PID;
	real->rsi = (uint64_t)si.si_pid;
	real->rdx = 0;
	real->r10 = (rec->args[3] & ~(uint64_t)(WNOHANG | WSTOPPED | WCONTINUED)) | WEXITED;
	real->r8 = 0;
	return RRC_HOW_EXECUTE;
}

/* A child that ended is waited for by its recorded id; status and times come from the log. */
static int wait_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)err;
	if (rec->nr == RRC_NR_waitid)
		return rec->ret == 0 ? waitid_how(rec, real) : RRC_HOW_EMULATE;
	return rec->ret > 0 ? wait4_how(rec, real) : RRC_HOW_EMULATE;
}

const struct rrc_call_ops rrc_ops_wait = { .how = wait_how };

/* Whatever CPUs the program chooses, it gets them at go-live: until then it shares ours. */
static int affinity_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			     struct rrc_error *err)
{
	struct tracee *to = rec->args[0] ? rrc_tracee_ns(e, (uint32_t)rec->args[0]) : t;
	cpu_set_t set;

	(void)err;
	if (rec->ret < 0 || !to)
		return 0;
	CPU_ZERO(&set);
	if (!rrc_mem_read(t->tid, rec->args[2], &set, rrc_min(rec->args[1], sizeof(set))))
		to->affinity = set;
	return 0;
}

static int affinity_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)rec;
	(void)real;
	(void)err;
	return RRC_HOW_EMULATE;
}

const struct rrc_call_ops rrc_ops_affinity = { .how = affinity_how, .emulated = affinity_emulated };
