/* SPDX-License-Identifier: MIT */
/* Watches for execve in the container and patches the new program's vDSO; see execwatch.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "execwatch_int.h"
#include "locklog.h"
#include "newprogram.h"
#include "ptrace.h"
#include "util.h"
#include "vdso.h"

#define RRC_WATCH_OPTIONS                                                                      \
	(PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
	 PTRACE_O_TRACESYSGOOD)
#define RRC_PATCH_TRIES 100 /* a thread is in the vDSO for nanoseconds */

static struct rrc_tracee *find(struct rrc_execwatch *w, pid_t tid)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->tracees[i].tid == tid)
			return &w->tracees[i];
	return NULL;
}

static struct rrc_tracee *add(struct rrc_execwatch *w, pid_t tid)
{
	struct rrc_tracee *t = find(w, tid);

	if (t)
		return t;
	if (w->count == w->size) {
		size_t size = w->size ? w->size * 2 : 64;
		struct rrc_tracee *bigger = realloc(w->tracees, size * sizeof(*bigger));

		if (!bigger)
			return NULL;
		w->tracees = bigger;
		w->size = size;
	}
	w->tracees[w->count] = (struct rrc_tracee){ .tid = tid };
	return &w->tracees[w->count++];
}

static void forget(struct rrc_execwatch *w, pid_t tid)
{
	struct rrc_tracee *t = find(w, tid);

	if (t)
		*t = w->tracees[--w->count];
}

/* Turns address randomisation of later programs on or off in one stopped thread. */
static int set_randomisation(pid_t tid, int off, struct rrc_error *err)
{
	uint64_t query[6] = { 0xffffffff }, set[6] = { 0 };
	long old, ret;
	int e = rrc_inject(tid, SYS_personality, query, &old, err);

	if (e || old < 0)
		return e;
	set[0] = off ? (uint64_t)old | ADDR_NO_RANDOMIZE
		     : (uint64_t)old & ~(uint64_t)ADDR_NO_RANDOMIZE;
	return set[0] == (uint64_t)old ? 0 : rrc_inject(tid, SYS_personality, set, &ret, err);
}

static int in_vdso(pid_t pid, const pid_t *tids, int n)
{
	struct user_regs_struct regs;
	uint64_t start, end;

	if (rrc_vdso_range(pid, &start, &end))
		return 0;
	for (int i = 0; i < n; i++)
		if (!ptrace(PTRACE_GETREGS, tids[i], NULL, &regs) && regs.rip >= start &&
		    regs.rip < end)
			return 1;
	return 0;
}

/* Its readings are in its lock log: the library asks the vDSO as ever. */
static int records_clocks(pid_t pid)
{
	struct rrc_locklog ll;

	if (rrc_vdso_patched(pid) == 1 || rrc_locklog_open(pid, &ll, NULL))
		return 0;
	rrc_locklog_close(&ll);
	return 1;
}

static void let_go(const pid_t *tids, int n, int detach)
{
	for (int i = 0; i < n; i++)
		ptrace(detach ? PTRACE_DETACH : PTRACE_CONT, tids[i], NULL, NULL);
}

/* Stops a process that we do not trace yet and changes it; afterwards it runs, traced or not. */
static int change_process(pid_t pid, int patch, int keep, struct rrc_error *err)
{
	for (int try = 0;; try++) {
		rrc_autofree pid_t *tids = NULL;
		int n = rrc_seize_process(pid, keep ? RRC_WATCH_OPTIONS : 0, &tids, err), ret = 0;

		if (n == -ESRCH)
			return 0;
		if (n < 0)
			return n;
		if (in_vdso(pid, tids, n) && try < RRC_PATCH_TRIES) {
			let_go(tids, n, 1);
			continue;
		}
		ret = !patch		    ? rrc_vdso_restore(pid, err)
		      : records_clocks(pid) ? 0
					    : rrc_vdso_patch(pid, err);
		for (int i = 0; ret >= 0 && i < n; i++)
			ret = set_randomisation(tids[i], patch, err);
		let_go(tids, n, !keep || ret < 0);
		return ret == -ESRCH ? 0 : ret < 0 ? ret : n;
	}
}

