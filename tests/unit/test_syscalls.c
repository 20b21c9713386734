// SPDX-License-Identifier: MIT
/*
 * lib/syscalls.c: the table is whole and consistent, says what independent lists below and the
 * running kernel say, and can be printed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/futex.h>
#include <linux/sockios.h>
#include <linux/stat.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "record.h"
#include "syscalls.h"
#include "util.h"

/* Numbers that x86-64 has up to kernel 6.18. */
static int assigned(unsigned int nr)
{
	return nr <= 336 || (nr >= 424 && nr <= 469);
}

Test(syscalls, every_number_has_a_name_and_a_row)
{
	for (unsigned int nr = 0; nr < RRC_NSYS; nr++) {
		const struct rrc_sysrow *row = rrc_sysrow(nr);

		if (!assigned(nr)) {
			cr_assert_null(rrc_sysname(nr), "%u", nr);
			cr_assert_eq(row->cls, RRC_BARRIER, "%u", nr);
			continue;
		}
		cr_assert_not_null(rrc_sysname(nr), "%u", nr);
		cr_assert_eq(rrc_sysnr(rrc_sysname(nr)), (int)nr, "%s", rrc_sysname(nr));
		/* A row that was left out is all zeros: a barrier about descriptor 0. */
		cr_assert(row->cls != RRC_BARRIER || row->fd == RRC_NO_FD || row->nargs > 0,
			  "%s has no row", rrc_sysname(nr));
	}
	cr_assert_eq(rrc_sysrow(100000)->cls, RRC_BARRIER);
	cr_assert_null(rrc_sysname(100000));
	cr_assert_eq(rrc_sysnr("no_such_call"), -1);
}

Test(syscalls, numbers_are_the_systems)
{
	/* clang-format off */
	static const struct { int nr; const char *name; } known[] = {
		{ SYS_read, "read" }, { SYS_mmap, "mmap" }, { SYS_rt_sigreturn, "rt_sigreturn" },
		{ SYS_sendfile, "sendfile" }, { SYS_clone, "clone" }, { SYS_execve, "execve" },
		{ SYS_fcntl, "fcntl" }, { SYS_getdents64, "getdents64" }, { SYS_futex, "futex" },
		{ SYS_restart_syscall, "restart_syscall" }, { SYS_openat, "openat" },
		{ SYS_accept4, "accept4" }, { SYS_recvmmsg, "recvmmsg" }, { SYS_rseq, "rseq" },
		{ SYS_prlimit64, "prlimit64" }, { SYS_getrandom, "getrandom" },
		{ SYS_clone3, "clone3" }, { SYS_close_range, "close_range" },
		{ SYS_openat2, "openat2" }, { SYS_faccessat2, "faccessat2" },
		{ SYS_epoll_pwait2, "epoll_pwait2" }, { SYS_futex_waitv, "futex_waitv" },
		/* From the kernel's own table, where the headers of Debian 12 end earlier. */
		{ 335, "uretprobe" }, { 336, "uprobe" }, { 451, "cachestat" }, { 452, "fchmodat2" },
		{ 455, "futex_wait" }, { 457, "statmount" }, { 462, "mseal" },
		{ 463, "setxattrat" }, { 467, "open_tree_attr" }, { 469, "file_setattr" },
	};
	/* clang-format on */

	for (size_t i = 0; i < RRC_ARRAY_SIZE(known); i++)
		cr_assert_eq(rrc_sysnr(known[i].name), known[i].nr, "%s", known[i].name);
}

