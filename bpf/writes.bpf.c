// SPDX-License-Identifier: GPL-2.0
/*
 * Write faults of the container, in the order in which they begin: where pages are write-protected, whatever is
 * written first after that is here (user/writelog.h). An object of its own, for the engine that wants it.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "writes.h"

#define PF_WRITE 2
#define USER_END (1ull << 47)

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, RRC_WRITES);
	__type(key, u32);
	__type(value, u64);
} rrc_writes SEC(".maps");

const volatile __u32 cfg_pidns = 0; /* inode number */
__u64 head = 0; /* entries begun */

static __always_inline int note(u64 address, u64 error)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pid *pid = task->thread_pid;
	struct upid up;
	u64 *entry;
	u32 key, level;

	if (!(error & PF_WRITE) || address >= USER_END || !pid)
		return 0;
	level = pid->level;
	if (bpf_probe_read_kernel(&up, sizeof(up), &pid->numbers[0] + level))
		return 0;
	if (BPF_CORE_READ(up.ns, ns.inum) != cfg_pidns)
		return 0;
	key = __sync_fetch_and_add(&head, 1) & (RRC_WRITES - 1);
	entry = bpf_map_lookup_elem(&rrc_writes, &key);
	if (entry)
		*entry = RRC_WRITE_ENTRY(address, (u64)up.nr);
	return 0;
}

SEC("raw_tp/page_fault_user")
int rrc_fault_user(struct bpf_raw_tracepoint_args *ctx)
{
	return note(ctx->args[0], ctx->args[2]);
}

SEC("raw_tp/page_fault_kernel")
int rrc_fault_kernel(struct bpf_raw_tracepoint_args *ctx)
{
	return note(ctx->args[0], ctx->args[2]);
}
