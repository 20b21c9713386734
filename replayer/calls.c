// SPDX-License-Identifier: MIT
/*
 * A call and its record: they are compared, then the call is emulated (result and bytes from the
 * log) or made for real (and its result compared), by the one table. What single calls need beyond
 * that is in calls_*.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>

#include "clockq.h"
#include "inproc.h"
#include "locks.h"
#include "later.h"
#include "tracee.h"
#include "util.h"

#define RESTART_NOHAND (-514) /* ERESTARTNOHAND */
#define EPOLL_TIMEOUT  3 /* argument of the epoll_wait calls */

static const struct rrc_call_ops plain;

static const struct rrc_call_ops *const ops_special[RRC_S_SPECIALS] = {
	[RRC_S_READ] = &rrc_ops_read,	      [RRC_S_WRITE] = &rrc_ops_write,
	[RRC_S_SENDFILE] = &rrc_ops_sendfile, [RRC_S_GETDENTS] = &rrc_ops_getdents,
	[RRC_S_ACCEPT] = &rrc_ops_accept,     [RRC_S_CONNECT] = &rrc_ops_connect,
	[RRC_S_SOCKIO] = &rrc_ops_sockio,     [RRC_S_SOCKOPT] = &rrc_ops_sockopt,
	[RRC_S_SHUTDOWN] = &rrc_ops_shutdown, [RRC_S_OPEN] = &rrc_ops_open,
	[RRC_S_CLOSE] = &rrc_ops_close,	      [RRC_S_FCNTL] = &rrc_ops_fcntl,
	[RRC_S_MMAP] = &rrc_ops_mmap,	      [RRC_S_MREMAP] = &rrc_ops_mremap,
	[RRC_S_CLONE] = &rrc_ops_clone,	      [RRC_S_WAIT] = &rrc_ops_wait,
	[RRC_S_KILL] = &rrc_ops_kill,	      [RRC_S_SIGSUSPEND] = &rrc_ops_sigsuspend,
};

static const struct rrc_call_ops *ops_of(unsigned int nr)
{
	const struct rrc_call_ops *ops = ops_special[rrc_sysrow(nr)->special];

	if (ops)
		return ops;
	switch (nr) {
	case RRC_NR_fsync:
	case RRC_NR_fdatasync:
	case RRC_NR_sync_file_range:
	case RRC_NR_syncfs:
	case RRC_NR_sync:
		return &rrc_ops_sync;
	case RRC_NR_pipe:
	case RRC_NR_pipe2:
	case RRC_NR_socketpair:
		return &rrc_ops_pair;
	case RRC_NR_sched_setaffinity:
		return &rrc_ops_affinity;
	case RRC_NR_linkat:
		return &rrc_ops_linkat;
	default:
		return &plain;
	}
}

static bool is_restart(int64_t ret)
{
	return ret <= -512 && ret >= -516;
}

/* A wait for memory that timed out is in the log: the program saw that. */
bool rrc_call_timed_out(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t);

	return rec && rec->kind == RRC_REC_SYSCALL && rec->nr == t->regs.orig_rax &&
	       rrc_sysrow(rec->nr)->special == RRC_S_FUTEX && rec->args[0] == t->regs.rdi;
}

bool rrc_call_local(const struct rrc_engine *e, const struct tracee *t)
{
	if (rrc_sysrow((unsigned int)t->regs.orig_rax)->cls != RRC_LOCAL)
		return false;
	/* until its turn comes it waits for real: somebody may wake it before */
	return !(e->head == t->next_rec && rrc_call_timed_out(e, t));
}

/* The turn of a wait that timed out has come, and it still waits. */
static int cut_wait_short(struct rrc_engine *e, struct tracee *t)
{
	if (rrc_call_timed_out(e, t) && !t->cut_short) {
		t->cut_short = true;
		ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
	}
	return 0;
}

bool rrc_call_likely_real(const struct rrc_engine *e, uint32_t i)
{
	const struct rrc_rec *rec;

	if (i >= e->end)
		return false;
	rec = rrc_log_rec(e, i);
	if (rec->kind != RRC_REC_SYSCALL)
		return true;
	return rec->ret >= 0 && rrc_class_of(rec->nr, rec->args) == RRC_EXECUTE &&
	       !(rrc_sysrow(rec->nr)->special == RRC_S_WRITE && rec->fdkind != RRC_FD_REG);
}

