// SPDX-License-Identifier: MIT
/*
 * The replay engine on small programs in a pid namespace of their own, with logs written by hand: what
 * it emulates, what it makes for real, what it calls a divergence, and what is left at go-live.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../replayer/engine.h"
#include "record.h"
#include "syscalls.h"

/* Shared by the guest, which is a fork of ours, so that a log can name its addresses. */
static char in[64], out[64];
static const char digits[] = "0123456789";
static int pipe_fds[2], back[2];

/* ---- logs ---- */

struct log {
	uint8_t bytes[16384];
	size_t len;
};

static struct rrc_rec *add(struct log *l, int kind, uint32_t tid)
{
	struct rrc_rec *r = (struct rrc_rec *)(l->bytes + l->len);

	memset(r, 0, sizeof(*r));
	r->size = sizeof(*r);
	r->kind = (uint8_t)kind;
	r->tid = tid;
	r->pid = tid;
	l->len += sizeof(*r);
	return r;
}

static struct rrc_rec *call(struct log *l, uint32_t tid, int nr, int64_t ret, uint64_t a,
			    uint64_t b, uint64_t c)
{
	struct rrc_rec *r = add(l, RRC_REC_SYSCALL, tid);

	r->nr = (uint16_t)nr;
	r->ret = ret;
	r->args[0] = a;
	r->args[1] = b;
	r->args[2] = c;
	return r;
}

/* One segment, for the last record. */
static void seg(struct log *l, struct rrc_rec *r, int row, int dir, const void *data, size_t n)
{
	struct rrc_seg s = { .len = (uint32_t)n, .row = (uint8_t)row, .dir = (uint8_t)dir };
	size_t padded = (sizeof(s) + n + 7) & ~(size_t)7;

	memset(l->bytes + l->len, 0, padded);
	memcpy(l->bytes + l->len, &s, sizeof(s));
	memcpy(l->bytes + l->len + sizeof(s), data, n);
	r->nseg = 1;
	r->size += (uint32_t)padded;
	l->len += padded;
}

static void fifo(struct rrc_rec *r, uint64_t obj)
{
	r->fdkind = RRC_FD_FIFO;
	r->obj = obj;
}

static void ends(struct log *l, uint32_t tid, int code)
{
	struct rrc_rec *r = add(l, RRC_REC_ENTER, tid);

	r->nr = RRC_NR_exit_group;
	r->args[0] = (uint64_t)code;
	r = add(l, RRC_REC_DEATH, tid);
	r->ret = code << 8;
}

/* ---- guests ---- */

struct start {
	void (*guest)(void);
};

static int child(void *arg)
{
	const struct start *s = arg;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
	/* waits here while it is stopped; the log begins with this read */
	syscall(SYS_read, pipe_fds[0], &c, 1);
	s->guest();
	syscall(SYS_exit_group, 99);
	return 99;
}

/* Stands in a call: the first field of /proc/PID/syscall is its number. */
static void wait_in_read(pid_t pid)
{
	char path[64], line[128] = "";

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	while (strncmp(line, "0 ", 2)) {
		FILE *f = fopen(path, "r");

		cr_assert(f && fgets(line, sizeof(line), f));
		fclose(f);
		sched_yield();
	}
}