static void on_exec(struct rrc_execwatch *w, struct rrc_tracee *t, pid_t pid)
{
	unsigned long former = 0;

	/* A thread that was not the leader takes the leader's id over. */
	if (!ptrace(PTRACE_GETEVENTMSG, pid, NULL, &former) && (pid_t)former != pid)
		forget(w, (pid_t)former);
	/* On failure the recorder keeps marking its records as barriers: rule 4. */
	if (rrc_vdso_patch(pid, NULL) < 0)
		return;
	w->calls.patched(w->calls.ctx, pid);
	if (t)
		t->starting = rrc_newprogram_preloads(pid) ? START_EXEC : START_NOT;
}

/* 1: its lock log is set up and ours. */
static int hand_over(struct rrc_execwatch *w, pid_t pid, int executed)
{
	struct rrc_locklog ll;
	enum rrc_locks_taken taken;

	if (!rrc_newprogram_ready(pid, &ll))
		return 0;
	taken = w->calls.recording(w->calls.ctx, &ll, executed);
	if (taken != RRC_LOCKS_TAKEN)
		rrc_locklog_close(&ll);
	return taken != RRC_LOCKS_PARENTS;
}

/* One stop of one tracee: goes on, or stays where it is. */
static void on_stop(struct rrc_execwatch *w, pid_t tid, int status, enum rrc_watch_way way)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	int known = find(w, tid) != NULL;
	struct rrc_tracee *t = add(w, tid);

	if (event == PTRACE_EVENT_EXEC) {
		on_exec(w, t, tid);
		t = find(w, tid);
	} else if (t && t->starting && sig == RRC_CALL_STOP) {
		if (hand_over(w, tid, t->starting == START_EXEC))
			t->starting = START_NOT;
	} else if (t && !known) {
		t->starting = rrc_newprogram_forked(tid) ? START_FORK : START_NOT;
	} else if (t && event && event != PTRACE_EVENT_STOP) {
		t->starting = START_NOT; /* it makes others: the library did not come */
	}
	if (t && event == PTRACE_EVENT_STOP)
		rrc_watch_again(w, t);
	if (t && (way == WATCH_RELEASE || (way == WATCH_FREEZE && event == PTRACE_EVENT_STOP))) {
		t->stopped = 1;
		t->group = event == PTRACE_EVENT_STOP && sig != SIGTRAP;
		t->sig = event || sig == RRC_CALL_STOP ? 0 : sig;
		return;
	}
	if (event == PTRACE_EVENT_STOP && sig != SIGTRAP)
		ptrace(PTRACE_LISTEN, tid, NULL, NULL); /* a group stop of the program's own */
	else
		ptrace(t && t->starting ? PTRACE_SYSCALL : PTRACE_CONT, tid, NULL,
		       (void *)(long)(event || sig == RRC_CALL_STOP ? 0 : sig));
}

void rrc_watch_reap(struct rrc_execwatch *w, enum rrc_watch_way way)
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, __WALL | __WNOTHREAD | WNOHANG)) > 0) {
		if (WIFSTOPPED(status)) {
			on_stop(w, tid, status, way);
			continue;
		}
		forget(w, tid);
		if (tid == w->init) {
			w->init_reaped = 1;
			w->init_status = status;
		}
	}
}