/* Names the arguments that differ. */
static void differing(char *buf, size_t size, const uint64_t args[6], const struct rrc_rec *rec,
		      uint8_t mask)
{
	size_t n = 0;

	buf[0] = '\0';
	for (int i = 0; i < 6 && n < size; i++)
		if (mask & 1 << i && args[i] != rec->args[i])
			n += (size_t)snprintf(buf + n, size - n, " argument %d is %#" PRIx64 ",",
					      i + 1, args[i]);
	if (n)
		buf[rrc_min(n, size) - 1] = '\0';
}

/* A stop broke its wait off, and it was made again for the rest of its time, which is not the program's argument,
 * and by a call that takes it as a number (user/again.c). */
static bool made_again(const struct rrc_engine *e, const struct tracee *t,
		       const struct rrc_rec *rec)
{
	const struct rrc_rec *prev = t->prev_rec != RRC_NO_REC ? rrc_log_rec(e, t->prev_rec) : NULL;

	return prev && prev->kind == RRC_REC_SYSCALL && prev->ret == RESTART_NOHAND &&
	       rrc_sysrow(prev->nr)->special == RRC_S_EPOLL_WAIT &&
	       rrc_sysrow(rec->nr)->special == RRC_S_EPOLL_WAIT &&
	       rrc_sysrow((unsigned int)t->regs.orig_rax)->special == RRC_S_EPOLL_WAIT;
}

int rrc_call_match(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct rrc_error *err)
{
	unsigned int nr = (unsigned int)t->regs.orig_rax;
	bool again = made_again(e, t, rec);
	const char *name = rrc_sysname(nr);
	uint64_t args[6];
	char text[256];
	uint8_t mask;
	int r;

	/* The rest of a call that was interrupted: same call, or the kernel's restart of it. */
	if (rec->nr == RRC_NR_restart_syscall && (t->restart || t->lost_call))
		return 0;
	rrc_regs_args(&t->regs, args);
	if (nr != rec->nr && !again) {
		return rrc_diverge(e, t->next_rec, t, err,
				   "the program calls %s(%#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ")",
				   name ? name : "?", args[0], args[1], args[2]);
	}
	mask = rrc_cmpmask(nr, rec->args);
	if (again)
		mask &= (uint8_t) ~(1u << EPOLL_TIMEOUT);
	differing(text, sizeof(text), args, rec, mask);
	if (text[0])
		return rrc_diverge(e, t->next_rec, t, err, "the program calls %s, but%s", name,
				   text);
	r = rrc_bytes_check(e, t, rec);
	if (r < 0)
		return rrc_fail(err, r, "thread %u, %s: its memory: %s", t->ns_tid, name,
				strerror(-r));
	return r ? rrc_diverge(e, t->next_rec, t, err, "%s", e->rep.first) : 0;
}

static int poke(struct tracee *t, size_t off, uint64_t value)
{
	if (ptrace(PTRACE_POKEUSER, t->tid, off, value))
		return errno == ESRCH ? 0 : -errno;
	return 0;
}

#define REG(r) offsetof(struct user, regs.r)

/* The program's own argument registers again, where the real call had others. */
static int restore_args(struct tracee *t)
{
	int r = poke(t, REG(rdi), t->regs.rdi);

	r = r ? r : poke(t, REG(rsi), t->regs.rsi);
	r = r ? r : poke(t, REG(rdx), t->regs.rdx);
	r = r ? r : poke(t, REG(r10), t->regs.r10);
	r = r ? r : poke(t, REG(r8), t->regs.r8);
	return r ? r : poke(t, REG(r9), t->regs.r9);
}

static int set_result(struct tracee *t, const struct rrc_rec *rec)
{
	int r = 0;

	if (t->at == ST_POSTED)
		return 0; /* our code does it */
	if (t->at == ST_EXIT || (t->at == ST_NONE && t->state == TR_DONE)) {
		if (t->args_changed)
			r = restore_args(t);
		if (!r && t->result != rec->ret)
			r = poke(t, REG(rax), (uint64_t)rec->ret);
		return r;
	}
	if (t->at == ST_ENTRY)
		r = poke(t, REG(orig_rax), (uint64_t)-1);
	return r ? r : poke(t, REG(rax), (uint64_t)rec->ret);
}