static void check_seg(const char *name, const struct rrc_sysrow *row, const struct rrc_segrow *seg)
{
	static const int uses_arg[RRC_LENS] = {
		[RRC_LEN_ARG] = 1,   [RRC_LEN_ARGMUL] = 1,  [RRC_LEN_VALRES] = 1,
		[RRC_LEN_IOVEC] = 1, [RRC_LEN_MMSGHDR] = 1, [RRC_LEN_FDSET] = 1,
		[RRC_LEN_IOCTL] = 1, [RRC_LEN_RETCAP] = 1,  [RRC_LEN_PAGES] = 1,
	};

	cr_assert(seg->len > RRC_LEN_NONE && seg->len < RRC_LENS, "%s", name);
	cr_assert_lt(seg->ptr, row->nargs, "%s", name);
	if (uses_arg[seg->len])
		cr_assert(seg->arg < row->nargs && (seg->arg != seg->ptr), "%s", name);
	if (seg->len == RRC_LEN_CONST || seg->len == RRC_LEN_RETMUL || seg->len == RRC_LEN_ARGMUL)
		cr_assert_gt(seg->k, 0, "%s", name);
	cr_assert_leq(seg->dir, RRC_SEG_IN, "%s", name);
	cr_assert_leq(seg->when, RRC_WHEN_ALWAYS, "%s", name);
	/* Its length goes with it, and the entry value of the length counts. */
	if (seg->len == RRC_LEN_VALRES) {
		int found = 0;

		for (unsigned int i = 0; i < row->nseg; i++)
			found |= row->seg[i].ptr == seg->arg && row->seg[i].len == RRC_LEN_CONST &&
				 row->seg[i].k == 4 && row->seg[i].dir == RRC_SEG_OUT;
		cr_assert(found, "%s: the length word is not recorded", name);
		cr_assert(row->flags & RRC_ROW_ENTRY_VALRES, "%s", name);
	}
}

Test(syscalls, rows_are_consistent)
{
	for (unsigned int nr = 0; nr < RRC_NSYS; nr++) {
		const struct rrc_sysrow *row = rrc_sysrow(nr);
		const char *name = rrc_sysname(nr);

		if (!name)
			continue;
		cr_assert_leq(row->cls, RRC_LOCAL, "%s", name);
		cr_assert_lt(row->special, RRC_S_SPECIALS, "%s", name);
		cr_assert_leq(row->nargs, 6, "%s", name);
		cr_assert_leq(row->nseg, RRC_ROW_SEGS, "%s", name);
		cr_assert(row->fd == RRC_NO_FD || row->fd < row->nargs, "%s", name);
		cr_assert_eq(row->cmpmask >> row->nargs, 0, "%s", name);
		for (unsigned int i = 0; i < row->nseg; i++)
			check_seg(name, row, &row->seg[i]);
		if (row->cls == RRC_LOCAL || row->cls == RRC_BARRIER)
			cr_assert_eq(row->nseg, 0, "%s", name);
		if (row->flags & (RRC_ROW_RETLOG | RRC_ROW_OUTLOG))
			cr_assert_eq(row->cls, RRC_EXECUTE, "%s", name);
	}
}

static int has_seg(unsigned int nr, unsigned int ptr, int dir)
{
	const struct rrc_sysrow *row = rrc_sysrow(nr);

	for (unsigned int i = 0; i < row->nseg; i++)
		if (row->seg[i].ptr == ptr && row->seg[i].dir == dir)
			return 1;
	return 0;
}

