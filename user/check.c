/* SPDX-License-Identifier: MIT */
/* The table of what this host offers: one row for each thing, tried by lib/host.h; see check.h. */
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include "check.h"
#include "host.h"
#include "util.h"

#define KERNEL_MAJOR 6
#define KERNEL_MINOR 1

enum need {
	NEEDED,
	OPTIONAL
};

struct answer {
	int state; /* 1 there, 0 missing, negative errno: could not be found out */
	char detail[256];
};

static void say(struct answer *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct answer *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->detail, sizeof(a->detail), fmt, ap);
	va_end(ap);
}

static void check_kernel(struct answer *a)
{
	int major = 0, minor = 0;
	struct utsname u;

	uname(&u);
	say(a, "%s, %s", u.release, u.machine);
	a->state = sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
		   !strcmp(u.machine, "x86_64") &&
		   (major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR));
}

static void check_caps(struct answer *a)
{
	char missing[sizeof(a->detail) - 16];

	rrc_host_missing_caps(missing, sizeof(missing));
	a->state = !missing[0];
	say(a, a->state ? "all%s" : "missing: %s", missing);
}

static void check_btf(struct answer *a)
{
	a->state = rrc_host_btf();
	say(a, "/sys/kernel/btf/vmlinux");
}

static void check_bpffs(struct answer *a)
{
	a->state = rrc_host_bpffs();
	say(a, a->state == 0 ? "not mounted yet; rrc-trace mounts it" : "/sys/fs/bpf");
	if (a->state == 0)
		a->state = 1;
}

static void check_tp_btf(struct answer *a)
{
	a->state = rrc_host_tp_btf();
	say(a, "tp_btf/sys_exit");
}

static void check_tc(struct answer *a)
{
	a->state = rrc_host_tc();
	say(a, "tc classifier");
}

static void check_ringbuf(struct answer *a)
{
	a->state = rrc_host_ringbuf_dynptr();
	say(a, "bpf_ringbuf_reserve_dynptr");
}

static void check_user_dynptr(struct answer *a)
{
	a->state = rrc_host_kfunc("bpf_probe_read_user_dynptr");
	say(a, "bpf_probe_read_user_dynptr%s",
	    a->state == 1 ? "" : ": payloads are copied in slices");
}

static void check_reqsk(struct answer *a)
{
	a->state = rrc_host_kfunc("bpf_sk_assign_tcp_reqsk");
	say(a, "bpf_sk_assign_tcp_reqsk%s",
	    a->state == 1 ? "" : ": connections not accepted yet are reset");
}

static void check_nfqueue(struct answer *a)
{
	a->state = rrc_host_nfqueue();
	say(a, a->state == -ENOENT ? "iptables is not installed" : "iptables -j NFQUEUE");
}

static void check_criu(struct answer *a)
{
	char path[PATH_MAX], out[256], *version;
	char *argv[] = { path, (char *)"--version", NULL };
	struct rrc_error err = { 0 };

	a->state = rrc_host_criu(path, sizeof(path), &err) == 0;
	if (!a->state) {
		say(a, "none passes `criu check` on this kernel");
		return;
	}
	rrc_host_run(argv, out, sizeof(out));
	version = strstr(out, "Version: ");
	version = version ? version + 9 : out;
	version[strcspn(version, "\n")] = 0;
	say(a, "%.20s, %.200s", version, path);
}

static void check_ptrace(struct answer *a)
{
	a->state = rrc_host_ptrace();
	say(a, "seize and stop a process");
}

static void check_mem(struct answer *a)
{
	a->state = rrc_host_mem_write();
	say(a, "write a process's read-only memory");
}

static void check_scan(struct answer *a)
{
	a->state = rrc_host_pagemap_scan();
	say(a, "PAGEMAP_SCAN");
}

static void check_uffd(struct answer *a)
{
	a->state = rrc_host_uffd_wp_async();
	say(a, "userfaultfd WP_ASYNC");
}

static void check_clock(struct answer *a)
{
	rrc_autofclose FILE *f =
		fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	char name[64] = "unknown";

	a->state = rrc_host_vdso_clock();
	if (f && fgets(name, sizeof(name), f))
		name[strcspn(name, "\n")] = 0;
	say(a, "clock source %s%s", name,
	    a->state ? "" : ": programs with threads cannot be recorded");
}

static void check_module(struct answer *a)
{
	a->state = rrc_host_fork_module();
	say(a, "/dev/rrc_fork");
}

static void check_cgroups(struct answer *a)
{
	struct statfs st;
	const long cgroup2 = 0x63677270; /* CGROUP2_SUPER_MAGIC */
	int unified = statfs("/sys/fs/cgroup", &st) == 0 && st.f_type == cgroup2;
	int hybrid = statfs("/sys/fs/cgroup/unified", &st) == 0 && st.f_type == cgroup2;

	a->state = 1; /* any layout will do; it decides which runtimes work */
	say(a, unified ? "version 2" : hybrid ? "hybrid (crun may refuse to run)" : "version 1");
}

static void check_nofile(struct answer *a)
{
	rrc_autofclose FILE *f = fopen("/proc/sys/fs/nr_open", "re");
	unsigned long long nr_open = 0;
	struct rlimit lim;
	int writable = access("/proc/sys/fs/nr_open", W_OK) == 0;

	if (!f || fscanf(f, "%llu", &nr_open) != 1 || getrlimit(RLIMIT_NOFILE, &lim) < 0) {
		a->state = -EIO;
		return;
	}
	/* CRIU raises the limit to nr_open; one that it may not reach must be lowered first. */
	a->state = nr_open <= lim.rlim_max || writable;
	say(a, "limit %llu, fs.nr_open %llu", (unsigned long long)lim.rlim_max, nr_open);
}