void rrc_watch_drain_fd(int fd)
{
	char buf[1024];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

/* Takes hold of all threads without stopping them; new ones can be born meanwhile, so until no more
 * are found. */
static int seize_all(struct rrc_execwatch *w, struct rrc_error *err)
{
	if (w->calls.watched)
		w->calls.watched(w->calls.ctx, 1);
	for (int found = 1; found;) {
		rrc_autofree pid_t *pids = NULL;
		int n = rrc_pidns_processes(w->pidns, &pids);

		if (n < 0)
			return rrc_fail(err, n, "cannot list the container's processes: %s",
					strerror(-n));
		found = 0;
		for (int i = 0; i < n; i++) {
			rrc_autofree pid_t *tids = NULL;
			int m = rrc_threads(pids[i], &tids);

			for (int k = 0; k < m; k++) {
				if (find(w, tids[k]) ||
				    ptrace(PTRACE_SEIZE, tids[k], NULL, (void *)RRC_WATCH_OPTIONS))
					continue;
				add(w, tids[k]);
				found = 1;
			}
		}
	}
	return 0;
}

static int do_resume(struct rrc_execwatch *w)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(w->pidns, &pids), ret = 0;

	for (int i = 0; i < n && ret >= 0; i++) {
		if (rrc_vdso_patched(pids[i]) || records_clocks(pids[i]))
			continue;
		ret = change_process(pids[i], 1, 0, &w->err);
		if (ret > 0)
			w->calls.patched(w->calls.ctx, pids[i]);
	}
	if (ret >= 0)
		ret = seize_all(w, &w->err);
	/* Those that were forked meanwhile. */
	for (int i = 0; i < n && ret >= 0; i++) {
		struct rrc_locklog ll;

		if (!rrc_locklog_open(pids[i], &ll, NULL) &&
		    !(ll.area->mode == RRC_LL_RECORD &&
		      w->calls.recording(w->calls.ctx, &ll, 0) == RRC_LOCKS_TAKEN))
			rrc_locklog_close(&ll);
	}
	return ret;
}

static int first_patch(struct rrc_execwatch *w)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(w->pidns, &pids), ret = 0;

	if (n <= 0)
		return rrc_fail(&w->err, n ? n : ESRCH, "the container has no processes");
	w->init = pids[0];
	for (int i = 0; i < n && ret >= 0; i++) {
		ret = change_process(pids[i], 1, 0, &w->err);
		if (ret > 0)
			w->calls.patched(w->calls.ctx, pids[i]);
	}
	return ret < 0 ? ret : seize_all(w, &w->err);
}

static int do_stop(struct rrc_execwatch *w)
{
	int ret = rrc_watch_release(w);

	return ret || !w->undo ? ret : rrc_execwatch_undo(w->pidns, &w->err);
}

static void run_command(struct rrc_execwatch *w, enum rrc_watch_command c)
{
	int ret = 0;

	switch (c) {
	case CMD_RELEASE:
		ret = rrc_watch_release(w);
		break;
	case CMD_RESUME:
		ret = do_resume(w);
		break;
	case CMD_FREEZE:
		ret = rrc_watch_freeze(w);
		break;
	case CMD_SETTLED:
		rrc_watch_reap(w, WATCH_ON);
		ret = rrc_watch_unfit(w);
		break;
	case CMD_STOP:
		ret = do_stop(w);
		break;
	case CMD_SYNC:
		rrc_watch_reap(w, WATCH_ON);
		break;
	case CMD_NONE:
		return;
	}
	pthread_mutex_lock(&w->lock);
	w->result = ret;
	w->command = CMD_NONE;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&w->lock);
}

static void *watcher(void *arg)
{
	struct rrc_execwatch *w = arg;
	enum rrc_watch_command c = CMD_NONE;

	pthread_mutex_lock(&w->lock);
	w->result = first_patch(w);
	w->command = CMD_NONE;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&w->lock);
	while (c != CMD_STOP) {
		struct pollfd p[2] = { { w->sigchld_fd, POLLIN, 0 }, { w->command_fd, POLLIN, 0 } };

		poll(p, 2, -1);
		rrc_watch_drain_fd(w->sigchld_fd);
		rrc_watch_reap(w, WATCH_ON);
		if (!(p[1].revents & POLLIN))
			continue;
		rrc_watch_drain_fd(w->command_fd);
		pthread_mutex_lock(&w->lock);
		c = w->command;
		pthread_mutex_unlock(&w->lock);
		run_command(w, c);
	}
	return NULL;
}

