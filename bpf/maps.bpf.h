/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Maps and settings that the programs share; defined in record.bpf.c, linked into one object. Names
 * are short and typed, so that bpftool shows them in clear text.
 */
#ifndef RRC_MAPS_BPF_H
#define RRC_MAPS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "maps.h"
#include "record.h"
#include "syscalls.h"

#define RRC_SCRATCH 16384

struct rrc_map_events {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
};

struct rrc_map_stats {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct rrc_stats);
};

struct rrc_map_threads {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RRC_MAX_THREADS);
	__type(key, u32);
	__type(value, struct rrc_thread);
};

struct rrc_map_conns {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, RRC_MAX_CONNS);
	__type(key, u64);
	__type(value, struct rrc_conn_entry);
};

struct rrc_map_barriers {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RRC_NSYS);
	__type(key, u32);
	__type(value, u64);
};

/* Thread group ids of the container that are not patched. */
struct rrc_map_unpatched {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RRC_MAX_THREADS);
	__type(key, u32);
	__type(value, u64);
};

struct rrc_map_cmds {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RRC_MAX_CMDS);
	__type(key, u64);
	__type(value, struct rrc_cmdrow);
};

struct rrc_map_scratch {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u8[RRC_SCRATCH]);
};

/* An entry of rrc_threads as it is at first. */
struct rrc_map_blank {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct rrc_thread);
};

extern struct rrc_map_events rrc_events SEC(".maps");
extern struct rrc_map_stats rrc_stats SEC(".maps");
extern struct rrc_map_threads rrc_threads SEC(".maps");
extern struct rrc_map_conns rrc_conns SEC(".maps");
extern struct rrc_map_barriers rrc_barriers SEC(".maps");
extern struct rrc_map_unpatched rrc_unpatched SEC(".maps");
extern struct rrc_map_cmds rrc_cmds SEC(".maps");
extern struct rrc_map_scratch rrc_scratch SEC(".maps");
extern struct rrc_map_blank rrc_blank SEC(".maps");

/* Settings: .rodata, so what is switched off is dead code for the verifier. */
extern const volatile __u32 cfg_pidns, cfg_netns; /* inode numbers */
extern const volatile __u8 cfg_user_dynptr; /* bpf_probe_read_user_dynptr is there (6.16) */
extern const volatile __u8 cfg_rdonly_cast; /* bpf_rdonly_cast is there (6.2) */
extern const volatile __u8 cfg_flag_unpatched;
extern const volatile __u32 cfg_wake_bytes; /* fuller than this: wake the reader */
extern const volatile __u64 cfg_scramble; /* odd; makes identities of file addresses */
extern const volatile struct rrc_sysrow cfg_rows[RRC_NSYS];

/* Switched while it runs. */
extern volatile __u32 run_on; /* 0: calls, signals, births and deaths are not recorded */
extern volatile __u32 run_watched; /* the exec watcher is the threads' tracer */
extern volatile __u32 run_unpatched_gen; /* raised when user space adds to rrc_unpatched */

static __always_inline struct rrc_stats *stats(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&rrc_stats, &zero);
}

#define count(field)                                         \
	({                                                   \
		struct rrc_stats *_s = stats();              \
		if (_s)                                      \
			__sync_fetch_and_add(&_s->field, 1); \
	})

/* Number of the record that is tried now. */
static __always_inline u32 next_seq(void)
{
	struct rrc_stats *s = stats();

	return s ? (u32)__sync_fetch_and_add(&s->records, 1) : 0;
}

/* Never a wake-up per record: only for a barrier, or when much has gathered (looked at every 64th). */
static __always_inline u64 wake_flags(u16 flags, u32 seq)
{
	if (flags & RRC_F_BARRIER)
		return BPF_RB_FORCE_WAKEUP;
	if (!(seq & 63) && bpf_ringbuf_query(&rrc_events, BPF_RB_AVAIL_DATA) > cfg_wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void count_barrier(u32 nr)
{
	u32 key = nr < RRC_NSYS ? nr : RRC_NR_OTHER;
	u64 *n = bpf_map_lookup_elem(&rrc_barriers, &key);

	if (n)
		__sync_fetch_and_add(n, 1);
	count(barriers);
}

#endif