/* From the manual pages, not from the table: where a call writes, and where bytes leave. */
Test(syscalls, pointers_are_covered)
{
	/* clang-format off */
	static const struct { const char *name; unsigned int ptr; int dir; } known[] = {
		{ "read", 1, RRC_SEG_OUT }, { "pread64", 1, RRC_SEG_OUT },
		{ "readv", 1, RRC_SEG_OUT }, { "preadv", 1, RRC_SEG_OUT },
		{ "preadv2", 1, RRC_SEG_OUT }, { "recvfrom", 1, RRC_SEG_OUT },
		{ "recvfrom", 4, RRC_SEG_OUT }, { "recvfrom", 5, RRC_SEG_OUT },
		{ "recvmsg", 1, RRC_SEG_OUT }, { "recvmmsg", 1, RRC_SEG_OUT },
		{ "recvmmsg", 4, RRC_SEG_OUT }, { "sendmmsg", 1, RRC_SEG_OUT },
		{ "accept", 1, RRC_SEG_OUT }, { "accept", 2, RRC_SEG_OUT },
		{ "accept4", 1, RRC_SEG_OUT }, { "accept4", 2, RRC_SEG_OUT },
		{ "getsockname", 1, RRC_SEG_OUT }, { "getsockname", 2, RRC_SEG_OUT },
		{ "getpeername", 1, RRC_SEG_OUT }, { "getpeername", 2, RRC_SEG_OUT },
		{ "getsockopt", 3, RRC_SEG_OUT }, { "getsockopt", 4, RRC_SEG_OUT },
		{ "sendfile", 2, RRC_SEG_OUT }, { "poll", 0, RRC_SEG_OUT },
		{ "ppoll", 0, RRC_SEG_OUT }, { "ppoll", 2, RRC_SEG_OUT },
		{ "select", 1, RRC_SEG_OUT }, { "select", 2, RRC_SEG_OUT },
		{ "select", 3, RRC_SEG_OUT }, { "select", 4, RRC_SEG_OUT },
		{ "pselect6", 1, RRC_SEG_OUT }, { "pselect6", 4, RRC_SEG_OUT },
		{ "epoll_wait", 1, RRC_SEG_OUT }, { "epoll_pwait", 1, RRC_SEG_OUT },
		{ "epoll_pwait2", 1, RRC_SEG_OUT }, { "stat", 1, RRC_SEG_OUT },
		{ "lstat", 1, RRC_SEG_OUT }, { "fstat", 1, RRC_SEG_OUT },
		{ "newfstatat", 2, RRC_SEG_OUT }, { "statx", 4, RRC_SEG_OUT },
		{ "statfs", 1, RRC_SEG_OUT }, { "fstatfs", 1, RRC_SEG_OUT },
		{ "readlink", 1, RRC_SEG_OUT }, { "readlinkat", 2, RRC_SEG_OUT },
		{ "getcwd", 0, RRC_SEG_OUT }, { "getdents", 1, RRC_SEG_OUT },
		{ "getdents64", 1, RRC_SEG_OUT }, { "getxattr", 2, RRC_SEG_OUT },
		{ "fgetxattr", 2, RRC_SEG_OUT }, { "listxattr", 1, RRC_SEG_OUT },
		{ "time", 0, RRC_SEG_OUT }, { "gettimeofday", 0, RRC_SEG_OUT },
		{ "gettimeofday", 1, RRC_SEG_OUT }, { "clock_gettime", 1, RRC_SEG_OUT },
		{ "clock_getres", 1, RRC_SEG_OUT }, { "times", 0, RRC_SEG_OUT },
		{ "nanosleep", 1, RRC_SEG_OUT }, { "clock_nanosleep", 3, RRC_SEG_OUT },
		{ "getitimer", 1, RRC_SEG_OUT }, { "timer_gettime", 1, RRC_SEG_OUT },
		{ "timerfd_gettime", 1, RRC_SEG_OUT }, { "getrandom", 0, RRC_SEG_OUT },
		{ "uname", 0, RRC_SEG_OUT }, { "sysinfo", 0, RRC_SEG_OUT },
		{ "getrusage", 1, RRC_SEG_OUT }, { "getrlimit", 1, RRC_SEG_OUT },
		{ "prlimit64", 3, RRC_SEG_OUT }, { "getresuid", 2, RRC_SEG_OUT },
		{ "getresgid", 0, RRC_SEG_OUT }, { "getgroups", 1, RRC_SEG_OUT },
		{ "getcpu", 0, RRC_SEG_OUT }, { "getcpu", 1, RRC_SEG_OUT },
		{ "sched_getaffinity", 2, RRC_SEG_OUT }, { "sched_getparam", 1, RRC_SEG_OUT },
		{ "sched_getattr", 1, RRC_SEG_OUT }, { "sched_rr_get_interval", 1, RRC_SEG_OUT },
		{ "mincore", 2, RRC_SEG_OUT }, { "rt_sigpending", 0, RRC_SEG_OUT },
		{ "rt_sigtimedwait", 1, RRC_SEG_OUT }, { "wait4", 1, RRC_SEG_OUT },
		{ "wait4", 3, RRC_SEG_OUT }, { "waitid", 2, RRC_SEG_OUT },
		{ "ioctl", 2, RRC_SEG_OUT }, { "fcntl", 2, RRC_SEG_OUT },
		{ "prctl", 1, RRC_SEG_OUT }, { "pipe", 0, RRC_SEG_OUT },
		{ "pipe2", 0, RRC_SEG_OUT }, { "socketpair", 3, RRC_SEG_OUT },
		{ "setitimer", 2, RRC_SEG_OUT }, { "timer_settime", 3, RRC_SEG_OUT },
		{ "timerfd_settime", 3, RRC_SEG_OUT }, { "cachestat", 2, RRC_SEG_OUT },
		{ "copy_file_range", 1, RRC_SEG_OUT }, { "copy_file_range", 3, RRC_SEG_OUT },
		{ "write", 1, RRC_SEG_IN }, { "pwrite64", 1, RRC_SEG_IN },
		{ "writev", 1, RRC_SEG_IN }, { "pwritev", 1, RRC_SEG_IN },
		{ "pwritev2", 1, RRC_SEG_IN }, { "sendto", 1, RRC_SEG_IN },
		{ "sendto", 4, RRC_SEG_IN }, { "sendmsg", 1, RRC_SEG_IN },
		{ "sendmmsg", 1, RRC_SEG_IN }, { "connect", 1, RRC_SEG_IN },
		{ "bind", 1, RRC_SEG_IN }, { "setsockopt", 3, RRC_SEG_IN },
		{ "epoll_ctl", 3, RRC_SEG_IN }, { "openat", 1, RRC_SEG_IN },
		{ "rename", 0, RRC_SEG_IN }, { "rename", 1, RRC_SEG_IN },
		{ "renameat2", 3, RRC_SEG_IN }, { "unlinkat", 1, RRC_SEG_IN },
		{ "linkat", 3, RRC_SEG_IN }, { "symlinkat", 2, RRC_SEG_IN },
	};
	/* clang-format on */

	for (size_t i = 0; i < RRC_ARRAY_SIZE(known); i++)
		cr_assert(has_seg((unsigned int)rrc_sysnr(known[i].name), known[i].ptr,
				  known[i].dir),
			  "%s, argument %u", known[i].name, known[i].ptr);
}

