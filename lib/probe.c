/* SPDX-License-Identifier: MIT */
/* What this kernel offers to us as we are, each found out by trying it; see host.h. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "host.h"
#include "util.h"

/* Newer than the headers that we must build with (linux/fs.h, linux/userfaultfd.h of 6.7). */
#ifndef PAGEMAP_SCAN
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct page_region {
	uint64_t start, end, categories;
};
#define PAGEMAP_SCAN	_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_PRESENT (1 << 3)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

int rrc_host_btf(void)
{
	return access("/sys/kernel/btf/vmlinux", R_OK) == 0;
}

int rrc_host_kfunc(const char *name)
{
	libbpf_print_fn_t old = libbpf_set_print(quiet);
	struct btf *btf = btf__load_vmlinux_btf();
	int ret = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) : -errno;

	btf__free(btf);
	libbpf_set_print(old);
	return ret > 0 ? 1 : ret == -ENOENT ? 0 : ret;
}

/* "return 0": a program that any type accepts. Its descriptor or a negative errno. */
static int load(enum bpf_prog_type type, const struct bpf_prog_load_opts *opts)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(type, "rrc_probe", "GPL", insns, RRC_ARRAY_SIZE(insns), opts);

	return fd < 0 ? -errno : fd;
}

int rrc_host_tp_btf(void)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_RAW_TP);
	libbpf_print_fn_t old = libbpf_set_print(quiet);
	int id = libbpf_find_vmlinux_btf_id("sys_exit", BPF_TRACE_RAW_TP), prog, link;

	libbpf_set_print(old);
	if (id < 0)
		return 0;
	opts.attach_btf_id = (uint32_t)id;
	prog = load(BPF_PROG_TYPE_TRACING, &opts);
	if (prog < 0)
		return 0;
	link = bpf_raw_tracepoint_open(NULL, prog);
	close(prog);
	if (link < 0)
		return 0;
	close(link);
	return 1;
}

int rrc_host_tc(void)
{
	int prog = load(BPF_PROG_TYPE_SCHED_CLS, NULL);

	if (prog < 0)
		return 0;
	close(prog);
	return 1;
}

int rrc_host_ringbuf_dynptr(void)
{
	libbpf_print_fn_t old = libbpf_set_print(quiet);
	int ret = libbpf_probe_bpf_helper(BPF_PROG_TYPE_RAW_TRACEPOINT,
					  BPF_FUNC_ringbuf_reserve_dynptr, NULL);

	libbpf_set_print(old);
	return ret;
}

int rrc_host_bpffs(void)
{
	struct statfs st;

	if (statfs("/sys/fs/bpf", &st) < 0)
		return -errno;
	return st.f_type == BPF_FS_MAGIC;
}

int rrc_host_nfqueue(void)
{
	static const char cmd[] =
		"PATH=$PATH:/usr/sbin:/sbin; command -v iptables unshare >/dev/null || exit 127; "
		"exec unshare -n iptables -w -t mangle -A OUTPUT -j NFQUEUE --queue-num 1";
	char *argv[] = { "/bin/sh", "-c", (char *)cmd, NULL };
	int ret = rrc_host_run(argv, NULL, 0);

	return ret == 127 ? -ENOENT : ret < 0 ? ret : ret == 0;
}

int rrc_host_pagemap_scan(void)
{
	rrc_autoclose int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long page = sysconf(_SC_PAGESIZE);
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	if (fd < 0)
		return -errno;
	/* The page that this very variable is on. */
	arg.start = (uintptr_t)&region & ~((uintptr_t)page - 1);
	arg.end = arg.start + (uintptr_t)page;
	return ioctl(fd, PAGEMAP_SCAN, &arg) == 1;
}

int rrc_host_uffd_wp_async(void)
{
	rrc_autoclose int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};

	if (fd < 0)
		return errno == ENOSYS ? 0 : -errno;
	return ioctl(fd, UFFDIO_API, &api) == 0;
}

/* A child that does nothing, seized and stopped; its id or a negative errno. */
static pid_t stopped_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return -errno;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 &&
	    waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		return pid;
	status = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
	return -status;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) == pid)
		; /* stops that were on their way, then its end */
}

int rrc_host_ptrace(void)
{
	pid_t pid = stopped_child();

	if (pid < 0)
		return 0;
	end_child(pid);
	return 1;
}

int rrc_host_mem_write(void)
{
	static const char readonly[64] = "a page that nobody may write";
	char path[64];
	pid_t pid = stopped_child();
	int fd, ret = 0;

	if (pid < 0)
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		ret = pwrite(fd, "A", 1, (off_t)(uintptr_t)readonly) == 1;
		close(fd);
	}
	end_child(pid);
	return ret;
}

/* In a child whose calls to read the clock fail: who reads it all the same needs none. */
int rrc_host_vdso_clock(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { RRC_ARRAY_SIZE(code), code };
	struct timespec ts;
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
			_exit(2);
		_exit(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -ECHILD;
	return WEXITSTATUS(status) == 2 ? -ENOSYS : WEXITSTATUS(status);
}

int rrc_host_fork_module(void)
{
	return access("/dev/rrc_fork", R_OK | W_OK) == 0;
}

void rrc_host_missing_caps(char *buf, size_t len)
{
	static const struct {
		unsigned int cap;
		const char *name;
	} need[] = {
		{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },	  { CAP_SYS_PTRACE, "CAP_SYS_PTRACE" },
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },	  { CAP_NET_RAW, "CAP_NET_RAW" },
		{ CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE" }, { CAP_KILL, "CAP_KILL" },
	};
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	size_t used = 0, i;

	buf[0] = 0;
	if (syscall(SYS_capget, &head, data) < 0)
		memset(data, 0, sizeof(data));
	for (i = 0; i < RRC_ARRAY_SIZE(need) && used < len; i++)
		if (!(data[need[i].cap / 32].effective & (1u << need[i].cap % 32)))
			used += (size_t)snprintf(buf + used, len - used, "%s%s", used ? " " : "",
						 need[i].name);
}

int rrc_host_require(struct rrc_error *err)
{
	char caps[160];

	rrc_host_missing_caps(caps, sizeof(caps));
	if (caps[0])
		return rrc_fail_exit(err, RRC_EXIT_HOST, -EPERM,
				     "this needs root (missing: %s); run it with sudo", caps);
	if (!rrc_host_btf())
		return rrc_fail_exit(
			err, RRC_EXIT_HOST, -ENOSYS,
			"this kernel carries no type information (CONFIG_DEBUG_INFO_BTF); "
			"the kernels of Debian and Ubuntu do");
	if (!rrc_host_ptrace())
		return rrc_fail_exit(
			err, RRC_EXIT_HOST, -EPERM,
			"processes cannot be traced here (kernel.yama.ptrace_scope = 3?)");
	return 0;
}
