// SPDX-License-Identifier: MIT
/* The engine's life: takes the tree, runs the log, gives the tree back to itself or ends it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "later.h"
#include "locks.h"
#include "nspid.h"
#include "pipes.h"
#include "ptrace.h"
#include "clockmarks.h"
#include "clockq.h"
#include "inproc.h"
#include "stopframe.h"
#include "tracee.h"
#include "util.h"
#include "vdso.h"
#include "watchdog.h"

#define STALL_MS   10000
#define STILL_NS   1000000000ull /* as above, of threads that only wait for each other */
#define OVERLAP_NS 2000000 /* a call in flight for so long may wait for one that overlapped it */
#define LOOK_NS	   500000 /* at the end of the log: whether all are parked */
#define ALONE_NS   4000000 /* a thread that runs alone at the start does so for at most so long */
#define LATER_NS   150000 /* nothing happened for so long: the next thread that was later runs */
#define QUIET_NS   50000000 /* nothing happened for so long: whether anything can */
#define WATCH_NS \
	100000 /* so long it looks all the time for who waits in our code, then now and then */
#define YIELD_NS 100000 /* a wait that is shorter needs no timer */
#define PARK_NS	 200000000ull /* after that, those that compute are stopped where they are */

/* ---- taking the tree ---- */

/* New programs get the same addresses again. CRIU does not bring the personality back. */
static int no_randomisation(pid_t pid, struct rrc_error *err)
{
	uint64_t args[6] = { 0xffffffff };
	long now, ret;

	if (rrc_inject(pid, RRC_NR_personality, args, &now, err))
		return err->code;
	if (now < 0 || now & ADDR_NO_RANDOMIZE)
		return 0;
	args[0] = (uint64_t)now | ADDR_NO_RANDOMIZE;
	return rrc_inject(pid, RRC_NR_personality, args, &ret, err) ? err->code : 0;
}

static int take_process(struct rrc_engine *e, pid_t pid, struct rrc_error *err)
{
	rrc_autofree pid_t *tids = NULL;
	struct tproc *p;
	int n, r = 0;

	n = rrc_seize_process(pid, rrc_trace_options(e), &tids, err);
	if (n == -ESRCH && pid != e->init) {
		memset(err, 0, sizeof(*err)); /* a zombie: its parent waits for it in the log */
		return 0;
	}
	if (n < 0)
		return n;
	p = rrc_tproc_add(e, pid, (uint32_t)rrc_ns_tid(pid), err);
	for (int i = 0; p && i < n; i++) {
		int ns_tid = rrc_ns_tid(tids[i]);
		struct tracee *t =
			ns_tid > 0 ? rrc_tracee_add(e, tids[i], (uint32_t)ns_tid, p, err) : NULL;

		if (!t)
			return err->code ? err->code
					 : rrc_fail(err, -ESRCH, "thread %d is gone", tids[i]);
		t->stopped = true;
		t->state = TR_PAUSED;
		r = rrc_tracee_pin(e, t);
		if (r)
			return rrc_fail(err, r, "thread %d: CPU %d: %s", tids[i], e->opts.cpu,
					strerror(-r));
	}
	if (!p)
		return err->code;
	r = rrc_locks_in(pid) ? 0 : rrc_vdso_patch(pid, err);
	return r < 0 ? r : no_randomisation(pid, err);
}

static int take_tree(struct rrc_engine *e, struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n, r = 0;

	if (rrc_ns_tid(e->init) != 1)
		return rrc_fail(err, -EINVAL, "process %d is not the first of a pid namespace",
				e->init);
	e->pidns = rrc_pidns_ino(e->init);
	n = rrc_pidns_processes(e->pidns, &pids);
	if (n <= 0)
		return rrc_fail(err, n ? n : -ESRCH, "no processes to replay");
	for (int i = 0; i < n && !r; i++)
		r = take_process(e, pids[i], err);
	return r;
}

