// SPDX-License-Identifier: MIT
/* The replay engine: what it emulates, what it makes for real, what it calls a divergence. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#include "guest.h"

static void echo(void)
{
	long n = syscall(SYS_read, 0, guest_in, sizeof(guest_in));

	syscall(SYS_write, 1, guest_in, n);
	syscall(SYS_exit_group, 7);
}

static void echo_log(struct help_log *l, const char *written)
{
	struct rrc_rec *r;

	guest_begins(l);
	r = guest_call(l, 1, RRC_NR_read, 5, 0, (uint64_t)guest_in, sizeof(guest_in));
	r->fdkind = RRC_FD_TCP;
	guest_seg(l, r, 0, RRC_SEG_OUT, "hello", 5);
	r = guest_call(l, 1, RRC_NR_write, 5, 1, (uint64_t)guest_in, 5);
	r->fdkind = RRC_FD_TCP;
	guest_seg(l, r, 0, RRC_SEG_IN, written, 5);
	guest_ends(l, 1, 7);
}

Test(engine, emulates_and_compares, .timeout = 30)
{
	const struct rrc_engine_report *rep;
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(echo);

	echo_log(&l, "hello");
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rep = rrc_engine_report(e);
	cr_assert(rep->calls == 4 && rep->deaths == 1 && rep->outputs == 1);
	cr_assert(rep->output_bytes == 5 && rep->passed == rep->records);
	rrc_engine_kill(e);
	cr_assert(kill(pid, 0) == -1 && errno == ESRCH);
}

Test(engine, names_other_output, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(echo);

	echo_log(&l, "hullo");
	cr_assert(guest_run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(err.exit == RRC_EXIT_DIVERGED);
	cr_assert(strstr(err.msg, "record 2 of 5") && strstr(err.msg, "hello"), "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, names_other_call, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(echo);

	guest_begins(&l);
	guest_call(&l, 1, RRC_NR_getppid, 0, 0, 0, 0);
	cr_assert(guest_run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(strstr(err.msg, "calls read") && strstr(err.msg, "getppid"), "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, names_other_argument, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(echo);

	guest_begins(&l);
	guest_call(&l, 1, RRC_NR_read, 0, 0, (uint64_t)guest_in, sizeof(guest_in) + 1);
	cr_assert(guest_run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(strstr(err.msg, "argument 3 is 0x40"), "%s", err.msg);
	rrc_engine_kill(e);
}

static void computes(void)
{
	for (;;)
		__asm__ volatile("pause");
}

Test(engine, says_where_it_stalls, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(computes);

	guest_begins(&l);
	guest_call(&l, 1, RRC_NR_getppid, 0, 0, 0, 0);
	cr_assert(guest_run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(strstr(err.msg, "nothing moved for long") && strstr(err.msg, "computes"), "%s",
		  err.msg);
	rrc_engine_kill(e);
}

Test(engine, computing_at_the_end_is_parked, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(computes);

	guest_begins(&l);
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, a_barrier_ends_it, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(echo);

	guest_begins(&l);
	guest_call(&l, 1, RRC_NR_getppid, 0, 0, 0, 0)->flags = RRC_F_BARRIER;
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(rrc_engine_report(e)->barrier_at == sizeof(struct rrc_rec));
	cr_assert(rrc_engine_report(e)->records == 1);
	rrc_engine_kill(e);
}

/* The primary died while a checkpoint was on its way: its cut is in the log, its commit never came. */
Test(engine, a_cut_that_was_not_committed_does_not_end_it, .timeout = 30)
{
	const struct rrc_engine_report *rep;
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	struct rrc_rec *r;
	pid_t pid = guest_start(echo);

	guest_begins(&l);
	r = guest_call(&l, 1, RRC_NR_read, 5, 0, (uint64_t)guest_in, sizeof(guest_in));
	r->fdkind = RRC_FD_TCP;
	guest_seg(&l, r, 0, RRC_SEG_OUT, "hello", 5);
	help_rec(&l, RRC_REC_CUT, 0)->args[0] = 2;
	r = guest_call(&l, 1, RRC_NR_write, 5, 1, (uint64_t)guest_in, 5);
	r->fdkind = RRC_FD_TCP;
	guest_seg(&l, r, 0, RRC_SEG_IN, "hello", 5);
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rep = rrc_engine_report(e);
	cr_assert(rep->outputs == 1 && rep->passed == rep->records);
	rrc_engine_kill(e);
}

static const struct timespec long_wait = { 100, 0 };

/* The checkpoint ends the wait, and no record says so. */
static void waits(void)
{
	long r = syscall(SYS_clock_nanosleep, 0, 0, &long_wait, NULL);

	syscall(SYS_write, 1, guest_digits, r == -1 && errno == EINTR ? 4 : 1);
	syscall(SYS_exit_group, 0);
}