/* Hands a command to the watcher's thread (ptrace belongs to one thread) and waits for its end. */
static int command(struct rrc_execwatch *w, enum rrc_watch_command c, struct rrc_error *err)
{
	uint64_t one = 1;
	int ret;

	pthread_mutex_lock(&w->lock);
	w->command = c;
	if (write(w->command_fd, &one, sizeof(one)) != sizeof(one))
		w->command = CMD_NONE;
	while (w->command != CMD_NONE)
		pthread_cond_wait(&w->done, &w->lock);
	ret = w->result;
	if (ret < 0 && err)
		*err = w->err;
	pthread_mutex_unlock(&w->lock);
	return ret < 0 ? ret : 0;
}

static void destroy(struct rrc_execwatch *w)
{
	close(w->command_fd);
	close(w->sigchld_fd);
	free(w->tracees);
	free(w);
}

struct rrc_execwatch *rrc_execwatch_start(uint64_t pidns, const struct rrc_execwatch_calls *calls,
					  struct rrc_error *err)
{
	struct rrc_execwatch *w = calloc(1, sizeof(*w));
	sigset_t chld;
	int ret;

	if (!w) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	w->pidns = pidns;
	w->calls = *calls;
	w->command = CMD_RESUME;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->done, NULL);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &chld, NULL);
	w->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->sigchld_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->command_fd < 0 || w->sigchld_fd < 0 ||
	    pthread_create(&w->thread, NULL, watcher, w)) {
		rrc_fail(err, errno, "cannot start the exec watcher: %s", strerror(errno));
		destroy(w);
		return NULL;
	}
	pthread_mutex_lock(&w->lock);
	while (w->command != CMD_NONE)
		pthread_cond_wait(&w->done, &w->lock);
	ret = w->result;
	if (ret < 0 && err)
		*err = w->err;
	pthread_mutex_unlock(&w->lock);
	if (ret < 0) {
		rrc_wrap(err, "cannot prepare the container's processes");
		rrc_execwatch_stop(w, 1);
		return NULL;
	}
	return w;
}

int rrc_execwatch_release(struct rrc_execwatch *w, struct rrc_error *err)
{
	return command(w, CMD_RELEASE, err);
}

int rrc_execwatch_resume(struct rrc_execwatch *w, struct rrc_error *err)
{
	return command(w, CMD_RESUME, err);
}

int rrc_execwatch_freeze(struct rrc_execwatch *w, struct rrc_freeze *f, struct rrc_error *err)
{
	w->freeze = f;
	return command(w, CMD_FREEZE, err);
}

int rrc_execwatch_settled(struct rrc_execwatch *w, struct rrc_error *err)
{
	return command(w, CMD_SETTLED, err);
}

int rrc_execwatch_init_status(struct rrc_execwatch *w, int *status)
{
	command(w, CMD_SYNC, NULL);
	*status = w->init_status;
	return w->init_reaped;
}

int rrc_execwatch_patch_frozen(struct rrc_execwatch *w, struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(w->pidns, &pids), count = 0;

	for (int i = 0; i < n; i++) {
		int ret;

		if (rrc_vdso_patched(pids[i]) || records_clocks(pids[i]))
			continue;
		ret = rrc_vdso_patch(pids[i], err);
		if (ret < 0)
			return ret;
		count += ret > 0;
		w->calls.patched(w->calls.ctx, pids[i]);
	}
	return count;
}

void rrc_execwatch_stop(struct rrc_execwatch *w, int undo)
{
	if (!w)
		return;
	w->undo = undo;
	command(w, CMD_STOP, NULL);
	pthread_join(w->thread, NULL);
	destroy(w);
}

int rrc_execwatch_undo(uint64_t pidns, struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(pidns, &pids), ret = 0;

	for (int i = 0; i < n && ret >= 0; i++)
		ret = change_process(pids[i], 0, 0, err);
	return ret < 0 ? ret : 0;
}