static int take_held(struct rrc_engine *e, struct rrc_error *err)
{
	for (size_t i = 0; i < e->opts.nheld; i++) {
		const struct rrc_engine_held *h = &e->opts.held[i];
		struct tproc *p = rrc_tproc_ns(e, h->pid);
		int r = p ? rrc_conn_note(e, p, h->fd, h->cookie) : -ESRCH;

		if (r)
			return rrc_fail(err, r, "connection %llu, descriptor %d of process %u: %s",
					(unsigned long long)h->cookie, h->fd, h->pid, strerror(-r));
	}
	return 0;
}

static int pin_self(struct rrc_engine *e, struct rrc_error *err)
{
	cpu_set_t one;

	if (sched_getaffinity(0, sizeof(e->affinity), &e->affinity))
		return rrc_fail(err, -errno, "own CPUs: %s", strerror(errno));
	if (e->opts.cpu < 0)
		e->opts.cpu = sched_getcpu();
	CPU_ZERO(&one);
	CPU_SET(e->opts.cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		return rrc_fail(err, -errno, "CPU %d: %s", e->opts.cpu, strerror(errno));
	e->pinned = true;
	return 0;
}

struct rrc_engine *rrc_engine_new(pid_t init, const void *log, size_t len,
				  const struct rrc_engine_opts *opts, struct rrc_error *err)
{
	struct rrc_engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e) {
		rrc_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	e->opts = *opts;
	if (!e->opts.stall_ms)
		e->opts.stall_ms = STALL_MS;
	e->init = init;
	e->log = log;
	e->len = len;
	r = pin_self(e, err);
	r = r ? r : take_tree(e, err);
	r = r ? r : rrc_log_index(e, err);
	r = r ? r : rrc_locks_take(e, err);
	r = r ? r : take_held(e, err);
	if (!r) {
		e->nspid = rrc_nspid_new(init, err);
		e->watchdog = e->nspid ? rrc_watchdog_new(e->opts.stall_ms, err) : NULL;
	}
	if (r || !e->watchdog) {
		rrc_engine_kill(e);
		return NULL;
	}
	return e;
}

/* ---- running ---- */

/* The call that the thread stood in at the checkpoint, if it is to go on with it. */
static const struct rrc_rec *lost_call(const struct rrc_engine *e, const struct tracee *t)
{
	for (size_t i = 0; i < e->opts.nrestarts; i++)
		if (e->opts.restarts[i]->tid == t->ns_tid)
			return e->opts.restarts[i];
	return NULL;
}

/* A thread that stands behind its call with -EINTR by CRIU's doing goes on with that call if the log
 * does. */
static int start_thread(struct rrc_engine *e, struct tracee *t)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t), *lost = lost_call(e, t);
	bool rest = rec && rec->kind == RRC_REC_SYSCALL && rec->nr == RRC_NR_restart_syscall;

	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs))
		return errno == ESRCH ? 0 : -errno;
	if (!rest && !(lost && !rec && !rrc_locks_goes_on(e, t))) {
		rrc_signal_attach(e, t);
		if (rrc_nudge_resuming(e, t, RRC_NO_REC) || rrc_later(e, t, 0))
			return 0;
		return rrc_resume(e, t, 0);
	}
	t->state = TR_CALL;
	t->lost_call = true;
	t->restart = lost;
	if (lost)
		t->regs.orig_rax = lost->nr;
	return 0;
}