int rrc_call_interrupted(struct rrc_engine *e, struct tracee *t, int64_t result)
{
	int r = 0;

	if (!rrc_signal_attach(e, t))
		return 0;
	if (t->at == ST_ENTRY)
		r = poke(t, REG(orig_rax), (uint64_t)-1);
	r = r ? r : poke(t, REG(rax), (uint64_t)result);
	return r ? r : rrc_resume(e, t, 0);
}

/* The call returns: bytes, result, what follows it at once. */
static int complete(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct rrc_error *err)
{
	int r = set_result(t, rec);

	rrc_trace_step(e, t, t->state == TR_DONE ? "done" : "emulated");
	e->rep.calls += t->at != ST_POSTED;
	if (rec->ret != -516)
		t->restart = NULL;
	else if (rec->nr != RRC_NR_restart_syscall)
		t->restart = rec;
	t->lost_call = false;
	r = r ? r : rrc_clockq_took(e, t);
	rrc_pass_rec(e, t);
	if (!r && rec->nr == RRC_NR_close && t->proc->fresh) {
		r = rrc_locks_started(e, t, err);
		if (r)
			return r;
	}
	if (!r) {
		rrc_signal_attach(e, t);
		if (!rrc_nudge_resuming(e, t, t->prev_rec) && !rrc_later(e, t, rec->exit_ns))
			r = rrc_resume(e, t, 0);
		t->recorded_ns = rec->exit_ns;
	}
	if (r)
		return rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r));
	return 1;
}

/* The recorded call was interrupted by something that no signal followed: the thread stays where it
 * is, its next record is the rest. */
static int stay(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		struct rrc_error *err)
{
	int r = rrc_bytes_write(e, t, rec, err); /* what is left of a time-out */

	if (r)
		return r;
	if (rec->ret == -516 && rec->nr != RRC_NR_restart_syscall)
		t->restart = rec;
	e->rep.calls++;
	rrc_pass_rec(e, t);
	return 1;
}

int rrc_call_cut(struct rrc_engine *e, struct tracee *t)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t);
	int r = 0;

	if (t->state != TR_CALL || !t->restart || t->restart->ret != -516)
		return 0;
	/* Still in that call: its rest comes later, or nothing of the thread ever does. */
	if (rec ? rec->kind == RRC_REC_SYSCALL && rec->nr == RRC_NR_restart_syscall
		: !rrc_locks_goes_on(e, t))
		return 0;
	t->restart = NULL;
	if (t->at == ST_ENTRY)
		r = poke(t, REG(orig_rax), (uint64_t)-1);
	r = r ? r : poke(t, REG(rax), (uint64_t)-EINTR);
	return r ? r : rrc_resume(e, t, 0);
}

static bool signal_is_next(const struct rrc_engine *e, const struct tracee *t)
{
	uint32_t i = e->next[t->next_rec];

	return i < e->end && rrc_log_rec(e, i)->kind == RRC_REC_SIGNAL;
}

static int emulate(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   const struct rrc_call_ops *ops, struct rrc_error *err)
{
	int r = 0;

	/* first: some need what the bytes will overwrite */
	if (ops->emulated)
		r = ops->emulated(e, t, rec, err);
	if (!r && t->state == TR_DEAD)
		return 1;
	if (!r)
		r = rrc_clockq_offer(e, t, err);
	if (!r)
		r = rrc_inproc_offer(e, t, err);
	if (!r)
		r = rrc_bytes_write(e, t, rec, err);
	if (r)
		return r;
	e->rep.emulated++;
	return complete(e, t, rec, err);
}

/* Is it to be made for real? */
static int how_plain(const struct rrc_engine *e, const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);

	if (rrc_class_of(rec->nr, rec->args) != RRC_EXECUTE)
		return RRC_HOW_EMULATE;
	/* A refused call changed nothing; only of files one wants to know whether it is refused again. */
	if (rec->ret < 0 && !(e->opts.fs_exact && row->flags & RRC_ROW_FILES))
		return RRC_HOW_EMULATE;
	return RRC_HOW_EXECUTE;
}

