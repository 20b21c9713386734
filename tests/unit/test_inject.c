/* SPDX-License-Identifier: MIT */
/* What injection stands on: names of objects in another process, its stack walked, its functions called. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "help.h"
#include "objects.h"
#include "ptrace.h"
#include "remotecall.h"
#include "unwind.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int told[2];

/* Waits for ever; its caller is this function. */
static __attribute__((noinline)) void wait_in_libc(void)
{
	pthread_mutex_lock(&mutex);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
}

static __attribute__((noinline)) void wait_in_poll(void)
{
	char c;

	/* its stack shows whether a call is broken off for nothing */
	while (read(told[0], &c, 1) != 1)
		_exit(errno == EINTR ? 3 : 4);
	_exit(c);
}

static pid_t child(void (*body)(void))
{
	pid_t pid = fork();

	if (!pid) {
		body();
		_exit(1);
	}
	cr_assert_gt(pid, 0);
	return pid;
}

/* Until the child stands in call nr. */
static void stop_in(pid_t pid, long nr, struct rrc_stopped *s)
{
	for (;;) {
		cr_assert_eq(rrc_stop_process(pid, s, NULL), 0);
		cr_assert_eq(s->n, 1);
		if ((long)s->regs[0].orig_rax == nr)
			return;
		rrc_stopped_free(s);
	}
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(inject, names_of_an_object)
{
	pid_t pid = child(wait_in_libc);
	const char *name;
	struct rrc_object o;
	size_t i = 0;
	int seen = 0;

	cr_assert_eq(rrc_object_open(pid, "no-such-file*", &o), -ENOENT);
	cr_assert_eq(rrc_object_open(pid, "libc.so.6", &o), 0);
	/* the child is a fork: all is where it is here */
	cr_assert_eq(rrc_object_find(&o, "pthread_cond_broadcast"),
		     (uint64_t)dlsym(RTLD_DEFAULT, "pthread_cond_broadcast"));
	cr_assert_eq(rrc_object_find(&o, "there is no such name"), 0);
	while ((name = rrc_object_name(&o, rrc_object_find(&o, "fopen") + 3, &i)))
		seen |= !strcmp(name, "fopen");
	cr_assert(seen);
	cr_assert_null(rrc_object_name(&o, o.end + 1, (size_t[]){ 0 }));
	cr_assert(rrc_object_has(&o, o.base));
	cr_assert_not(rrc_object_has(&o, o.end));
	rrc_object_close(&o);
	end(pid);
}

Test(inject, walks_out_of_libc)
{
	pid_t pid = child(wait_in_libc);
	struct rrc_stopped s;
	struct rrc_object o;
	struct rrc_frame f;
	uint64_t word;
	int depth = 0;

	stop_in(pid, SYS_futex, &s);
	cr_assert_eq(rrc_object_open(pid, "libc.so.6", &o), 0);
	f = (struct rrc_frame){ .pc = s.regs[0].rip, .sp = s.regs[0].rsp, .bp = s.regs[0].rbp };
	for (; depth < 16 && rrc_object_has(&o, f.pc); depth++)
		cr_assert_eq(rrc_unwind(pid, o.frame_hdr, depth == 0, &f), 0);
	cr_assert_gt(depth, 0);
	cr_assert(f.pc > (uint64_t)&wait_in_libc && f.pc < (uint64_t)&wait_in_libc + 256);
	cr_assert_eq(rrc_mem_read(pid, f.slot, &word, sizeof(word)), 0);
	cr_assert_eq(word, f.pc);
	rrc_object_close(&o);
	rrc_stopped_free(&s);
	end(pid);
}

Test(inject, nonsense_is_not_walked)
{
	struct rrc_frame f = { .pc = 1 };
	uint8_t zeros[64] = { 0 };

	cr_assert_eq(rrc_unwind(getpid(), (uint64_t)&zeros, 1, &f), -ENOTSUP);
	cr_assert_eq(rrc_unwind(getpid(), 8, 1, &f), -EFAULT);
}

Test(inject, calls_and_leaves_no_trace)
{
	uint64_t args[2] = { 0, 0 };
	struct rrc_error err = { 0 };
	struct rrc_stopped s;
	struct rrc_object o;
	int status;
	time_t when = 400 * 86400;
	struct tm tm;
	pid_t pid;

	cr_assert_eq(pipe(told), 0);
	pid = child(wait_in_poll);
	stop_in(pid, SYS_read, &s);
	cr_assert_eq(rrc_object_open(pid, "libc.so.6", &o), 0);
	cr_assert(rrc_remote_has_stack(&s, 0));
	s.restorer = rrc_remote_restorer(pid, o.base, o.end);
	cr_assert_neq(s.restorer, 0);
	args[0] = rrc_remote_room(&s, 0);
	args[1] = args[0] + 100;
	cr_assert_eq(rrc_mem_write(pid, args[0], &when, sizeof(when)), 0);
	cr_assert_eq(rrc_remote_call(&s, 0, rrc_object_find(&o, "gmtime_r"), args, &err), 0, "%s",
		     err.msg);
	cr_assert_eq(rrc_mem_read(pid, args[1], &tm, sizeof(tm)), 0);
	cr_assert_eq(tm.tm_year, 71);
	/* what crashes is an error, and the thread is as it was */
	args[0] = 1;
	cr_assert_lt(rrc_remote_call(&s, 0, rrc_object_find(&o, "puts"), args, &err), 0);
	rrc_object_close(&o);
	rrc_stopped_free(&s);
	cr_assert_eq(write(told[1], "\x07", 1), 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x", (unsigned)status);
}