/* The next event, at most timeout later; *tid is 0 if somebody waits in our code. 1: there is none. */
static int next_event(const struct rrc_engine *e, pid_t *tid, int *status, uint64_t timeout_ns)
{
	uint64_t start = e->dispatched ? rrc_now_ns(CLOCK_MONOTONIC) : 0, now = start;
	struct timespec limit = { .tv_nsec = (long)timeout_ns };
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	if (timeout_ns < YIELD_NS) {
		/* The threads that we wait for are on our CPU. */
		sched_yield();
		limit.tv_nsec = 0;
	}
	for (;;) {
		*tid = waitpid(-1, status, __WALL | WNOHANG);
		if (*tid > 0)
			return 0;
		if (*tid < 0 && errno != EINTR)
			return -errno;
		if (e->dispatched && rrc_inproc_posted(e)) {
			*tid = 0;
			return 0;
		}
		if (e->dispatched && timeout_ns >= YIELD_NS) {
			now = rrc_now_ns(CLOCK_MONOTONIC);
			if (now - start < WATCH_NS) {
				sched_yield();
				continue;
			}
			limit.tv_nsec = WATCH_NS / 2;
		}
		/* SIGCHLD is blocked, so one that came before is still there to be taken */
		if (!*tid && sigtimedwait(&chld, NULL, &limit) < 0 && errno == EAGAIN &&
		    (!e->dispatched || now - start >= timeout_ns || timeout_ns < YIELD_NS))
			return 1;
	}
}

static int on_event(struct rrc_engine *e, pid_t tid, int status, struct rrc_error *err)
{
	return tid ? rrc_on_status(e, tid, status, err) : rrc_inproc_posts(e, err);
}

static int by_tid(const void *a, const void *b)
{
	const struct tracee *const *x = a, *const *y = b;

	return (*x)->ns_tid < (*y)->ns_tid ? -1 : (*x)->ns_tid > (*y)->ns_tid;
}

/* Lets t run until it stops, but not for long. */
static int run_alone(struct rrc_engine *e, const struct tracee *t, struct rrc_error *err)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + ALONE_NS;

	while (t->state == TR_RUN && rrc_now_ns(CLOCK_MONOTONIC) < end) {
		int status, r;
		pid_t tid;

		r = next_event(e, &tid, &status, ALONE_NS / 4);
		if (!r)
			r = on_event(e, tid, status, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * At a checkpoint waits are cut short, so that all threads run at once when it is over, and no call tells yet who
 * met whom. They go on one after the other, in the order of their ids, as they were let go; at other attempts
 * another one is the first.
 */
static int start_in_order(struct rrc_engine *e, struct rrc_error *err)
{
	rrc_autofree struct tracee **order = NULL;
	size_t n = 0, first;

	for (struct tracee *t = e->threads; t; t = t->next)
		n++;
	order = calloc(n + 1, sizeof(struct tracee *));
	if (!order)
		return rrc_fail(err, ENOMEM, "out of memory");
	n = 0;
	for (struct tracee *t = e->threads; t; t = t->next)
		order[n++] = t;
	qsort(order, n, sizeof(struct tracee *), by_tid);
	first = e->opts.nudges ? e->opts.nudges->first : 0;
	for (size_t i = 0; i < n; i++) {
		struct tracee *t = order[(first + i) % n];
		int r = start_thread(e, t);

		if (r)
			return rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r));
		r = run_alone(e, t, err);
		if (r)
			return r;
	}
	return 0;
}

static int start_all(struct rrc_engine *e, struct rrc_error *err)
{
	for (struct tracee *t = e->threads; t; t = t->next) {
		int r = rrc_leave_stop_handler(t->tid, rrc_next_rec(e, t));

		if (r < 0 && r != -ESRCH)
			return rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r));
	}
	for (struct tproc *p = e->procs; p; p = p->next) {
		siginfo_t si = { .si_signo = SIGCONT, .si_code = SI_QUEUE };

		/* out of the group stop, or its new threads would stop as well */
		si.si_value.sival_ptr = e;
		syscall(SYS_rt_sigqueueinfo, p->pid, SIGCONT, &si);
	}
	return start_in_order(e, err);
}

/* The thread whose turn it is makes a call for real and may wait for another's. */
static struct tracee *in_flight(const struct rrc_engine *e)
{
	const struct rrc_rec *rec;
	struct tracee *t;

	if (e->head >= e->end)
		return NULL;
	rec = rrc_log_rec(e, e->head);
	if (rec->kind != RRC_REC_SYSCALL || !(rrc_sysrow(rec->nr)->flags & RRC_ROW_BLOCKS))
		return NULL;
	t = rrc_tracee_ns((struct rrc_engine *)e, rec->tid);
	return t && t->state == TR_BUSY ? t : NULL;
}