/* What the servers and tools that RRC is meant for were seen to call while they work. */
Test(syscalls, no_barrier_in_service)
{
	/* clang-format off */
	static const char *const calls[] = {
		"accept", "accept4", "access", "arch_prctl", "bind", "brk", "chdir", "chmod",
		"clock_gettime", "clock_nanosleep", "clone", "clone3", "close", "close_range",
		"connect", "copy_file_range", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
		"epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2", "execve", "exit",
		"exit_group", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod",
		"fchmodat", "fchown", "fchownat", "fdatasync", "flock", "fstat", "fstatfs",
		"fsync", "ftruncate", "futex", "getcwd", "getdents64", "getegid", "geteuid",
		"getgid", "getgroups", "getpeername", "getpgrp", "getpid", "getppid",
		"getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage",
		"getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid",
		"getxattr", "inotify_add_watch", "inotify_init1", "kill", "linkat", "listen",
		"listxattr", "lseek", "lstat", "madvise", "membarrier", "memfd_create", "mkdir",
		"mkdirat", "mlock", "mmap", "mprotect", "mremap", "msync", "munmap", "nanosleep",
		"newfstatat", "open", "openat", "pause", "pidfd_open", "pipe", "pipe2", "poll",
		"ppoll", "pread64", "preadv", "prlimit64", "pselect6", "pwrite64", "pwritev",
		"read", "readlink", "readlinkat", "readv", "recvfrom", "recvmmsg", "recvmsg",
		"rename", "renameat", "renameat2", "restart_syscall", "rmdir", "rseq",
		"rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
		"rt_sigsuspend", "rt_sigtimedwait", "sched_getaffinity", "sched_setaffinity",
		"sched_yield", "select", "sendfile", "sendmmsg", "sendmsg", "sendto",
		"set_robust_list", "set_tid_address", "setgid", "setgroups", "setitimer",
		"setpgid", "setpriority", "setresgid", "setresuid", "setsid", "setsockopt",
		"setuid", "shutdown", "sigaltstack", "signalfd4", "socket", "socketpair", "stat",
		"statfs", "statx", "symlink", "symlinkat", "sync", "sysinfo", "tgkill", "time",
		"timer_create", "timer_settime", "timerfd_create", "timerfd_gettime",
		"timerfd_settime", "times", "truncate", "umask", "uname", "unlink", "unlinkat",
		"utime", "utimensat", "utimes", "vfork", "wait4", "waitid", "write", "writev",
	};
	/* clang-format on */

	for (size_t i = 0; i < RRC_ARRAY_SIZE(calls); i++)
		cr_assert_neq(rrc_sysrow((unsigned int)rrc_sysnr(calls[i]))->cls, RRC_BARRIER, "%s",
			      calls[i]);
}

