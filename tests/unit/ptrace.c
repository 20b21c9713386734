// SPDX-License-Identifier: MIT
/* lib/ptrace.c and lib/vdso.c on a child of our own: stopping, injecting, memory, patched clocks. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ptrace.h"
#include "vdso.h"

static void *idle(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* A child of `threads` threads that waits in pause(); returns once they are all there. */
static pid_t child_with(int threads)
{
	int ready[2];
	char c;
	pid_t pid;

	cr_assert(pipe(ready) == 0);
	pid = fork();
	if (!pid) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing stays of a test that hangs */
		for (int i = 1; i < threads; i++)
			pthread_create(&t, NULL, idle, NULL);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		idle(NULL);
	}
	cr_assert(pid > 0);
	cr_assert(read(ready[0], &c, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) > 0)
		;
}

Test(ptrace, seizes_all_threads_and_lets_go)
{
	struct rrc_error err = { 0 };
	pid_t pid = child_with(4), *tids;
	int n = rrc_seize_process(pid, 0, &tids, &err);

	cr_assert(n == 4, "%d: %s", n, err.msg);
	for (int i = 0; i < n; i++)
		cr_assert(ptrace(PTRACE_DETACH, tids[i], NULL, NULL) == 0);
	free(tids);
	end(pid);
}

Test(ptrace, inject_gives_results_and_keeps_registers)
{
	struct rrc_error err = { 0 };
	struct user_regs_struct before, after;
	uint64_t args[6] = { 0 };
	pid_t pid = child_with(1), *tids;
	long ret;

	cr_assert(rrc_seize_process(pid, 0, &tids, &err) == 1, "%s", err.msg);
	free(tids);
	cr_assert(ptrace(PTRACE_GETREGS, pid, NULL, &before) == 0);
	cr_assert(rrc_inject(pid, SYS_getpid, args, &ret, &err) == 0, "%s", err.msg);
	cr_assert(ret == pid);
	args[0] = (uint64_t)-1;
	cr_assert(rrc_inject(pid, SYS_close, args, &ret, &err) == 0, "%s", err.msg);
	cr_assert(ret == -EBADF);
	cr_assert(ptrace(PTRACE_GETREGS, pid, NULL, &after) == 0);
	cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
	end(pid);
}

