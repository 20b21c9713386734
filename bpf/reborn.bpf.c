// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that were complete but not accepted, recreated in their listener with the sequence
 * numbers that the client knows: the packet that completed the handshake is seen again, and the kernel
 * takes it for one that carries a valid SYN cookie (bpf_sk_assign_tcp_reqsk, linux 6.9). An object of
 * its own, for the backup: kernels that lack the function refuse it as a whole.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "reborn.h"

#define ETH_HLEN      14
#define ETH_P_IP      0x0800
#define ETH_P_IPV6    0x86dd
#define IPPROTO_TCP   6
#define TCP_LISTEN    10
#define TC_ACT_SHOT   2
#define TC_ACT_UNSPEC (-1)
#define FLAG_SYN      0x02
#define FLAG_RST      0x04
#define FLAG_ACK      0x10

#define bswap16(x) __builtin_bswap16(x)
#define bswap32(x) __builtin_bswap32(x)

char LICENSE[] SEC("license") = "GPL";

/* As the kernel has it since 6.9; not in every vmlinux.h. */
struct rrc_req_attrs {
	u32 rcv_tsval, rcv_tsecr;
	u16 mss;
	u8 rcv_wscale, snd_wscale;
	u8 ecn_ok, wscale_ok, sack_ok, tstamp_ok, usec_ts_ok;
	u8 reserved[3];
};

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk,
				   struct rrc_req_attrs *attrs, int attrs__sz) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, RRC_REBORN_MAX);
	__type(key, struct rrc_reborn_key);
	__type(value, struct rrc_reborn_entry);
} rrc_reborn SEC(".maps");

struct head {
	u16 sport, dport;
	u32 seq, ack;
	u8 off, flags;
	u16 win, sum, urg;
};

/* Where TCP begins, and the addresses; 0: it is none. */
static __always_inline u32 find_tcp(struct __sk_buff *skb, struct rrc_reborn_key *key)
{
	u8 byte = 0, proto = 0;

	if (skb->protocol == bswap16(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &byte, 1) ||
		    bpf_skb_load_bytes(skb, ETH_HLEN + 9, &proto, 1) || proto != IPPROTO_TCP ||
		    bpf_skb_load_bytes(skb, ETH_HLEN + 12, key->client, 4) ||
		    bpf_skb_load_bytes(skb, ETH_HLEN + 16, key->own, 4))
			return 0;
		return ETH_HLEN + (byte & 15) * 4;
	}
	if (skb->protocol != bswap16(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + 6, &proto, 1) || proto != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + 8, key->client, 16) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + 24, key->own, 16))
		return 0;
	return ETH_HLEN + 40;
}

/* The times of a handshake that only the client remembers, where all kernels put them. */
static __always_inline bool clients_times(struct __sk_buff *skb, u32 at, struct rrc_req_attrs *a,
					  u32 ahead)
{
	u32 opt[3];

	if (bpf_skb_load_bytes(skb, at + 20, opt, sizeof(opt)) || opt[0] != bswap32(0x0101080a))
		return false;
	a->rcv_tsval = bswap32(opt[1]);
	a->rcv_tsecr = bswap32(opt[2]) + ahead;
	return true;
}

static __always_inline struct bpf_sock *look_up(struct __sk_buff *skb,
						const struct rrc_reborn_key *key)
{
	struct bpf_sock_tuple t = {};

	if (skb->protocol == bswap16(ETH_P_IP)) {
		__builtin_memcpy(&t.ipv4.saddr, key->client, 4);
		__builtin_memcpy(&t.ipv4.daddr, key->own, 4);
		t.ipv4.sport = key->client_port;
		t.ipv4.dport = key->own_port;
		return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(t.ipv6.saddr, key->client, 16);
	__builtin_memcpy(t.ipv6.daddr, key->own, 16);
	t.ipv6.sport = key->client_port;
	t.ipv6.dport = key->own_port;
	return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline int give(struct __sk_buff *skb, struct bpf_sock *listener, u32 at,
				struct rrc_reborn_entry *e)
{
	struct rrc_req_attrs a = {
		.rcv_tsval = e->tsval,
		.rcv_tsecr = e->tsecr,
		.mss = e->mss,
		.rcv_wscale = e->rcv_wscale,
		.snd_wscale = e->snd_wscale,
		.ecn_ok = e->ecn,
		.wscale_ok = e->wscale,
		.sack_ok = e->sack,
		.tstamp_ok = e->ts,
		.usec_ts_ok = e->usec_ts,
	};
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(listener);

	if (!tp)
		return TC_ACT_SHOT;
	if (e->ts && !e->sure && !clients_times(skb, at, &a, e->ts_ahead))
		return TC_ACT_SHOT;
	e->error = bpf_sk_assign_tcp_reqsk(skb, (struct sock *)tp, &a, sizeof(a));
	if (e->error)
		return TC_ACT_SHOT;
	e->state = RRC_REBORN_GIVEN;
	return TC_ACT_UNSPEC;
}

/*
 * A SYN once more. The kernel would answer with a number of its own, while the client may be about to take
 * ours: there can be one of the two.
 */
static __always_inline int syn_again(struct rrc_reborn_entry *e)
{
	if (e->sure || e->state != RRC_REBORN_WAITS)
		return TC_ACT_UNSPEC;
	if (bpf_ktime_get_ns() - e->answered_ns < RRC_REBORN_ANSWER_NS)
		return TC_ACT_SHOT;
	e->state = RRC_REBORN_ALIVE;
	return TC_ACT_UNSPEC;
}

/* While there is only the listener, anything but the first segment would be answered by a reset. */
SEC("tc")
int rrc_reborn_ingress(struct __sk_buff *skb)
{
	struct rrc_reborn_key key = {};
	struct rrc_reborn_entry *e;
	struct bpf_sock *sk;
	struct head tcp;
	u32 at = find_tcp(skb, &key);
	int ret = TC_ACT_UNSPEC;

	if (!at || bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)))
		return TC_ACT_UNSPEC;
	key.client_port = tcp.sport;
	key.own_port = tcp.dport;
	e = bpf_map_lookup_elem(&rrc_reborn, &key);
	if (e && (tcp.flags & (FLAG_SYN | FLAG_RST | FLAG_ACK)) == FLAG_SYN)
		return syn_again(e);
	if (!e || (tcp.flags & (FLAG_SYN | FLAG_RST | FLAG_ACK)) != FLAG_ACK)
		return TC_ACT_UNSPEC;
	sk = look_up(skb, &key);
	if (!sk)
		return TC_ACT_UNSPEC;
	if (sk->state != TCP_LISTEN) {
		if (e->state == RRC_REBORN_GIVEN)
			e->state = RRC_REBORN_ALIVE;
	} else if (e->state != RRC_REBORN_ALIVE) {
		if (tcp.seq == bswap32(e->first_in) &&
		    (!e->sure || tcp.ack == bswap32(e->first_out)))
			ret = give(skb, sk, at, e);
		else
			ret = TC_ACT_SHOT;
	}
	bpf_sk_release(sk);
	return ret;
}