/* … and what must never be guessed. */
Test(syscalls, unseen_sharing_is_a_barrier)
{
	/* clang-format off */
	static const char *const calls[] = {
		"io_uring_setup", "io_uring_enter", "userfaultfd", "perf_event_open", "bpf",
		"ptrace", "process_vm_readv", "process_vm_writev", "shmat", "mount", "umount2",
		"init_module", "finit_module", "keyctl", "vmsplice", "splice", "unshare", "setns",
		"io_submit", "seccomp", "pidfd_getfd", "clock_settime", "reboot",
	};
	/* clang-format on */

	for (size_t i = 0; i < RRC_ARRAY_SIZE(calls); i++)
		cr_assert_eq(rrc_sysrow((unsigned int)rrc_sysnr(calls[i]))->cls, RRC_BARRIER, "%s",
			     calls[i]);
	cr_assert(rrc_no_effect(SYS_bpf, -EPERM));
	cr_assert(rrc_no_effect(SYS_bpf, -ENOSYS));
	cr_assert(rrc_no_effect(SYS_ioctl, -ENOTTY));
	cr_assert_not(rrc_no_effect(SYS_bpf, -ENOTTY));
	cr_assert_not(rrc_no_effect(SYS_mount, 0));
	cr_assert_not(rrc_no_effect(SYS_io_submit, 1));
}

/*
 * The sizes in the table against the kernel: a call is made twice, into buffers of different
 * filling. What it wrote is equal or its filling gone; nothing may lie behind the row's length.
 */
static size_t written(unsigned int nr, const long args[6], unsigned int ptr)
{
	static unsigned char buf[2][4096] __attribute__((aligned(16)));
	size_t end = 0;

	for (int i = 0; i < 2; i++) {
		long a[6];

		memcpy(a, args, sizeof(a));
		memset(buf[i], i ? 0xa5 : 0x5a, sizeof(buf[i]));
		a[ptr] = (long)buf[i];
		cr_assert_geq(syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]), 0, "%s: %s",
			      rrc_sysname(nr), strerror(errno));
	}
	for (size_t i = 0; i < sizeof(buf[0]); i++)
		if (buf[0][i] != 0x5a || buf[1][i] != 0xa5)
			end = i + 1;
	return end;
}

static void check_written(const char *name, unsigned int ptr, const long args[6])
{
	unsigned int nr = (unsigned int)rrc_sysnr(name);
	const struct rrc_sysrow *row = rrc_sysrow(nr);

	for (unsigned int i = 0; i < row->nseg; i++) {
		if (row->seg[i].ptr != ptr || row->seg[i].dir != RRC_SEG_OUT)
			continue;
		cr_assert_eq(row->seg[i].len, RRC_LEN_CONST, "%s", name);
		cr_assert_eq(written(nr, args, ptr), row->seg[i].k, "%s, argument %u", name, ptr);
		return;
	}
	cr_assert_fail("%s has no output at argument %u", name, ptr);
}

