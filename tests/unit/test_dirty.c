/* SPDX-License-Identifier: MIT */
/*
 * Written pages of a child that does all that a program can do to its memory, round after round: what was copied is
 * its memory, byte for byte. And the state of a thread that was stopped anywhere.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>

#include "dirty.h"
#include "memory.h"
#include "threads.h"

static void stop(pid_t pid)
{
	rrc_autofree pid_t *tids = NULL;
	struct rrc_error err = { 0 };

	cr_assert_geq(rrc_seize_process(pid, 0, &tids, &err), 1, "%s", err.msg);
}

/* One look at the child: what the log would tell of, then what it wrote. */
static void look(struct rrc_dirty *d, struct rrc_pages *world, const struct told *told, size_t n)
{
	struct rrc_pages *fresh = rrc_pages_new();
	struct rrc_error err = { 0 };
	uint64_t count;

	if (n)
		cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_dirty_collect(d, fresh, &count, &err), 0, "%s", err.msg);
	for (size_t i = 0; i < n; i++) {
		rrc_pages_drop(world, told[i].start, told[i].end);
		cr_assert_eq(rrc_dirty_range(d, told[i].start, told[i].end, fresh, &count, &err), 0,
			     "%s", err.msg);
	}
	keep(world, fresh);
	rrc_pages_free(fresh);
}

static void all_of_it(uint64_t seed)
{
	struct told told[4 * OPS];
	struct rrc_error err = { 0 };
	struct rrc_pages *world = rrc_pages_new();
	struct rrc_dirty *d;
	size_t seen = 0, n;
	pid_t pid;

	if (rrc_dirty_probe(&err))
		cr_skip_test("%s", err.msg);
	pid = start(child, seed);
	hear(told, 1);
	stop(pid);
	d = rrc_dirty_new(pid, pid, &err);
	cr_assert(d, "%s", err.msg);
	/* Before anything is protected all that is there counts as written: the base. */
	cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	look(d, world, NULL, 0);
	compare(pid, world, -1);
	for (int round = 0; round < ROUNDS; round++) {
		cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
		cr_assert_eq(write(to_child[1], "x", 1), 1);
		if (round & 1)
			look(d, world, NULL, 0); /* while it runs */
		n = hear(told, RRC_ARRAY_SIZE(told));
		stop(pid);
		look(d, world, told, n);
		seen += compare(pid, world, round);
	}
	cr_assert_gt(seen, 1000u);
	rrc_dirty_free(d);
	rrc_pages_free(world);
	end(pid);
}

Test(dirty, what_was_copied_is_the_memory, .timeout = 60)
{
	all_of_it(1);
}

Test(dirty, what_was_copied_is_the_memory_another_way, .timeout = 60)
{
	all_of_it(20261124);
}

static void writes_three(uint64_t seed)
{
	uint64_t p = AREA;
	char c;

	(void)seed;
	mmap((void *)p, AREA_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	for (uint64_t i = 0; i < 256; i++)
		fill(p + i * RRC_PAGE, i);
	say(0, 0);
	while (read(to_child[0], &c, 1) == 1) {
		fill(p + 3 * RRC_PAGE, 99);
		fill(p + 100 * RRC_PAGE, 100);
		(void)*(volatile char *)(p + 200 * RRC_PAGE); /* read */
		say(0, 0);
	}
	_exit(0);
}

/* Few were written: few are copied, and none that was only read. */
Test(dirty, only_what_was_written, .timeout = 30)
{
	struct rrc_pages *p = rrc_pages_new();
	struct rrc_error err = { 0 };
	const uint8_t *const *data;
	const uint64_t *addr;
	struct rrc_dirty *d;
	struct told told[2];
	uint64_t count, found = 0;
	size_t n;
	pid_t pid;

	if (rrc_dirty_probe(&err))
		cr_skip_test("%s", err.msg);
	pid = start(writes_three, 0);
	hear(told, 1);
	stop(pid);
	d = rrc_dirty_new(pid, pid, &err);
	cr_assert(d, "%s", err.msg);
	cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_dirty_begin(d, &err), 0, "%s", err.msg);
	cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	cr_assert_eq(write(to_child[1], "x", 1), 1);
	hear(told, 1);
	cr_assert_eq(rrc_dirty_collect(d, p, &count, &err), 0, "%s", err.msg);
	n = rrc_pages_all(p, &addr, &data);
	for (size_t i = 0; i < n; i++)
		found += addr[i] >= AREA && addr[i] < AREA + AREA_LEN;
	cr_assert_eq(found, 2u, "%llu", (unsigned long long)found);
	cr_assert(page_of(addr, data, n, AREA + 3 * RRC_PAGE));
	cr_assert(page_of(addr, data, n, AREA + 100 * RRC_PAGE));
	cr_assert_lt(n, 40u, "%zu", n);
	rrc_pages_free(p);
	rrc_dirty_free(d);
	end(pid);
}

/* ---- threads ---- */

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
		(void)!read(to_child[0], &c, 1);
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
		uint8_t insn[2];

		until_in(pid, nr[how]);
		stop(pid);
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
		end(pid);
	}
}
