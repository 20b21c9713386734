// SPDX-License-Identifier: GPL-2.0
/* Finds what the kernel does not export, see compat.h. */
#include <linux/kprobes.h>
#include <linux/printk.h>

#include "compat.h"

struct rrc_kernel rrc_kernel;

#define ROW(name)                                        \
	{                                                \
#name, offsetof(struct rrc_kernel, name) \
	}
static const struct {
	const char *symbol;
	size_t at;
} table[] = {
	ROW(kernel_clone),
	ROW(do_arch_prctl_64),
	ROW(fpu_sync_fpstate),
	ROW(tasklist_lock),
	ROW(switch_task_namespaces),
	ROW(nsproxy_cachep),
	ROW(change_pid),
	ROW(copy_pid_ns),
	ROW(pidns_operations),
	ROW(kernel_wait4),
	ROW(do_getitimer),
	ROW(do_timer_gettime),
	ROW(shmem_kernel_file_setup),
	ROW(shmem_aops),
	ROW(replace_fd),
	ROW(sched_setscheduler_nocheck),
	{ "__sock_gen_cookie", offsetof(struct rrc_kernel, sock_gen_cookie) },
	ROW(hrtimer_nanosleep_restart),
	ROW(posix_cpu_nsleep_restart),
	ROW(futex_wait_restart),
	ROW(do_restart_poll),
};

int rrc_kernel_find(void)
{
	/* Where a function begins with an endbr, a probe stands behind it, an indirect call must not. */
	static const u8 endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *);
	u8 *at;
	int r, i;

	r = register_kprobe(&probe);
	if (r)
		return r;
	at = (u8 *)probe.addr;
	unregister_kprobe(&probe);
	if (!memcmp(at - sizeof(endbr), endbr, sizeof(endbr)))
		at -= sizeof(endbr);
	lookup = (void *)at;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		unsigned long found = lookup(table[i].symbol);

		if (!found) {
			pr_err("rrc_fork: this kernel has no %s\n", table[i].symbol);
			return -ENOENT;
		}
		*(unsigned long *)((char *)&rrc_kernel + table[i].at) = found;
	}
	return 0;
}
