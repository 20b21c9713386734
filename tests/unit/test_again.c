// SPDX-License-Identifier: MIT
/* The exec watcher stops threads in waits that the kernel would end with EINTR: they are made again. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "execwatch.h"
#include "help.h"
#include "ptrace.h"
#include "util.h"

#define LONG_MS 100000

static const struct timespec long_time = { LONG_MS / 1000, 0 };
static int event;
static volatile int *watched; /* shared with the guest: attaching to it broke its wait off, too */

struct wait_call {
	long nr, time, nr_then; /* the time-out's argument */
	int finite;
};

static const struct wait_call calls[] = {
	{ SYS_epoll_wait, -1, SYS_epoll_wait, 0 },
	{ SYS_epoll_wait, LONG_MS, SYS_epoll_wait, 1 },
	{ SYS_epoll_pwait, LONG_MS, SYS_epoll_pwait, 1 },
	{ SYS_epoll_pwait2, 0, SYS_epoll_pwait2, 0 },
	{ SYS_epoll_pwait2, (long)&long_time, SYS_epoll_pwait, 1 },
};

static int waits(void *arg)
{
	const struct wait_call *c = arg;
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0);
	long n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	epoll_ctl(ep, EPOLL_CTL_ADD, event, &ev);
	do {
		n = syscall(c->nr, ep, &ev, 1, c->time, NULL, 8);
	} while (n < 0 && errno == EINTR && !*watched);
	_exit(n == 1 ? 0 : n < 0 && errno == EINTR ? 2 : 3);
}

static void wait_until_in(pid_t pid, long nr)
{
	char path[64], line[128] = "", want[16];

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	snprintf(want, sizeof(want), "%ld ", nr);
	while (strncmp(line, want, strlen(want))) {
		rrc_autofclose FILE *f = fopen(path, "re");

		cr_assert(f && fgets(line, sizeof(line), f));
		sched_yield();
	}
}

static pid_t start(const struct wait_call *c)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid;

	watched = mmap(NULL, sizeof(*watched), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	cr_assert_neq((void *)watched, MAP_FAILED);
	event = eventfd(0, 0);
	pid = clone(waits, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, (void *)c);
	if (pid < 0 && errno == EPERM)
		cr_skip_test("needs root");
	cr_assert(event >= 0 && pid > 0);
	wait_until_in(pid, c->nr);
	return pid;
}

/* What the recorder would say, and what was seen. */
struct said {
	int broken_off;
	uint64_t began;
	struct user_regs_struct regs;
};

static void patched(void *ctx, pid_t pid)
{
	(void)ctx;
	(void)pid;
}

static enum rrc_locks_taken recording(void *ctx, const struct rrc_locklog *ll, int executed)
{
	(void)ctx;
	(void)ll;
	(void)executed;
	return RRC_LOCKS_KNOWN;
}

static int broken_off(void *ctx, pid_t tid, uint64_t *began_ns)
{
	const struct said *s = ctx;

	(void)tid;
	*began_ns = s->began;
	return s->broken_off;
}

static int look(void *ctx, const pid_t *tids, size_t n, struct rrc_error *err)
{
	struct said *s = ctx;

	if (n != 1 || ptrace(PTRACE_GETREGS, tids[0], NULL, &s->regs))
		return rrc_fail(err, errno, "%zu threads", n);
	return 0;
}

static struct rrc_execwatch *watch(pid_t pid, const struct wait_call *c, struct said *s)
{
	struct rrc_execwatch_calls calls_of_ours = {
		.patched = patched, .recording = recording, .broken_off = broken_off, .ctx = s
	};
	struct rrc_error err = { 0 };
	struct rrc_execwatch *w = rrc_execwatch_start(rrc_pidns_ino(pid), &calls_of_ours, &err);

	cr_assert(w, "%s", err.msg);
	wait_until_in(pid, c->nr);
	*watched = 1;
	return w;
}

/* A busy host may take longer than a stop may: then it is tried again, as ever. */
static int stop(struct rrc_execwatch *w, struct said *s)
{
	struct rrc_freeze f = { .frozen = look, .ctx = s };
	struct rrc_error err = { 0 };
	int ret;

	do {
		ret = rrc_execwatch_freeze(w, &f, &err);
	} while (ret == -EBUSY);
	return ret;
}

/* Several stops, then the event: its exit code. */
static int stop_often(const struct wait_call *c, int says)
{
	struct said s = { .broken_off = says, .began = rrc_now_ns(CLOCK_MONOTONIC) };
	struct rrc_execwatch *w;
	pid_t pid = start(c);
	struct pollfd end = { (int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0 };
	uint64_t one = 1;
	long before = LONG_MS;
	int status;

	w = watch(pid, c, &s);
	for (int i = 0; i < 3 && says; i++) {
		wait_until_in(pid, i ? c->nr_then : c->nr);
		cr_assert_eq(stop(w, &s), 0);
		cr_assert_eq((long)s.regs.rax, -514);
		cr_assert_eq((long)s.regs.orig_rax, c->nr_then);
		if (!c->finite)
			cr_assert_eq((long)s.regs.r10, c->time);
		else
			cr_assert((long)s.regs.r10 > 0 && (long)s.regs.r10 <= before);
		before = (long)s.regs.r10;
	}
	if (!says)
		cr_assert_eq(stop(w, &s), 0);
	cr_assert_eq(write(event, &one, sizeof(one)), (ssize_t)sizeof(one));
	/* the watcher reaps it */
	cr_assert_eq(poll(&end, 1, -1), 1);
	cr_assert_eq(rrc_execwatch_init_status(w, &status), 1);
	rrc_execwatch_stop(w, 0);
	close(event);
	close(end.fd);
	return WEXITSTATUS(status);
}

Test(again, a_wait_that_a_stop_broke_off_goes_on, .timeout = 60)
{
	for (size_t i = 0; i < RRC_ARRAY_SIZE(calls); i++)
		cr_assert_eq(stop_often(&calls[i], 1), 0, "call %zu", i);
}

/* Its time counts from when it began, whatever was between. */
Test(again, the_rest_is_of_the_time_that_it_had_at_first, .timeout = 60)
{
	struct said s = { .broken_off = 1 };
	pid_t pid = start(&calls[1]);
	struct rrc_execwatch *w;

	s.began = rrc_now_ns(CLOCK_MONOTONIC) - 60000000000ull;
	w = watch(pid, &calls[1], &s);
	cr_assert_eq(stop(w, &s), 0);
	cr_assert((long)s.regs.r10 > 0 && (long)s.regs.r10 <= LONG_MS - 60000);
	kill(pid, SIGKILL);
	rrc_execwatch_stop(w, 0);
}

/* The log says that it saw EINTR: so it does. */
Test(again, the_log_has_the_word, .timeout = 60)
{
	cr_assert_eq(stop_often(&calls[0], 0), 2);
}
