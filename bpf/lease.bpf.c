// SPDX-License-Identifier: GPL-2.0
/*
 * The dead-man's switch of rule 7, on the way out of the container's link: once the lease has run
 * out nothing leaves any more, ARP and neighbour discovery included. It needs no process of ours: the
 * filter holds the program and the program its map.
 */
#include "maps.bpf.h"

#define TC_ACT_SHOT   2
#define TC_ACT_UNSPEC (-1)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct rrc_lease);
} rrc_lease SEC(".maps");

SEC("tc")
int rrc_egress(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct rrc_lease *l = bpf_map_lookup_elem(&rrc_lease, &zero);

	if (!l)
		return TC_ACT_SHOT; /* rule 6 */
	if (*(volatile u64 *)&l->armed && bpf_ktime_get_ns() > *(volatile u64 *)&l->until_ns) {
		__sync_fetch_and_add(&l->dropped, 1);
		return TC_ACT_SHOT;
	}
	__sync_fetch_and_add(&l->passed, 1);
	return TC_ACT_UNSPEC;
}
