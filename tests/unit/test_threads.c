/* SPDX-License-Identifier: MIT */
/* The state of a thread that was stopped anywhere. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "help.h"
#include "ptrace.h"
#include "threads.h"
#include "util.h"

static int from_us[2];

static pid_t start(void (*body)(uint64_t how), uint64_t how)
{
	pid_t pid;

	cr_assert(!pipe(from_us));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
		body(how);
	}
	cr_assert_gt(pid, 0);
	return pid;
}

Test(threads, results_that_only_the_kernel_sees)
{
	static const struct {
		long long ax, orig;
		long long want_ax;
		int back;
	} t[] = {
		{ 5, 0, 5, 0 }, /* a call that returned */
		{ -EINTR, 232, -EINTR, 0 }, /* … and one that was broken off */
		{ -512, 0, 0, 1 }, /* read: begins again */
		{ -513, 202, 202, 1 },
		{ -514, 34, 34, 1 }, /* pause */
		{ -516, 35, -EINTR, 0 }, /* nanosleep: by restart_syscall, which a copy cannot */
		{ -512, -1, -512, 0 }, /* not in a call: a number of the program's own */
	};

	for (size_t i = 0; i < RRC_ARRAY_SIZE(t); i++) {
		struct user_regs_struct r = { .rax = (unsigned long long)t[i].ax,
					      .orig_rax = (unsigned long long)t[i].orig,
					      .rip = 1000 };

		rrc_thread_normalise(&r);
		cr_assert_eq((long long)r.rax, t[i].want_ax, "%zu", i);
		cr_assert_eq(r.rip, 1000u - (t[i].back ? 2 : 0), "%zu", i);
		cr_assert_eq((long long)r.orig_rax, -1, "%zu", i);
	}
}

static void waits(uint64_t how)
{
	sigset_t set;
	char c;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (how)
		(void)!read(from_us[0], &c, 1);
	else
		pause();
	_exit(1);
}

static void until_in(pid_t pid, long nr)
{
	const char *path = help_path("/proc/%d/syscall", pid);
	long now = -1;

	while (now != nr) {
		FILE *f = fopen(path, "re");

		cr_assert(f);
		if (fscanf(f, "%ld", &now) != 1)
			now = -1;
		fclose(f);
		sched_yield();
	}
}

Test(threads, a_call_that_waits_begins_again, .timeout = 30)
{
	static uint8_t xsave[RRC_DELTA_MAX_XSAVE];
	static const long nr[] = { SYS_pause, SYS_read };

	for (uint64_t how = 0; how < 2; how++) {
		pid_t pid = start(waits, how);
		struct rrc_delta_thread t = { 0 };
		rrc_autofree pid_t *tids = NULL;
		struct rrc_error err = { 0 };
		uint8_t insn[2];

		until_in(pid, nr[how]);
		cr_assert_geq(rrc_seize_process(pid, 0, &tids, &err), 1, "%s", err.msg);
		cr_assert_eq(rrc_thread_pending(pid, 1), 0);
		cr_assert_eq(rrc_thread_take(pid, &t, xsave), 0);
		cr_assert_eq(rrc_mem_read(pid, t.regs.rip, insn, 2), 0);
		cr_assert(insn[0] == 0x0f && insn[1] == 0x05, "not at the call");
		cr_assert_eq((long)t.regs.rax, nr[how]);
		cr_assert_geq(t.xsave_len, 576u);
		cr_assert_eq(t.mask, 1ull << (SIGUSR1 - 1));
		/* A signal that waits is seen, be it the thread's or the process's. */
		kill(pid, SIGUSR1);
		cr_assert_eq(rrc_thread_pending(pid, 0), 0);
		cr_assert_eq(rrc_thread_pending(pid, 1), -EBUSY);
		syscall(SYS_tgkill, pid, pid, SIGUSR1);
		cr_assert_eq(rrc_thread_pending(pid, 0), -EBUSY);
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, __WALL) > 0)
			;
	}
}