/* Starts the calls that overlapped the one in flight. */
static int start_overlapping(struct rrc_engine *e, struct rrc_error *err)
{
	const struct rrc_rec *head = rrc_log_rec(e, e->head);

	for (struct tracee *t = e->threads; t; t = t->next) {
		const struct rrc_rec *rec = rrc_next_rec(e, t);
		int r;

		if (t->state != TR_CALL || !rec || rec->kind != RRC_REC_SYSCALL || !rec->entry_ns ||
		    rec->entry_ns >= head->exit_ns)
			continue;
		r = rrc_call_early(e, t, rec, err);
		if (r)
			return r < 0 ? r : 0;
	}
	return 0;
}

/* Those that compute on and on after the end of the log are stopped where they are. */
static void stop_runners(struct rrc_engine *e)
{
	e->ending = true;
	for (struct tracee *t = e->threads; t; t = t->next)
		if (t->state == TR_RUN)
			ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
}

static bool anybody_runs(const struct rrc_engine *e)
{
	for (const struct tracee *t = e->threads; t; t = t->next)
		if (t->state == TR_RUN || t->state == TR_BUSY || t->state == TR_NEW)
			return true;
	return false;
}

/* For long nothing has moved, far longer than it took, and there is nobody whom that would take so long. */
static bool still(const struct rrc_engine *e, uint64_t moved_ns)
{
	uint64_t head_ns = rrc_log_rec(e, e->head)->exit_ns, limit = STILL_NS;

	if (!e->recorded_ns)
		return false;
	if (head_ns > e->recorded_ns)
		limit += 2 * (head_ns - e->recorded_ns);
	for (const struct tracee *t = e->threads; t; t = t->next)
		if (t->state == TR_BUSY)
			return false;
	return rrc_now_ns(CLOCK_MONOTONIC) - moved_ns > limit && rrc_later_alone(e);
}

/* Until something is to be looked at without an event, ns. */
static uint64_t how_long(const struct rrc_engine *e, bool at_end, bool flying)
{
	uint64_t now;

	if (e->held)
		return rrc_nudge_look(e);
	if (at_end)
		return LOOK_NS;
	if (!e->due_ns && e->nlater)
		return LATER_NS;
	if (!e->due_ns)
		return flying ? OVERLAP_NS : QUIET_NS;
	now = rrc_now_ns(CLOCK_MONOTONIC);
	return e->due_ns > now ? rrc_min(e->due_ns - now, (uint64_t)QUIET_NS) : 1;
}

static int run_log(struct rrc_engine *e, struct rrc_error *err)
{
	unsigned int quiet = 0;
	uint64_t end_ns = 0, moved_ns = rrc_now_ns(CLOCK_MONOTONIC);
	size_t moved = e->head; /* some calls are passed without an event */
	int r = rrc_advance(e, err);

	while (!r && !rrc_all_parked(e)) {
		bool at_end = e->head >= e->end, flying = in_flight(e) != NULL;
		int status;
		pid_t tid;

		if (at_end && !end_ns) {
			end_ns = rrc_now_ns(CLOCK_MONOTONIC);
			rrc_clockmarks_end(e);
		}
		while (at_end && rrc_later_next(e))
			;
		if (at_end && !e->ending && rrc_now_ns(CLOCK_MONOTONIC) - end_ns > PARK_NS)
			stop_runners(e);
		r = next_event(e, &tid, &status, how_long(e, at_end, flying));
		if (e->held && r >= 0 && rrc_nudge_release(e, r && !e->due_ns && !anybody_runs(e)))
			quiet = 0;
		if (r == -ECHILD)
			return e->head < e->end ? rrc_stalled(e, "all have ended", err) : 0;
		if (r < 0)
			return rrc_fail(err, r, "waiting: %s", strerror(-r));
		if (r) {
			if (e->nlater && !e->due_ns && rrc_later_alone(e) && rrc_later_next(e)) {
				quiet = 0;
				r = 0;
				/* unless it helps nobody */
				if (at_end || !still(e, moved_ns))
					continue;
			}
			r = flying ? start_overlapping(e, err) : 0;
			if (e->head != moved)
				moved_ns = rrc_now_ns(CLOCK_MONOTONIC);
			moved = e->head;
			if (!r && (e->due_ns || e->rush))
				r = rrc_advance(e, err);
			/* Twice: one that was woken needs a moment to run. */
			quiet = !flying && !at_end && !e->held && rrc_deadlocked(e) ? quiet + 1 : 0;
			if (!r && quiet >= 2)
				return rrc_stalled(e, "nothing can move", err);
			if (!r && !at_end && still(e, moved_ns))
				return rrc_stalled(e, "nothing moved for long", err);
			continue;
		}
		quiet = 0;
		moved_ns = rrc_now_ns(CLOCK_MONOTONIC);
		rrc_watchdog_pat(e->watchdog);
		r = on_event(e, tid, status, err);
		if (r == -ETIMEDOUT)
			return rrc_stalled(e, "nothing moved for long", err);
		if (!r)
			r = rrc_advance(e, err);
	}
	return r;
}