/* CRIU turns a wait that has a rest into -EINTR, in the original too. */
Test(engine, a_cut_ends_a_wait_that_the_log_shows_was_left, .timeout = 30)
{
	struct help_log l = { 0 };
	struct rrc_error err = { 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(waits);
	struct rrc_rec *r;

	guest_begins(&l);
	r = guest_call(&l, 1, SYS_clock_nanosleep, -516, 0, 0, (uint64_t)&long_wait);
	guest_seg(&l, r, 0, RRC_SEG_IN, &long_wait, sizeof(long_wait));
	help_rec(&l, RRC_REC_CUT, 0)->args[0] = 2;
	r = guest_call(&l, 1, RRC_NR_write, 4, 1, (uint64_t)guest_digits, 4);
	r->fdkind = RRC_FD_TCP;
	guest_seg(&l, r, 0, RRC_SEG_IN, guest_digits, 4);
	guest_ends(&l, 1, 0);
	cr_assert_eq(guest_run(pid, &l, &e, &err), 0, "%s", err.msg);
	rrc_engine_kill(e);
}

/* A finite wait, by the call that takes its time as a number and by the one that takes it as a structure. */
static void waits_for_events(void)
{
	long a = syscall(SYS_epoll_wait, 5, guest_in, 1, 100000);
	long b = syscall(SYS_epoll_pwait2, 5, guest_in, 1, &long_wait, NULL, 8);

	syscall(SYS_write, 1, guest_digits, a + b);
	syscall(SYS_exit_group, 0);
}

/* Checkpoints broke it off, and it was made again with what was left of its time. */
Test(engine, a_wait_that_was_made_again_is_the_same_wait, .timeout = 30)
{
	struct help_log l = { 0 };
	struct rrc_error err = { 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(waits_for_events);
	struct rrc_rec *r;

	guest_begins(&l);
	guest_call(&l, 1, SYS_epoll_wait, -514, 5, (uint64_t)guest_in, 1)->args[3] = 100000;
	help_rec(&l, RRC_REC_CUT, 0)->args[0] = 2;
	guest_call(&l, 1, SYS_epoll_wait, -514, 5, (uint64_t)guest_in, 1)->args[3] = 99900;
	help_rec(&l, RRC_REC_CUT, 0)->args[0] = 3;
	guest_call(&l, 1, SYS_epoll_wait, 1, 5, (uint64_t)guest_in, 1)->args[3] = 99800;
	r = guest_call(&l, 1, SYS_epoll_pwait2, -514, 5, (uint64_t)guest_in, 1);
	r->args[3] = (uint64_t)&long_wait;
	r->args[5] = 8;
	r = guest_call(&l, 1, SYS_epoll_pwait, 2, 5, (uint64_t)guest_in, 1);
	r->args[3] = 99700;
	r->args[5] = 8;
	r = guest_call(&l, 1, RRC_NR_write, 3, 1, (uint64_t)guest_digits, 3);
	r->fdkind = RRC_FD_TCP;
	guest_seg(&l, r, 0, RRC_SEG_IN, guest_digits, 3);
	guest_ends(&l, 1, 0);
	cr_assert_eq(guest_run(pid, &l, &e, &err), 0, "%s", err.msg);
	rrc_engine_kill(e);
}

/* … but nothing else is: another time that it asks for by itself is a divergence. */
Test(engine, a_wait_with_another_time_is_another_wait, .timeout = 30)
{
	struct help_log l = { 0 };
	struct rrc_error err = { 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(waits_for_events);

	guest_begins(&l);
	guest_call(&l, 1, SYS_epoll_wait, 1, 5, (uint64_t)guest_in, 1)->args[3] = 99900;
	cr_assert(guest_run(pid, &l, &e, &err) < 0);
	rrc_engine_kill(e);
}

static void forks(void)
{
	long pid = syscall(SYS_fork);

	if (!pid)
		syscall(SYS_exit_group, (int)syscall(SYS_getpid) == 77 ? 3 : 4);
	syscall(SYS_wait4, pid, guest_in, 0, NULL);
	syscall(SYS_write, 1, guest_in, 4);
	syscall(SYS_exit_group, (int)pid);
}

Test(engine, children_get_their_ids, .timeout = 30)
{
	const int status = 3 << 8;
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	struct rrc_rec *r;
	pid_t pid = guest_start(forks);

	guest_begins(&l);
	r = help_rec(&l, RRC_REC_BIRTH, 1);
	r->ret = 77;
	r->args[1] = 77;
	guest_call(&l, 77, RRC_NR_getpid, 77, 0, 0, 0); /* before its parent's call returns */
	guest_call(&l, 1, RRC_NR_fork, 77, 0, 0, 0);
	guest_ends(&l, 77, 3);
	r = guest_call(&l, 1, RRC_NR_wait4, 77, 77, (uint64_t)guest_in, 0);
	guest_seg(&l, r, 0, RRC_SEG_OUT, &status, sizeof(status));
	r = guest_call(&l, 1, RRC_NR_write, 4, 1, (uint64_t)guest_in, 4);
	guest_seg(&l, r, 0, RRC_SEG_IN, &status, sizeof(status));
	guest_ends(&l, 1, 77);
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(rrc_engine_report(e)->births == 1 && rrc_engine_report(e)->deaths == 2);
	rrc_engine_kill(e);
}