static pid_t start(void (*guest)(void))
{
	static char stack[65536] __attribute__((aligned(16)));
	static struct start s;
	int status;
	pid_t pid;

	cr_assert(pipe(pipe_fds) == 0 && pipe(back) == 0);
	s.guest = guest;
	pid = clone(child, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, &s);
	if (pid < 0 && errno == EPERM)
		cr_skip_test("needs root");
	cr_assert(pid > 0);
	wait_in_read(pid);
	kill(pid, SIGSTOP);
	cr_assert(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	return pid;
}

/* The read that every guest starts in: end of file. */
static void begins(struct log *l)
{
	struct rrc_rec *r = call(l, 1, RRC_NR_read, 0, (uint64_t)pipe_fds[0], 0, 1);

	fifo(r, 1);
}

static struct rrc_engine *engine(pid_t pid, const struct log *l)
{
	struct rrc_engine_opts opts = { .fs_exact = true, .cpu = -1, .stall_ms = 2000 };
	struct rrc_error err = { 0 };
	struct rrc_engine *e = rrc_engine_new(pid, l->bytes, l->len, &opts, &err);

	cr_assert(e, "%s", err.msg);
	return e;
}

/* The address of the byte that the guest reads first is on its stack: known from the kernel. */
static void set_first_buffer(pid_t pid, struct log *l)
{
	struct rrc_rec *r = (struct rrc_rec *)l->bytes;
	unsigned long long fd, buf;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	f = fopen(path, "r");
	cr_assert(f && fgets(line, sizeof(line), f));
	fclose(f);
	cr_assert(sscanf(line, "0 0x%llx 0x%llx", &fd, &buf) == 2, "%s", line);
	r->args[1] = buf;
}

static int run(pid_t pid, struct log *l, struct rrc_engine **e, struct rrc_error *err)
{
	set_first_buffer(pid, l);
	*e = engine(pid, l);
	return rrc_engine_run(*e, err);
}

static void echo(void)
{
	long n = syscall(SYS_read, 0, in, sizeof(in));

	syscall(SYS_write, 1, in, n);
	syscall(SYS_exit_group, 7);
}

static void echo_log(struct log *l, const char *written)
{
	struct rrc_rec *r;

	begins(l);
	r = call(l, 1, RRC_NR_read, 5, 0, (uint64_t)in, sizeof(in));
	r->fdkind = RRC_FD_TCP;
	seg(l, r, 0, RRC_SEG_OUT, "hello", 5);
	r = call(l, 1, RRC_NR_write, 5, 1, (uint64_t)in, 5);
	r->fdkind = RRC_FD_TCP;
	seg(l, r, 0, RRC_SEG_IN, written, 5);
	ends(l, 1, 7);
}

Test(engine, emulates_and_compares, .timeout = 30)
{
	const struct rrc_engine_report *rep;
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(echo);

	echo_log(&l, "hello");
	cr_assert(run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rep = rrc_engine_report(e);
	cr_assert(rep->calls == 4 && rep->deaths == 1 && rep->outputs == 1);
	cr_assert(rep->output_bytes == 5 && rep->passed == rep->records);
	rrc_engine_kill(e);
	cr_assert(kill(pid, 0) == -1 && errno == ESRCH);
}

Test(engine, names_other_output, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(echo);

	echo_log(&l, "hullo");
	cr_assert(run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(err.exit == RRC_EXIT_DIVERGED);
	cr_assert(strstr(err.msg, "record 2 of 5") && strstr(err.msg, "hello"), "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, names_other_call, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(echo);

	begins(&l);
	call(&l, 1, RRC_NR_getppid, 0, 0, 0, 0);
	cr_assert(run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(strstr(err.msg, "calls read") && strstr(err.msg, "getppid"), "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, names_other_argument, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(echo);

	begins(&l);
	call(&l, 1, RRC_NR_read, 0, 0, (uint64_t)in, sizeof(in) + 1);
	cr_assert(run(pid, &l, &e, &err) == -EILSEQ);
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
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(computes);

	begins(&l);
	call(&l, 1, RRC_NR_getppid, 0, 0, 0, 0);
	cr_assert(run(pid, &l, &e, &err) == -EILSEQ);
	cr_assert(strstr(err.msg, "nothing moved") && strstr(err.msg, "computes"), "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, computing_at_the_end_is_parked, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(computes);

	begins(&l);
	cr_assert(run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rrc_engine_kill(e);
}

Test(engine, a_barrier_ends_it, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(echo);

	begins(&l);
	call(&l, 1, RRC_NR_getppid, 0, 0, 0, 0)->flags = RRC_F_BARRIER;
	cr_assert(run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(rrc_engine_report(e)->barrier_at == sizeof(struct rrc_rec));
	cr_assert(rrc_engine_report(e)->records == 1);
	rrc_engine_kill(e);
}

/* The primary died while a checkpoint was on its way: its cut is in the log, its commit never came. */
Test(engine, a_cut_that_was_not_committed_does_not_end_it, .timeout = 30)
{
	const struct rrc_engine_report *rep;
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	struct rrc_rec *r;
	pid_t pid = start(echo);

	begins(&l);
	r = call(&l, 1, RRC_NR_read, 5, 0, (uint64_t)in, sizeof(in));
	r->fdkind = RRC_FD_TCP;
	seg(&l, r, 0, RRC_SEG_OUT, "hello", 5);
	add(&l, RRC_REC_CUT, 0)->args[0] = 2;
	r = call(&l, 1, RRC_NR_write, 5, 1, (uint64_t)in, 5);
	r->fdkind = RRC_FD_TCP;
	seg(&l, r, 0, RRC_SEG_IN, "hello", 5);
	cr_assert(run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rep = rrc_engine_report(e);
	cr_assert(rep->outputs == 1 && rep->passed == rep->records);
	rrc_engine_kill(e);
}

static void forks(void)
{
	long pid = syscall(SYS_fork);

	if (!pid)
		syscall(SYS_exit_group, (int)syscall(SYS_getpid) == 77 ? 3 : 4);
	syscall(SYS_wait4, pid, in, 0, NULL);
	syscall(SYS_write, 1, in, 4);
	syscall(SYS_exit_group, (int)pid);
}

Test(engine, children_get_their_ids, .timeout = 30)
{
	const int status = 3 << 8;
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	struct rrc_rec *r;
	pid_t pid = start(forks);

	begins(&l);
	r = add(&l, RRC_REC_BIRTH, 1);
	r->ret = 77;
	r->args[1] = 77;
	call(&l, 77, RRC_NR_getpid, 77, 0, 0, 0); /* before its parent's call returns */
	call(&l, 1, RRC_NR_fork, 77, 0, 0, 0);
	ends(&l, 77, 3);
	r = call(&l, 1, RRC_NR_wait4, 77, 77, (uint64_t)in, 0);
	seg(&l, r, 0, RRC_SEG_OUT, &status, sizeof(status));
	r = call(&l, 1, RRC_NR_write, 4, 1, (uint64_t)in, 4);
	seg(&l, r, 0, RRC_SEG_IN, &status, sizeof(status));
	ends(&l, 1, 77);
	cr_assert(run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(rrc_engine_report(e)->births == 1 && rrc_engine_report(e)->deaths == 2);
	rrc_engine_kill(e);
}

static int put_end, take_end;

static void puts_and_takes(void)
{
	syscall(SYS_write, put_end, digits, 10);
	syscall(SYS_read, take_end, in, 4);
	/* here the log ends */
	long n = syscall(SYS_read, take_end, out, sizeof(out));

	syscall(SYS_write, back[1], out, n);
	for (;;)
		syscall(SYS_pause);
}

/* Runs the log to its end, goes live, gives what the guest then writes. */
static void live(pid_t pid, struct log *l, char *buf, size_t size)
{
	struct pollfd p = { .fd = back[0], .events = POLLIN };
	struct rrc_error err = { 0 };
	struct rrc_engine *e;
	ssize_t n;

	cr_assert(run(pid, l, &e, &err) == 0, "%s", err.msg);
	cr_assert(poll(&p, 1, 0) == 0, "something was written before go-live");
	cr_assert(rrc_engine_golive(e, &err) == 0, "%s", err.msg);
	rrc_engine_free(e);
	cr_assert(poll(&p, 1, 10000) == 1);
	n = read(back[0], buf, size - 1);
	cr_assert(n > 0);
	buf[n] = '\0';
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Ten bytes are put in and four taken out, by the log; what is left then? */
static void puts_and_takes_log(struct log *l, int kind, const char *taken)
{
	struct rrc_rec *r;

	begins(l);
	r = call(l, 1, RRC_NR_write, 10, (uint64_t)put_end, (uint64_t)digits, 10);
	r->fdkind = (uint8_t)kind;
	r->obj = 8;
	seg(l, r, 0, RRC_SEG_IN, digits, 10);
	r = call(l, 1, RRC_NR_read, 4, (uint64_t)take_end, (uint64_t)in, 4);
	r->fdkind = (uint8_t)kind;
	r->obj = kind == RRC_FD_UNIX ? 9 : 8;
	seg(l, r, 0, RRC_SEG_OUT, taken, 4);
}

Test(engine, pipes_are_right_at_golive, .timeout = 30)
{
	struct log l = { .len = 0 };
	int fds[2];
	char buf[64];
	pid_t pid;

	cr_assert(pipe(fds) == 0);
	take_end = fds[0];
	put_end = fds[1];
	pid = start(puts_and_takes);
	puts_and_takes_log(&l, RRC_FD_FIFO, "0123");
	live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "456789");
}

Test(engine, pipes_that_were_not_empty_are_right_at_golive, .timeout = 30)
{
	struct log l = { .len = 0 };
	int fds[2];
	char buf[64];
	pid_t pid;

	cr_assert(pipe(fds) == 0 && write(fds[1], "AB", 2) == 2);
	take_end = fds[0];
	put_end = fds[1];
	pid = start(puts_and_takes);
	puts_and_takes_log(&l, RRC_FD_FIFO, "AB01");
	live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "23456789");
}

Test(engine, unix_sockets_are_right_at_golive, .timeout = 30)
{
	struct log l = { .len = 0 };
	int fds[2];
	char buf[64];
	pid_t pid;

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	take_end = fds[0];
	put_end = fds[1];
	pid = start(puts_and_takes);
	puts_and_takes_log(&l, RRC_FD_UNIX, "0123");
	live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "456789");
}

static void counts(void)
{
	uint64_t *value = (uint64_t *)in;

	syscall(SYS_write, put_end, digits, 8);
	syscall(SYS_write, put_end, digits + 1, 8);
	/* here the log ends */
	syscall(SYS_read, put_end, value, sizeof(*value));
	syscall(SYS_write, back[1], value, sizeof(*value));
	for (;;)
		syscall(SYS_pause);
}

Test(engine, eventfds_are_right_at_golive, .timeout = 30)
{
	struct log l = { .len = 0 };
	uint64_t a, b;
	struct rrc_rec *r;
	char buf[64];
	pid_t pid;

	memcpy(&a, digits, sizeof(a));
	memcpy(&b, digits + 1, sizeof(b));
	put_end = eventfd(5, 0);
	pid = start(counts);
	begins(&l);
	for (int i = 0; i < 2; i++) {
		r = call(&l, 1, RRC_NR_write, 8, (uint64_t)put_end, (uint64_t)(digits + i), 8);
		r->fdkind = RRC_FD_ANON;
		r->obj = 77;
		seg(&l, r, 0, RRC_SEG_IN, digits + i, 8);
	}
	live(pid, &l, buf, sizeof(buf));
	memcpy(&a, (const uint64_t[]){ a + b + 5 }, sizeof(a));
	cr_assert(memcmp(buf, &a, sizeof(a)) == 0);
}

static volatile sig_atomic_t got;

static void handler(int sig, siginfo_t *si, void *ctx)
{
	(void)ctx;
	got = sig == SIGUSR1 ? si->si_pid : -1;
}

static void tell_who(void)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", got);

	syscall(SYS_write, back[1], text, n);
	for (;;)
		syscall(SYS_pause);
}

static void waits_for_a_signal(void)
{
	syscall(SYS_pause);
	tell_who();
}

/* Set before the guest is forked: then its log need not have it. */
static void set_handler(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR1, &sa, NULL);
}

/* Registers of the guest where a log with nothing in it leaves it: at its first call. */
static struct user_regs_struct first_call(void (*guest)(void))
{
	struct user_regs_struct regs;
	struct rrc_error err = { 0 };
	struct log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = start(guest);

	begins(&l);
	cr_assert(run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0);
	rrc_engine_kill(e);
	for (int i = 0; i < 2; i++) { /* the next guest's descriptors are to be the same */
		close(pipe_fds[i]);
		close(back[i]);
	}
	return regs;
}

Test(engine, signals_come_as_recorded, .timeout = 30)
{
	struct user_regs_struct regs;
	struct rrc_rec_signal sig = { 0 };
	siginfo_t si = { .si_signo = SIGUSR1, .si_code = SI_USER };
	struct log l = { .len = 0 };
	struct rrc_rec *r;
	char buf[64];
	pid_t pid;

	set_handler();
	regs = first_call(waits_for_a_signal);
	pid = start(waits_for_a_signal);
	begins(&l);
	call(&l, 1, RRC_NR_pause, -514, 0, 0, 0);
	si.si_pid = 4242;
	sig.ip = regs.rip;
	sig.sp = regs.rsp;
	sig.ax = -514;
	sig.orig_ax = RRC_NR_pause;
	memcpy(sig.info, &si, sizeof(sig.info));
	r = add(&l, RRC_REC_SIGNAL, 1);
	r->ret = SIGUSR1;
	seg(&l, r, 0, 0, &sig, sizeof(sig));
	live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "4242");
}

static void signals_itself(void)
{
	syscall(SYS_kill, 1, SIGUSR1);
	while (!got)
		syscall(SYS_getppid);
	tell_who();
}

Test(engine, signals_that_nobody_got_come_at_golive, .timeout = 30)
{
	struct log l = { .len = 0 };
	char buf[64];
	pid_t pid;

	set_handler();
	pid = start(signals_itself);
	begins(&l);
	call(&l, 1, RRC_NR_kill, 0, 1, SIGUSR1, 0);
	live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "1");
}