/* clang-format off */
#define WRITTEN(name, ptr, ...) check_written(name, ptr, (const long[6]){ __VA_ARGS__ })
/* clang-format on */

Test(syscalls, constant_lengths_are_the_kernels)
{
	int fd = open("/", O_RDONLY), tfd = timerfd_create(CLOCK_MONOTONIC, 0);
	timer_t timer;

	cr_assert(fd >= 0 && tfd >= 0);
	cr_assert_eq(timer_create(CLOCK_MONOTONIC, &(struct sigevent){ .sigev_notify = SIGEV_NONE },
				  &timer),
		     0);
	WRITTEN("stat", 1, (long)"/");
	WRITTEN("lstat", 1, (long)"/");
	WRITTEN("fstat", 1, fd);
	WRITTEN("newfstatat", 2, AT_FDCWD, (long)"/");
	WRITTEN("statfs", 1, (long)"/");
	WRITTEN("fstatfs", 1, fd);
	WRITTEN("statx", 4, AT_FDCWD, (long)"/", 0, STATX_BASIC_STATS);
	WRITTEN("uname", 0, 0);
	WRITTEN("sysinfo", 0, 0);
	WRITTEN("times", 0, 0);
	WRITTEN("time", 0, 0);
	WRITTEN("gettimeofday", 0, 0);
	WRITTEN("gettimeofday", 1, 0);
	WRITTEN("clock_gettime", 1, CLOCK_MONOTONIC);
	WRITTEN("clock_getres", 1, CLOCK_MONOTONIC);
	WRITTEN("getrusage", 1, 0);
	WRITTEN("getitimer", 1, 0);
	WRITTEN("setitimer", 2, 0);
	WRITTEN("timerfd_gettime", 1, tfd);
	WRITTEN("timer_gettime", 1, (long)timer);
	WRITTEN("getrlimit", 1, 7);
	WRITTEN("prlimit64", 3, 0, 7);
	WRITTEN("getresuid", 1, (long)&(int){ 0 }, 0, (long)&(int){ 0 });
	WRITTEN("getresgid", 2, (long)&(int){ 0 }, (long)&(int){ 0 });
	WRITTEN("getcpu", 0, 0);
	WRITTEN("getcpu", 1, 0);
	WRITTEN("sched_getparam", 1, 0);
	WRITTEN("sched_rr_get_interval", 1, 0);
	WRITTEN("rt_sigaction", 2, SIGUSR1, 0, 0, 8);
	WRITTEN("sigaltstack", 1, 0);
	WRITTEN("pipe", 0, 0);
	WRITTEN("pipe2", 0, 0);
	WRITTEN("socketpair", 3, AF_UNIX, SOCK_STREAM);
	WRITTEN("get_robust_list", 1, 0, 0, (long)&(long){ 0 });
	WRITTEN("get_robust_list", 2, 0, (long)&(long){ 0 });
}

Test(syscalls, command_lengths_are_the_kernels)
{
	static const struct {
		unsigned int cmd;
		int which;
	} cmds[] = {
		{ FIONREAD, 0 },   { TCGETS, 0 },    { TIOCGWINSZ, 0 }, { 0x802c542a, 0 },
		{ TIOCGPTN, 0 },   { TIOCOUTQ, 0 },  { TIOCGETD, 1 },	{ SIOCATMARK, 2 },
		{ TIOCGPTLCK, 0 }, { TIOCGEXCL, 0 },
	};
	int fds[3], dir;

	cr_assert_eq(openpty(&fds[0], &fds[1], NULL, NULL, NULL), 0);
	fds[2] = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_geq(fds[2], 0);
	for (size_t i = 0; i < RRC_ARRAY_SIZE(cmds); i++) {
		const long args[6] = { fds[cmds[i].which], cmds[i].cmd };

		cr_assert_eq((int)written(SYS_ioctl, args, 2), rrc_ioctl_len(cmds[i].cmd, &dir),
			     "ioctl %#x", cmds[i].cmd);
		cr_assert_eq(dir, RRC_SEG_OUT);
	}
	cr_assert_eq(written(SYS_prctl, (const long[6]){ PR_GET_PDEATHSIG }, 1),
		     rrc_cmdrow(SYS_prctl, PR_GET_PDEATHSIG)->len);
	cr_assert_eq(written(SYS_prctl, (const long[6]){ PR_GET_CHILD_SUBREAPER }, 1),
		     rrc_cmdrow(SYS_prctl, PR_GET_CHILD_SUBREAPER)->len);
	cr_assert_eq(written(SYS_prctl, (const long[6]){ PR_GET_NAME }, 1),
		     rrc_cmdrow(SYS_prctl, PR_GET_NAME)->len);
	cr_assert_eq(written(SYS_prctl, (const long[6]){ PR_GET_TID_ADDRESS }, 1),
		     rrc_cmdrow(SYS_prctl, PR_GET_TID_ADDRESS)->len);
}

