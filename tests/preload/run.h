/* SPDX-License-Identifier: MIT */
/* A program under the lock log, without the rest: started, drained into memory, fed again. Shared by the
 * programs of this directory. */
#ifndef RRC_TEST_RUN_H
#define RRC_TEST_RUN_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "locklog.h"
#include "ptrace.h"

struct log {
	struct rrc_locklog_feed feed[RRC_LL_SLOTS];
	uint32_t drained[RRC_LL_SLOTS];
	uint32_t skipped;
};

struct run {
	pid_t pid;
	int pidfd, out;
	int status;
	struct rrc_locklog ll;
	char output[65536];
	size_t length;
};

static void die(const char *what)
{
	fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
	exit(3);
}

static inline pid_t spawn(const char *library, char **argv, int out)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	personality(ADDR_NO_RANDOMIZE);
	dup2(out, 1);
	close(out);
	setenv("LD_PRELOAD", library, 1);
	setenv("LD_BIND_NOW", "1", 1); /* no detours of the loader in what is stepped through */
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	execvp(argv[0], argv);
	_exit(127);
}

/* To the return of the constructor's last call, close(2) of the area. */
static bool to_constructor(pid_t pid)
{
	struct user_regs_struct regs;
	char name[sizeof(RRC_LL_NAME)];
	bool entry = true, made = false;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return false;
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0) < 0 || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status))
			return false;
		if (ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0)
			return false;
		entry = !entry;
		if (!entry)
			continue;
		if (regs.orig_rax == SYS_memfd_create)
			made = !rrc_mem_read(pid, regs.rdi, name, sizeof(name)) &&
			       !strcmp(name, RRC_LL_NAME);
		if (regs.orig_rax == SYS_close && made)
			return true;
	}
}

static inline void start(struct run *r, const char *library, char **argv)
{
	struct rrc_error err = { 0 };
	int pipefd[2];

	memset(r, 0, sizeof(*r));
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		die("pipe");
	r->pid = spawn(library, argv, pipefd[1]);
	close(pipefd[1]);
	r->out = pipefd[0];
	if (!to_constructor(r->pid)) {
		fprintf(stderr, "harness: %s ended before it made a lock log\n", argv[0]);
		exit(3);
	}
	if (rrc_locklog_open(r->pid, &r->ll, &err) < 0) {
		fprintf(stderr, "harness: %s\n", err.msg);
		exit(3);
	}
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pidfd < 0)
		die("pidfd_open");
}

static void go(struct run *r)
{
	if (ptrace(PTRACE_DETACH, r->pid, 0, 0) < 0)
		die("detach");
}

static void take_output(struct run *r)
{
	ssize_t n;

	n = read(r->out, r->output + r->length, sizeof(r->output) - r->length);
	if (n > 0)
		r->length += (size_t)n;
	else if (n == 0) {
		close(r->out);
		r->out = -1;
	}
}

/* True: it ended. */
static inline bool step(struct run *r, int ms)
{
	struct pollfd p[2] = { { r->pidfd, POLLIN, 0 }, { r->out, POLLIN, 0 } };

	if (poll(p, 2, ms) < 0)
		die("poll");
	if (p[1].revents && r->out >= 0) {
		take_output(r);
		return false;
	}
	if (!p[0].revents)
		return false;
	if (waitpid(r->pid, &r->status, 0) != r->pid)
		die("waitpid");
	return true;
}

static inline void finish(struct run *r)
{
	close(r->pidfd);
	if (r->out >= 0)
		close(r->out);
	rrc_locklog_close(&r->ll);
}

static void drain(struct run *r, struct log *log)
{
	static struct rrc_ll_event room[RRC_LL_RING];
	struct rrc_locklog_batch b = { .events = room };
	uint32_t i;

	r->ll.area->wanted = 0;
	for (i = 0; i < r->ll.area->slots; i++) {
		struct rrc_locklog_feed *f = &log->feed[i];

		rrc_locklog_drain(&r->ll, i, &b);
		f->events = realloc(f->events, (f->count + b.count + 1) * sizeof(room[0]));
		if (!f->events)
			die("memory");
		memcpy(f->events + f->count, room, b.count * sizeof(room[0]));
		f->count += b.count;
		f->total = b.ops;
		f->done = b.done;
		if (f->count && (int32_t)(f->events[f->count - 1].n - f->total) > 0)
			f->total = f->events[f->count - 1].n;
	}
}

static void feed(struct run *r, const struct log *log)
{
	uint32_t *runs = rrc_locklog_runs(&r->ll, log->feed);
	size_t page = 4096, size = page, n = 0;
	struct rrc_error err = { 0 };
	uint64_t at, runs_at;
	uint32_t i;
	long ret;

	for (i = 0; i < RRC_LL_SLOTS; i++)
		n += log->feed[i].count;
	size += n * (sizeof(struct rrc_ll_event) + sizeof(*runs));
	size = (size + page - 1) & ~(page - 1);
	if (rrc_inject(r->pid, SYS_mmap,
		       (uint64_t[6]){ RRC_LL_FEED_BASE, size, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
				      (uint64_t)-1, 0 },
		       &ret, &err) < 0 ||
	    ret != (long)RRC_LL_FEED_BASE) {
		fprintf(stderr, "harness: no room for the feed: %s (%ld)\n", err.msg, ret);
		exit(3);
	}
	at = RRC_LL_FEED_BASE;
	runs_at = at + n * sizeof(struct rrc_ll_event);
	if (!runs || (n && rrc_mem_write(r->pid, runs_at, runs, n * sizeof(*runs)) < 0))
		die("runs");
	free(runs);
	for (i = 0; i < RRC_LL_SLOTS; i++) {
		const struct rrc_locklog_feed *f = &log->feed[i];
		size_t bytes = f->count * sizeof(struct rrc_ll_event);

		if (bytes && rrc_mem_write(r->pid, at, f->events, bytes) < 0)
			die("feed");
		rrc_locklog_feed(&r->ll, i, at, runs_at, f->count, f->total);
		at += bytes;
		runs_at += f->count * sizeof(uint32_t);
	}
	rrc_locklog_fed(&r->ll);
}

static void describe(struct run *r)
{
	char line[512];
	uint32_t i;

	for (i = 0; i < r->ll.area->slots; i++) {
		rrc_locklog_describe(&r->ll, i, line, sizeof(line));
		printf("# slot %u: %s\n", i, line);
	}
}

/* Sum of everything that moves. */
static inline uint64_t progress(const struct run *r)
{
	uint64_t sum = r->length;
	uint32_t i;

	for (i = 0; i < r->ll.area->slots; i++)
		sum += r->ll.area->slot[i].ops + r->ll.area->slot[i].feed_pos;
	return sum;
}

#endif
