/* SPDX-License-Identifier: MIT */
/* What the tests of the fork module have in common: the device, a container in a pid namespace of its own,
 * looks into processes. A test says each of its cases by check(). */
#ifndef RRC_KMOD_AGENT_H
#define RRC_KMOD_AGENT_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "container.h"
#include "rrc_fork.h"

#define PARAM "/sys/module/rrc_fork/parameters/"

static bool all_ok = true;

__attribute__((format(printf, 2, 3), unused)) static bool check(bool ok, const char *fmt, ...)
{
	va_list ap;

	all_ok = all_ok && ok;
	va_start(ap, fmt);
	printf("%s ", ok ? "ok" : "not ok");
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	return ok;
}

__attribute__((format(printf, 1, 2), noreturn, unused)) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("not ok ");
	vprintf(fmt, ap);
	va_end(ap);
	printf(": %s\n", strerror(errno));
	exit(1);
}

__attribute__((unused)) static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((unused)) static long param(const char *name)
{
	char path[128];
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), PARAM "%s", name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%ld", &v) != 1)
		die("%s", path);
	fclose(f);
	return v;
}

__attribute__((unused)) static void set_stop(int phase)
{
	FILE *f = fopen(PARAM "stop_at", "w");

	if (!f || fprintf(f, "%d\n", phase) < 0 || fclose(f))
		die("stop_at");
}

__attribute__((unused)) static int open_device(void)
{
	int fd = open(RRC_FORK_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(RRC_FORK_DEVICE);
	return fd;
}

/* The first process of a new pid namespace runs ARGV; it goes when this process does. */
__attribute__((unused)) static pid_t spawn_container(char *const argv[])
{
	pid_t pid;
	int self = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

	if (self < 0 || unshare(CLONE_NEWPID))
		die("unshare");
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
			_exit(127);
		execv(argv[0], argv);
		_exit(127);
	}
	/* Children of ours are to be born here again. */
	if (pid < 0 || setns(self, CLONE_NEWPID))
		die("container");
	close(self);
	return pid;
}

__attribute__((unused)) static int pidns_of(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s", path);
	return fd;
}

__attribute__((unused)) static bool read_memory(pid_t pid, unsigned long at, void *to, size_t n)
{
	struct iovec local = { to, n }, remote = { (void *)at, n };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

/* Waits until every activity of the container in MASK went on; false after SECONDS, WHICH is then who did not. */
__attribute__((unused)) static bool these_go_on(pid_t container, double seconds, unsigned int mask,
						int *which)
{
	struct shared first, s;
	double end = now() + seconds;

	if (!read_memory(container, SHARED_AT, &first, sizeof(first)))
		return false;
	for (;;) {
		*which = -1;
		if (!read_memory(container, SHARED_AT, &s, sizeof(s)) || s.wrong)
			return false;
		for (int i = 0; i < PROGRESS; i++)
			if ((mask & 1u << i) && s.progress[i] == first.progress[i])
				*which = i;
		if (*which < 0)
			return true;
		if (now() > end)
			return false;
		usleep(1000);
	}
}

__attribute__((unused)) static bool goes_on(pid_t container, double seconds, int *which)
{
	return these_go_on(container, seconds, ~0u, which);
}

__attribute__((unused)) static pid_t start_stress(const char *program)
{
	char *argv[] = { (char *)program, (char *)"/tmp/kmod-container", NULL };
	double end = now() + 10;
	pid_t pid = spawn_container(argv);
	int which;

	/* Its memory comes first. */
	while (!read_memory(pid, SHARED_AT, &which, sizeof(which)) && now() < end)
		usleep(1000);
	if (!goes_on(pid, 10, &which))
		die("the container does not start: %d", which);
	return pid;
}

__attribute__((unused)) static struct rrc_fork_park park_of(int pidns)
{
	return (struct rrc_fork_park){
		.version = RRC_FORK_VERSION,
		.by = RRC_FORK_BY_PIDNS,
		.fd = pidns,
		.try_us = 20000,
		.tries = 200,
		.hold_ms = 10000,
	};
}

/* 0, or the error's number. */
__attribute__((unused)) static int call(int dev, unsigned long cmd, void *arg)
{
	return ioctl(dev, cmd, arg) ? errno : 0;
}

__attribute__((unused)) static void must_call(int dev, unsigned long cmd, void *arg,
					      const char *what)
{
	errno = call(dev, cmd, arg);
	if (errno)
		die("%s", what);
}

/* LIST into room for MAX; how many. */
__attribute__((unused)) static int list(int dev, struct rrc_fork_process *to, int max)
{
	struct rrc_fork_list l = { .processes = (unsigned long)to, .room = (unsigned int)max };

	must_call(dev, RRC_FORK_LIST, &l, "LIST");
	return (int)l.n;
}

__attribute__((unused)) static const struct rrc_fork_process *
of_vpid(const struct rrc_fork_process *p, int n, int vpid)
{
	for (int i = 0; i < n; i++)
		if (p[i].vpid == vpid)
			return &p[i];
	return NULL;
}

/* STATE; the caller frees. */
__attribute__((unused)) static void *state(int dev, size_t *size)
{
	struct rrc_fork_state s = { 0 };

	if (call(dev, RRC_FORK_STATE, &s) != (s.size ? ENOSPC : 0))
		die("STATE");
	s.buf = (unsigned long)malloc(s.size);
	s.room = s.size;
	must_call(dev, RRC_FORK_STATE, &s, "STATE");
	*size = s.size;
	return (void *)(unsigned long)s.buf;
}

/* The next record of KIND and process behind R (NULL: from the start). */
__attribute__((unused)) static const void *next_rec(const void *all, size_t size, const void *r,
						    unsigned int kind, int pid)
{
	const char *p = all, *end = p + size;
	const struct rrc_fork_rec *rec = r;

	p = r ? (const char *)r + rec->size : p;
	for (; p < end; p += rec->size) {
		rec = (const struct rrc_fork_rec *)p;
		if (rec->kind == kind && rec->pid == pid)
			return rec;
	}
	return NULL;
}

#endif