Test(syscalls, commands)
{
	size_t n;
	const struct rrc_cmdrow *rows = rrc_cmdrows(&n);
	int dir;

	for (size_t i = 0; i < n; i++)
		cr_assert_eq(rrc_cmdrow(rows[i].nr, rows[i].cmd), &rows[i], "%s %#x is there twice",
			     rrc_sysname(rows[i].nr), rows[i].cmd);
	cr_assert_eq(rrc_ioctl_class(FIONREAD), RRC_EMULATE);
	cr_assert_eq(rrc_ioctl_class(FIONBIO), RRC_EXECUTE);
	cr_assert_eq(rrc_ioctl_len(FIONBIO, &dir), 4);
	cr_assert_eq(dir, RRC_SEG_IN);
	cr_assert_eq(rrc_ioctl_class(0xdeadbeef), RRC_BARRIER);
	cr_assert_lt(rrc_ioctl_len(0xdeadbeef, &dir), 0);
	cr_assert_eq(rrc_ioctl_class(SIOCGIFCONF), RRC_BARRIER); /* a pointer inside */
	cr_assert_eq(rrc_ioctl_class(SIOCETHTOOL), RRC_BARRIER);
	cr_assert_eq(rrc_fcntl_class(F_GETFL), RRC_EMULATE);
	cr_assert_eq(rrc_fcntl_class(F_DUPFD_CLOEXEC), RRC_EXECUTE);
	cr_assert_eq(rrc_fcntl_class(F_SETLKW), RRC_EXECUTE);
	cr_assert_eq(rrc_fcntl_class(F_NOTIFY), RRC_BARRIER);
	cr_assert_eq(rrc_prctl_class(PR_SET_NAME), RRC_EXECUTE);
	cr_assert_eq(rrc_prctl_class(PR_SET_SECCOMP), RRC_BARRIER);
	cr_assert_eq(rrc_prctl_class(PR_SET_MM), RRC_BARRIER);
}

Test(syscalls, class_by_arguments)
{
	cr_assert_eq(rrc_class_of(SYS_read, (const __u64[6]){ 0 }), RRC_EMULATE);
	cr_assert_eq(rrc_class_of(SYS_ioctl, (const __u64[6]){ 3, FIONBIO }), RRC_EXECUTE);
	cr_assert_eq(rrc_class_of(SYS_ioctl, (const __u64[6]){ 3, 0x1234567 }), RRC_BARRIER);
	cr_assert_eq(rrc_class_of(SYS_prctl, (const __u64[6]){ PR_SET_MM }), RRC_BARRIER);
	cr_assert_eq(rrc_class_of(SYS_setsockopt, (const __u64[6]){ 3, 6, 1 }), RRC_EXECUTE);
	cr_assert_eq(rrc_class_of(SYS_setsockopt, (const __u64[6]){ 3, 6, 31 }), RRC_BARRIER);
	cr_assert_eq(rrc_class_of(SYS_getsockopt, (const __u64[6]){ 3, 6, 31 }), RRC_EMULATE);
	cr_assert_eq(rrc_class_of(1000, (const __u64[6]){ 0 }), RRC_BARRIER);
}

