// SPDX-License-Identifier: MIT
/* Other processes: their threads and ids, stopping them, a call made inside them, their memory. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ptrace.h"
#include "util.h"
#include "vdso.h"

#define KERNEL_SIGSET_BYTES 8

static int append(pid_t **list, int *n, int *cap, pid_t id)
{
	if (*n == *cap) {
		int want = *cap ? *cap * 2 : 16;
		pid_t *more = realloc(*list, (size_t)want * sizeof(**list));

		if (!more)
			return -ENOMEM;
		*list = more;
		*cap = want;
	}
	(*list)[(*n)++] = id;
	return 0;
}

/* The directory's entries that are numbers and pass the filter. */
static int numbers(const char *path, bool (*keep)(pid_t id, uint64_t arg), uint64_t arg,
		   pid_t **list)
{
	DIR *dir = opendir(path);
	int n = 0, cap = 0, r = 0;
	struct dirent *d;

	*list = NULL;
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while (!r && (d = readdir(dir))) {
		pid_t id = isdigit((unsigned char)d->d_name[0]) ? atoi(d->d_name) : 0;

		if (id > 0 && (!keep || keep(id, arg)))
			r = append(list, &n, &cap, id);
	}
	closedir(dir);
	if (r) {
		free(*list);
		*list = NULL;
		return r;
	}
	return n;
}

int rrc_threads(pid_t pid, pid_t **tids)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	return numbers(path, NULL, 0, tids);
}

uint64_t rrc_pidns_ino(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

static bool in_pidns(pid_t pid, uint64_t ino)
{
	return rrc_pidns_ino(pid) == ino;
}

int rrc_pidns_processes(uint64_t pidns_ino, pid_t **pids)
{
	int n = numbers("/proc", in_pidns, pidns_ino, pids);

	for (int i = 0; i < n; i++) {
		if (rrc_ns_tid((*pids)[i]) == 1) {
			pid_t init = (*pids)[i];

			(*pids)[i] = (*pids)[0];
			(*pids)[0] = init;
			break;
		}
	}
	return n;
}

int rrc_ns_tid(pid_t tid)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], line[512], *last;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "NSpid:", 6))
			continue;
		last = strrchr(line, '\t');
		return last ? atoi(last + 1) : -EPROTO;
	}
	return -ESRCH;
}

static bool listed(const pid_t *tids, int n, pid_t tid)
{
	for (int i = 0; i < n; i++)
		if (tids[i] == tid)
			return true;
	return false;
}

/* Waits until a seized and interrupted thread has stopped. A signal on its way in is put back, to be
 * delivered when the thread runs on. */
static int wait_interrupted(pid_t tid)
{
	int status;

	for (;;) {
		if (waitpid(tid, &status, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (status >> 16 == PTRACE_EVENT_STOP)
			return 0;
		/* any other stop comes first; the interrupt is still pending behind it */
		if (ptrace(PTRACE_CONT, tid, NULL,
			   (status >> 16) == 0 ? (long)WSTOPSIG(status) : 0L) &&
		    errno != ESRCH)
			return -errno;
	}
}

/* Has it ended, with nobody having asked for it yet? Such a task refuses to be seized. */
static bool is_zombie(pid_t tid)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], line[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	f = fopen(path, "re");
	p = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	return p && p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X');
}

static int seize_stop(pid_t tid, unsigned long options)
{
	if (ptrace(PTRACE_SEIZE, tid, NULL, options))
		return -errno;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
		return -errno;
	return wait_interrupted(tid);
}

int rrc_seize_process(pid_t pid, unsigned long options, pid_t **tids, struct rrc_error *err)
{
	int have = 0, cap = 0, r = 0;
	bool again = true;

	*tids = NULL;
	while (again && !r) {
		rrc_autofree pid_t *now = NULL;
		int n = rrc_threads(pid, &now);

		again = false;
		if (n < 0)
			r = n;
		for (int i = 0; i < n && !r; i++) {
			if (listed(*tids, have, now[i]))
				continue;
			r = seize_stop(now[i], options);
			if (r == -EPERM && is_zombie(now[i])) {
				r = 0;
				continue;
			}
			again = true; /* it may have made others before it stopped */
			if (r == -ESRCH)
				r = 0;
			else if (!r)
				r = append(tids, &have, &cap, now[i]);
		}
		if (!r && !have)
			r = -ESRCH;
	}
	if (!r)
		return have;
	for (int i = 0; i < have; i++)
		ptrace(PTRACE_DETACH, (*tids)[i], NULL, NULL);
	free(*tids);
	*tids = NULL;
	return rrc_fail(err, r, "cannot stop process %d: %s", pid, strerror(-r));
}

/* Seized, a thread in a stop says so at once, and one that is on its way there when it has come to it. */
static int await_thread(pid_t tid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, 0))
		return errno == ESRCH || (errno == EPERM && is_zombie(tid)) ? 0 : -errno;
	for (;;) {
		while (waitpid(tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFSTOPPED(status))
			return 0;
		if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP)
			break;
		if (ptrace(PTRACE_CONT, tid, NULL, status >> 16 ? 0L : (long)WSTOPSIG(status)) &&
		    errno != ESRCH)
			return -errno;
	}
	return ptrace(PTRACE_DETACH, tid, NULL, NULL) && errno != ESRCH ? -errno : 0;
}