Test(ptrace, inject_holds_signals_back)
{
	struct rrc_error err = { 0 };
	uint64_t args[6] = { 0 };
	pid_t pid = child_with(1), *tids;
	int status;
	long ret;

	cr_assert(rrc_seize_process(pid, 0, &tids, &err) == 1, "%s", err.msg);
	free(tids);
	kill(pid, SIGTERM);
	cr_assert(rrc_inject(pid, SYS_getppid, args, &ret, &err) == 0, "%s", err.msg);
	cr_assert(ret == getpid());
	cr_assert(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

/* A restored container is stopped by a signal that some thread has yet to take: a call made in it meanwhile must not
 * take it, or the container runs as soon as it is let go. */
Test(ptrace, inject_leaves_a_stop_that_is_on_its_way, .timeout = 30)
{
	struct rrc_error err = { 0 };
	uint64_t args[6] = { 0 };
	pid_t pid = child_with(3), *tids;
	int n = rrc_seize_process(pid, 0, &tids, &err), status = 0;
	long ret;

	cr_assert(n == 3, "%s", err.msg);
	kill(pid, SIGSTOP);
	for (int i = 0; i < n; i++) {
		cr_assert(rrc_inject(tids[i], SYS_getpid, args, &ret, &err) == 0, "%s", err.msg);
		cr_assert(ret == pid);
	}
	for (int i = 0; i < n; i++)
		cr_assert(ptrace(PTRACE_DETACH, tids[i], NULL, NULL) == 0);
	cr_assert(waitpid(pid, &status, WUNTRACED) == pid);
	cr_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	free(tids);
	end(pid);
}

/* Shared with the child: what its threads count, without ever making a call. */
static volatile uint64_t *counts;

static void *count(void *arg)
{
	for (;;)
		counts[(uintptr_t)arg]++;
	return NULL;
}

static pid_t child_that_counts(uintptr_t threads)
{
	pid_t pid = fork();

	if (!pid) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (uintptr_t i = 1; i < threads; i++)
			pthread_create(&t, NULL, count, (void *)i);
		count(NULL);
	}
	for (uintptr_t i = 0; i < threads; i++)
		while (!counts[i])
			sched_yield();
	return pid;
}

/* As CRIU leaves what it has restored: told to stop while it was traced, and let go. */
Test(ptrace, a_stop_is_waited_for, .timeout = 60)
{
	enum {
		THREADS = 4
	};
	struct rrc_error err = { 0 };

	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(counts != MAP_FAILED);
	for (int round = 0; round < 10; round++) {
		uint64_t before[THREADS];
		pid_t pid = child_that_counts(THREADS), *tids;
		int n = rrc_seize_process(pid, 0, &tids, &err);

		cr_assert(n == THREADS, "%s", err.msg);
		kill(pid, SIGSTOP);
		for (int i = 0; i < n; i++)
			cr_assert(ptrace(PTRACE_DETACH, tids[i], NULL, NULL) == 0);
		for (int again = 0; again < 2; again++) {
			cr_assert(rrc_await_stop(pid, &err) == 0, "%s", err.msg);
			for (int i = 0; i < THREADS; i++) {
				cr_assert(!again || counts[i] == before[i], "thread %d runs", i);
				before[i] = counts[i];
			}
		}
		free(tids);
		end(pid);
		memset((void *)counts, 0, sizeof(before));
	}
}

Test(ptrace, memory_that_the_process_may_not_touch)
{
	void *none = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char buf[16];
	pid_t pid;

	strcpy(none, "inside");
	mprotect(none, 4096, PROT_NONE);
	pid = child_with(1);
	cr_assert(ptrace(PTRACE_SEIZE, pid, NULL, 0) == 0);
	cr_assert(rrc_mem_read(pid, (uint64_t)none, buf, 7) == 0);
	cr_assert_str_eq(buf, "inside");
	cr_assert(rrc_mem_write(pid, (uint64_t)none, "wrote!", 7) == 0);
	cr_assert(rrc_mem_read(pid, (uint64_t)none, buf, 7) == 0);
	cr_assert_str_eq(buf, "wrote!");
	cr_assert(rrc_mem_read(pid, 8, buf, 8) == -EFAULT);
	cr_assert(rrc_mem_read(pid, (uint64_t)none + 4090, buf, 16) != 0 ||
		  rrc_mem_read(pid, (uint64_t)none + 4096, buf, 1) == 0);
	end(pid);
}

Test(ptrace, namespace_ids)
{
	pid_t *pids;
	int n = rrc_pidns_processes(rrc_pidns_ino(getpid()), &pids);
	int self = 0;

	cr_assert(n > 0);
	for (int i = 0; i < n; i++)
		self |= pids[i] == getpid();
	cr_assert(self);
	free(pids);
	cr_assert(rrc_ns_tid(getpid()) > 0);
	cr_assert(rrc_ns_tid(0x3fffffff) == -ESRCH);
}

/* In the child: does a clock reading make a call? Under seccomp's strict mode any call but read,
 * write and exit kills, so the answer is how the child ends. */
static int clock_makes_a_call(pid_t pid, int go)
{
	int status;

	if (write(go, "x", 1) != 1)
		return -1;
	if (waitpid(pid, &status, __WALL) != pid)
		return -1;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static pid_t clock_child(int *go)
{
	int p[2];
	pid_t pid;

	cr_assert(pipe(p) == 0);
	pid = fork();
	if (!pid) {
		struct timespec ts;
		char c;

		clock_gettime(CLOCK_MONOTONIC, &ts); /* resolves it */
		/* That mode forbids rdtsc as well: a reading without a call ends so, and by no handler. */
		signal(SIGSEGV, SIG_DFL);
		if (read(p[0], &c, 1) != 1)
			_exit(3);
		/* SECCOMP_MODE_STRICT */
		if (syscall(SYS_seccomp, 0, 0, NULL))
			_exit(3);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		syscall(SYS_exit, 0);
	}
	close(p[0]);
	*go = p[1];
	return pid;
}

static void patch_stopped(pid_t pid, int (*what)(pid_t, struct rrc_error *), int *count)
{
	struct rrc_error err = { 0 };
	pid_t *tids;
	int n = rrc_seize_process(pid, 0, &tids, &err);

	cr_assert(n == 1, "%s", err.msg);
	*count = what(pid, &err);
	cr_assert(*count >= 0, "%s", err.msg);
	cr_assert(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
	free(tids);
}

Test(vdso, patched_clocks_are_calls)
{
	int go, n;
	pid_t pid = clock_child(&go);

	cr_assert(rrc_vdso_patched(pid) == 0);
	patch_stopped(pid, rrc_vdso_patch, &n);
	cr_assert(n >= 4);
	cr_assert(rrc_vdso_patched(pid) == 1);
	patch_stopped(pid, rrc_vdso_patch, &n); /* again: no harm */
	cr_assert(n >= 4);
	cr_assert(clock_makes_a_call(pid, go) == 1);
}

Test(vdso, restored_clocks_are_not)
{
	int go, n, m;
	pid_t pid = clock_child(&go);

	patch_stopped(pid, rrc_vdso_patch, &n);
	patch_stopped(pid, rrc_vdso_restore, &m);
	cr_assert(n == m);
	cr_assert(rrc_vdso_patched(pid) == 0);
	cr_assert(clock_makes_a_call(pid, go) == 0);
}

Test(vdso, untouched_child_reads_clocks_unseen)
{
	int go;
	pid_t pid = clock_child(&go);

	cr_assert(clock_makes_a_call(pid, go) == 0);
}

/* A process that has ended and whose parent has not asked: it is gone, not forbidden. */
Test(ptrace, a_zombie_is_gone, .timeout = 30)
{
	struct rrc_error err = { 0 };
	siginfo_t si;
	pid_t *tids = NULL, pid = fork();

	if (!pid)
		_exit(0);
	cr_assert(pid > 0 && waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
	cr_assert_eq(rrc_seize_process(pid, 0, &tids, &err), -ESRCH, "%s", err.msg);
	cr_assert_null(tids);
	waitpid(pid, NULL, 0);
}