/* Starts it if it is to be made for real. RRC_HOW_EMULATE: it is not. */
static int begin_real(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		      struct rrc_error *err)
{
	const struct rrc_call_ops *ops = ops_of(rec->nr);
	struct user_regs_struct real = t->regs;
	int r = rrc_call_match(e, t, rec, err);

	if (!r)
		r = ops->how ? ops->how(e, t, rec, &real, err) : how_plain(e, rec);
	if (r != RRC_HOW_EXECUTE)
		return r;
	rrc_trace_step(e, t, "really");
	t->state = TR_BUSY;
	r = rrc_run_real(t, &real);
	return r ? rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r)) : RRC_HOW_EXECUTE;
}

static int begin(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		 struct rrc_error *err)
{
	bool rest = rec->nr == RRC_NR_restart_syscall;
	int r;

	if (t->at == ST_POSTED) { /* it was compared */
		rrc_inproc_count(e, t, rec);
		return complete(e, t, rec, err);
	}

	if (rest || (is_restart(rec->ret) && !signal_is_next(e, t))) {
		r = rrc_call_match(e, t, rec, err);
		if (r)
			return r;
		/* the rest of a call was never begun here: only its outcome is wanted */
		return rest && !is_restart(rec->ret) ? emulate(e, t, rec, &plain, err)
						     : stay(e, t, rec, err);
	}
	r = begin_real(e, t, rec, err);
	if (r < 0)
		return r;
	return r == RRC_HOW_EMULATE ? emulate(e, t, rec, ops_of(rec->nr), err) : 0;
}

int rrc_call_early(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct rrc_error *err)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	int r;

	if (!(row->flags & RRC_ROW_BLOCKS) || row->special == RRC_S_SIGSUSPEND || rec->ret < 0 ||
	    t->lost_call || t->at == ST_POSTED)
		return 0;
	r = begin_real(e, t, rec, err);
	return r < 0 ? r : t->state == TR_BUSY;
}

/* Result and bytes of a real call that has no function of its own. */
static int compare_real(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			struct rrc_error *err)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);

	if (t->result != rec->ret && !(row->flags & RRC_ROW_RETLOG)) {
		if (row->flags & RRC_ROW_FDRET && t->result >= 0 && rec->ret >= 0)
			return rrc_move_fd(e, t, (int)t->result, (int)rec->ret, err);
		if (row->flags & RRC_ROW_FILES)
			return rrc_fs_fixup(e, t, rec, err);
		return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld",
				   t->result);
	}
	if (row->flags & RRC_ROW_OUTLOG || row->flags & RRC_ROW_FILES || !rec->nseg)
		return 0;
	if (rrc_bytes_same(e, t, rec))
		return rrc_diverge(e, t->next_rec, t, err, "made for real, it gives other bytes");
	return 0;
}

static int finish(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		  struct rrc_error *err)
{
	const struct rrc_call_ops *ops = ops_of(rec->nr);
	int r;

	r = ops->executed ? ops->executed(e, t, rec, err) : compare_real(e, t, rec, err);
	if (!r)
		r = rrc_bytes_write(e, t, rec, err);
	if (r)
		return r;
	e->rep.executed++;
	rrc_inproc_made(e, t, rec);
	return complete(e, t, rec, err);
}

int rrc_call_step(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		  struct rrc_error *err)
{
	if (t->state == TR_CALL)
		return begin(e, t, rec, err);
	if (t->state == TR_LOCAL)
		return cut_wait_short(e, t);
	if (t->state != TR_DONE)
		return 0;
	if (t->regs.orig_rax != rec->nr)
		return rrc_diverge(e, t->next_rec, t, err, "the program has made call %lld",
				   (long long)t->regs.orig_rax);
	return finish(e, t, rec, err);
}

int rrc_fs_fixup(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		 struct rrc_error *err)
{
	if (e->opts.fs_exact)
		return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld",
				   t->result);
	(void)rec;
	e->rep.fs_fixups++;
	return 0;
}