static unsigned int mask(unsigned int nr, __u64 a0, __u64 a1, __u64 a2, __u64 a3)
{
	return rrc_cmpmask(nr, (const __u64[6]){ a0, a1, a2, a3 });
}

Test(syscalls, compared_arguments)
{
	cr_assert_eq(mask(SYS_read, 0, 0, 0, 0), 0x07);
	cr_assert_eq(mask(SYS_getpid, 0, 0, 0, 0), 0);
	cr_assert_eq(mask(SYS_openat, 0, 0, O_RDONLY, 0), 0x07);
	cr_assert_eq(mask(SYS_openat, 0, 0, O_CREAT | O_WRONLY, 0), 0x0f);
	cr_assert_eq(mask(SYS_openat, 0, 0, O_TMPFILE | O_WRONLY, 0), 0x0f);
	cr_assert_eq(mask(SYS_openat, 0, 0, O_DIRECTORY, 0), 0x07);
	cr_assert_eq(mask(SYS_fcntl, 0, F_GETFL, 0, 0), 0x03);
	cr_assert_eq(mask(SYS_fcntl, 0, F_SETFL, 0, 0), 0x07);
	cr_assert_eq(mask(SYS_ioctl, 0, FIONREAD, 0, 0), 0x07);
	cr_assert_eq(mask(SYS_ioctl, 0, FIOCLEX, 0, 0), 0x03);
	cr_assert_eq(mask(SYS_prctl, PR_SET_NAME, 0, 0, 0), 0x03);
	cr_assert_eq(mask(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0), 0x01);
	cr_assert_eq(mask(SYS_mremap, 0, 0, 0, MREMAP_MAYMOVE), 0x0f);
	cr_assert_eq(mask(SYS_mremap, 0, 0, 0, MREMAP_MAYMOVE | MREMAP_FIXED), 0x1f);
	cr_assert_eq(mask(SYS_futex, 0, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 0, 0), 0x07);
	cr_assert_eq(mask(SYS_futex, 0, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, 0), 0x2f);
	cr_assert_eq(mask(SYS_clone, SIGCHLD, 0, 0, 0), 0x03);
	cr_assert_eq(mask(SYS_clone, 0x01200000 | SIGCHLD, 0, 0, 0), 0x0b); /* fork() */
}

static char *print(int format, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	cr_assert_not_null(out);
	cr_assert_eq(rrc_syscalls_print(out, format), 0);
	fclose(out);
	return text;
}

Test(syscalls, prints_json)
{
	size_t len;
	rrc_autofree char *text = print(RRC_PRINT_JSON, &len);
	struct json_object *list = json_tokener_parse(text), *row, *value;

	cr_assert_not_null(list);
	cr_assert_eq(json_object_array_length(list), 383);
	row = json_object_array_get_idx(list, 0);
	cr_assert(json_object_object_get_ex(row, "name", &value));
	cr_assert_str_eq(json_object_get_string(value), "read");
	cr_assert(json_object_object_get_ex(row, "class", &value));
	cr_assert_str_eq(json_object_get_string(value), "emulate");
	json_object_put(list);
}

Test(syscalls, prints_text)
{
	size_t len, lines = 0;
	rrc_autofree char *text = print(RRC_PRINT_TEXT, &len);

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	cr_assert_eq(lines, 384);
	cr_assert_not_null(strstr(text, "out1 result"));
}

Test(syscalls, document_is_the_table)
{
	size_t len, got;
	rrc_autofree char *text = print(RRC_PRINT_MARKDOWN, &len);
	rrc_autofree char *doc = malloc(len + 1);
	rrc_autofclose FILE *in = fopen("docs/syscalls.md", "r");

	if (!in)
		cr_skip_test("not run at the top of the source tree");
	got = fread(doc, 1, len + 1, in);
	cr_assert(got == len && !memcmp(doc, text, len),
		  "docs/syscalls.md is not what the table says: make docs/syscalls.md");
}