int rrc_await_stop(pid_t pid, struct rrc_error *err)
{
	rrc_autofree pid_t *tids = NULL;
	int n = rrc_threads(pid, &tids), r = n < 0 ? n : 0;

	for (int i = 0; i < n && !r; i++)
		r = await_thread(tids[i]);
	return r ? rrc_fail(err, r, "process %d does not stop: %s", pid, strerror(-r)) : 0;
}

/* Address of an instruction `syscall` that thread tid can execute, or 0. */
static uint64_t find_syscall(pid_t tid, uint64_t ip)
{
	static const uint8_t insn[2] = { 0x0f, 0x05 };
	uint8_t code[4096];
	uint64_t start, end;

	if (!rrc_mem_read(tid, ip - 2, code, 4)) {
		if (!memcmp(code, insn, 2))
			return ip - 2;
		if (!memcmp(code + 2, insn, 2))
			return ip;
	}
	if (rrc_vdso_range(tid, &start, &end))
		return 0;
	for (uint64_t at = start; at < end; at += sizeof(code)) {
		uint8_t *hit;

		if (rrc_mem_read(tid, at, code, sizeof(code)))
			return 0;
		hit = memmem(code, sizeof(code), insn, sizeof(insn));
		if (hit)
			return at + (uint64_t)(hit - code);
	}
	return 0;
}

/* Steps over the call at address at. Stops that are not the step's own are passed over; *stop: the process had been
 * told to stop, and has not yet. A thread that stood at a call's entry first leaves that call, which is a step of
 * its own. */
static int step_call(pid_t tid, uint64_t at, bool *stop)
{
	int status;

	for (;;) {
		if (ptrace(PTRACE_SINGLESTEP, tid, NULL, NULL))
			return -errno;
		while (waitpid(tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFSTOPPED(status))
			return -ESRCH;
		*stop |= status >> 8 == SIGSTOP;
		if (status >> 8 != SIGTRAP)
			continue;
		errno = 0;
		if (ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, regs.rip), NULL) !=
			    (long)at ||
		    errno)
			return -errno;
	}
}

int rrc_inject(pid_t tid, long nr, const uint64_t args[6], long *ret, struct rrc_error *err)
{
	uint64_t mask, all = ~0ull;
	struct user_regs_struct saved, regs;
	bool stop = false;
	uint64_t at;
	int r;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &saved) ||
	    ptrace(PTRACE_GETSIGMASK, tid, KERNEL_SIGSET_BYTES, &mask))
		return rrc_fail(err, -errno, "thread %d: %s", tid, strerror(errno));
	regs = saved;
	regs.rip = find_syscall(tid, saved.rip);
	if (!regs.rip)
		return rrc_fail(err, -ENOEXEC, "thread %d: no syscall instruction found", tid);
	regs.rax = (uint64_t)nr;
	regs.orig_rax = (uint64_t)-1; /* no restart of the call that it may stand in */
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];
	if (ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_BYTES, &all) ||
	    ptrace(PTRACE_SETREGS, tid, NULL, &regs))
		return rrc_fail(err, -errno, "thread %d: %s", tid, strerror(errno));
	at = regs.rip;
	r = step_call(tid, at, &stop);
	if (!r && ptrace(PTRACE_GETREGS, tid, NULL, &regs))
		r = -errno;
	/* No mask holds this one back, and the step has taken it: the process is still to stop. */
	if (stop)
		kill(tid, SIGSTOP);
	if (!r)
		*ret = (long)regs.rax;
	if (!r && (ptrace(PTRACE_SETREGS, tid, NULL, &saved) ||
		   ptrace(PTRACE_SETSIGMASK, tid, KERNEL_SIGSET_BYTES, &mask)))
		r = -errno;
	if (r)
		return rrc_fail(err, r, "call %ld injected into thread %d: %s", nr, tid,
				strerror(-r));
	return 0;
}

/* What process_vm_* may not touch (PROT_NONE, read-only pages) goes through the mem file. */
static int mem_file(pid_t pid, uint64_t addr, void *buf, size_t len, bool write_it)
{
	rrc_autoclose int fd = -1;
	char path[64];
	size_t done = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, (write_it ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	while (done < len) {
		ssize_t n =
			write_it ? pwrite(fd, (char *)buf + done, len - done, (off_t)(addr + done))
				 : pread(fd, (char *)buf + done, len - done, (off_t)(addr + done));

		if (n <= 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

int rrc_mem_read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec to = { buf, len }, from = { (void *)addr, len };

	if (!len)
		return 0;
	if (process_vm_readv(pid, &to, 1, &from, 1, 0) == (ssize_t)len)
		return 0;
	return mem_file(pid, addr, buf, len, false);
}

int rrc_mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec from = { (void *)buf, len }, to = { (void *)addr, len };

	if (!len)
		return 0;
	if (process_vm_writev(pid, &from, 1, &to, 1, 0) == (ssize_t)len)
		return 0;
	return mem_file(pid, addr, (void *)buf, len, true);
}