static const struct row {
	const char *name;
	enum need need;
	void (*check)(struct answer *a);
	const char *hint;
	int root; /* cannot be tried without the capabilities */
} rows[] = {
	{ "kernel", NEEDED, check_kernel, "x86-64, 6.1 or newer: Debian 12 or later", 0 },
	{ "capabilities", NEEDED, check_caps, "run as root (sudo rrc-trace --check)", 0 },
	{ "kernel types", NEEDED, check_btf, "a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's are",
	  0 },
	{ "bpf filesystem", NEEDED, check_bpffs, "mount -t bpf bpf /sys/fs/bpf", 0 },
	{ "call recorder", NEEDED, check_tp_btf,
	  "BPF tracing must be allowed: root, no lockdown=confidentiality", 1 },
	{ "packet recorder", NEEDED, check_tc, "a kernel with CONFIG_NET_CLS_BPF", 1 },
	{ "exact records", NEEDED, check_ringbuf, "a kernel from 5.19 on", 0 },
	{ "fast payloads", OPTIONAL, check_user_dynptr, "a kernel from 6.16 on", 0 },
	{ "packet gate", NEEDED, check_nfqueue,
	  "make deps (package iptables); modules nfnetlink_queue and xt_NFQUEUE", 1 },
	{ "checkpoints", NEEDED, check_criu, "make deps", 1 },
	{ "tracing", NEEDED, check_ptrace, "sysctl kernel.yama.ptrace_scope below 3", 0 },
	{ "memory writes", NEEDED, check_mem,
	  "no kernel restriction of /proc/PID/mem (proc_mem.force_override=always)", 0 },
	{ "open files", NEEDED, check_nofile, "sysctl fs.nr_open no higher than `ulimit -Hn`", 0 },
	{ "page scan", OPTIONAL, check_scan, "a kernel from 6.7 on", 0 },
	{ "write tracking", OPTIONAL, check_uffd, "a kernel from 6.7 on with CONFIG_USERFAULTFD",
	  1 },
	{ "accept queue", OPTIONAL, check_reqsk, "a kernel from 6.9 on", 0 },
	{ "clock", OPTIONAL, check_clock, "boot with clocksource=tsc tsc=reliable", 0 },
	{ "fork module", OPTIONAL, check_module,
	  "make kmod, and load build/kmod/rrc_fork.ko: for kernels below 6.7", 0 },
	{ "cgroups", OPTIONAL, check_cgroups, "", 0 },
};

/* How to get it; what was not allowed to be tried may well be there. */
static const char *hint(const struct row *row, const struct answer *a)
{
	return a->state == -EPERM ? "ask again as root" : row->hint;
}

static const char *state_name(const struct answer *a)
{
	return a->state > 0 ? "yes" : a->state == 0 ? "no" : "unknown";
}

static void print_json(FILE *f, const struct answer *answers, int ok)
{
	struct json_object *top = json_object_new_object(), *list = json_object_new_array();
	size_t i;

	for (i = 0; i < RRC_ARRAY_SIZE(rows); i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(rows[i].name));
		json_object_object_add(o, "state", json_object_new_string(state_name(&answers[i])));
		json_object_object_add(o, "needed",
				       json_object_new_boolean(rows[i].need == NEEDED));
		json_object_object_add(o, "detail", json_object_new_string(answers[i].detail));
		if (answers[i].state <= 0)
			json_object_object_add(o, "hint",
					       json_object_new_string(hint(&rows[i], &answers[i])));
		json_object_array_add(list, o);
	}
	json_object_object_add(top, "ok", json_object_new_boolean(ok));
	json_object_object_add(top, "checks", list);
	fprintf(f, "%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PLAIN));
	json_object_put(top);
}

static void print_table(FILE *f, const struct answer *answers)
{
	size_t i;

	for (i = 0; i < RRC_ARRAY_SIZE(rows); i++) {
		const struct answer *a = &answers[i];

		fprintf(f, "%-16s %-8s %-9s %s\n", rows[i].name, state_name(a),
			rows[i].need == NEEDED ? "needed" : "optional", a->detail);
		if (a->state <= 0)
			fprintf(f, "%-16s %-8s %-9s -> %s\n", "", "", "", hint(&rows[i], a));
	}
}

int rrc_check_print(FILE *f, int json, struct rrc_error *err)
{
	struct answer answers[RRC_ARRAY_SIZE(rows)] = { 0 };
	const struct row *first = NULL;
	size_t i, missing = 0;
	int privileged = 1;

	for (i = 0; i < RRC_ARRAY_SIZE(rows); i++) {
		rows[i].check(&answers[i]);
		privileged = privileged && (rows[i].check != check_caps || answers[i].state > 0);
		if (!privileged && rows[i].root && answers[i].state == 0)
			answers[i].state = -EPERM;
		if (answers[i].state > 0 || rows[i].need != NEEDED)
			continue;
		missing++;
		first = first ?: &rows[i];
	}
	if (json)
		print_json(f, answers, !missing);
	else
		print_table(f, answers);
	if (missing)
		return rrc_fail_exit(err, RRC_EXIT_HOST, -ENOSYS, "this host lacks %s%s: %s",
				     first->name, missing > 1 ? " and more" : "", first->hint);
	return 0;
}