int rrc_engine_run(struct rrc_engine *e, struct rrc_error *err)
{
	uint64_t start = rrc_now_ns(CLOCK_MONOTONIC);
	struct rrc_error own = { 0 };
	sigset_t chld;
	int r;

	err = err ? err : &own;
	err->code = 0;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &chld, &e->sigmask);
	r = start_all(e, err);
	r = r ? r : run_log(e, err);
	if (r && !err->code)
		rrc_fail(err, r, "the replay broke off: %s", strerror(r < 0 ? -r : r));
	pthread_sigmask(SIG_SETMASK, &e->sigmask, NULL);
	e->rep.ns = rrc_now_ns(CLOCK_MONOTONIC) - start;
	return r;
}

const struct rrc_engine_report *rrc_engine_report(const struct rrc_engine *e)
{
	return &e->rep;
}

/* ---- the end ---- */

static void free_all(struct rrc_engine *e)
{
	rrc_nspid_free(e->nspid);
	rrc_watchdog_free(e->watchdog);
	rrc_pipes_free(e);
	rrc_clockq_free(e);
	rrc_inproc_free(e);
	rrc_clockmarks_free(e);
	rrc_locks_free(e);
	rrc_conns_drop(e);
	for (size_t i = 0; i < e->nsynced; i++)
		close(e->synced[i]);
	free(e->synced);
	rrc_tracees_free(e);
	free(e->early);
	free(e->off);
	free(e->next);
	free(e->done);
	free(e->births);
	if (e->pinned)
		sched_setaffinity(0, sizeof(e->affinity), &e->affinity);
	free(e);
}

static bool any_alive(const struct rrc_engine *e)
{
	for (const struct tracee *t = e->threads; t; t = t->next)
		if (t->state != TR_DEAD)
			return true;
	return false;
}

void rrc_engine_kill(struct rrc_engine *e)
{
	int status;
	pid_t tid;

	if (!e)
		return;
	/* before the namespace's init: that waits for all others in it */
	rrc_nspid_free(e->nspid);
	e->nspid = NULL;
	if (!e->live)
		for (struct tproc *p = e->procs; p; p = p->next)
			if (p->threads && p->pidfd >= 0)
				syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
	while (!e->live && any_alive(e) && (tid = waitpid(-1, &status, __WALL)) != 0) {
		struct tracee *t = tid > 0 ? rrc_tracee_of(e, tid) : NULL;

		if (tid < 0 && errno != EINTR)
			break;
		if (tid > 0 && WIFSTOPPED(status))
			ptrace(PTRACE_CONT, tid, NULL, NULL);
		else if (t)
			rrc_tracee_dead(e, t);
	}
	free_all(e);
}

void rrc_engine_free(struct rrc_engine *e)
{
	if (e)
		free_all(e);
}
