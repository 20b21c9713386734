// SPDX-License-Identifier: GPL-2.0
/*
 * Packets that come in, and TCP connections as they are born and change state. Always on: what the
 * kernel's TCP does goes on while the threads are stopped.
 */
#include "maps.bpf.h"

#define ETH_HLEN	 14
#define ETH_P_IP	 0x0800
#define ETH_P_IPV6	 0x86dd
#define AF_INET		 2
#define AF_INET6	 10
#define IPPROTO_TCP	 6
#define TCP_ESTABLISHED	 1
#define TCP_SYN_SENT	 2
#define TCP_CLOSE	 7
#define LOOPBACK_IFINDEX 1
#define TC_ACT_SHOT	 2
#define TC_ACT_UNSPEC	 (-1)

#define bswap16(x) __builtin_bswap16(x)

/* A packet of 1 to N bytes, N a power of two. No room: it is dropped, which the sender takes for a loss on the way. */
#define CAPTURE(skb, len, family, N)                                                        \
	({                                                                                  \
		struct {                                                                    \
			struct rrc_rec rec;                                                 \
			struct rrc_seg seg;                                                 \
			struct rrc_rec_packet pkt;                                          \
			u8 data[(N) + 8];                                                   \
		} *_r = bpf_ringbuf_reserve(&rrc_events, sizeof(*_r), 0);                   \
		int _ret = -1;                                                              \
                                                                                            \
		if (_r) {                                                                   \
			/* The same number, for a verifier that has to see 1 <= _n <= N. */ \
			u32 _n = (((len)-1) & ((N)-1)) + 1;                                 \
                                                                                            \
			*(u64 *)(_r->data + (_n & ~7u)) = 0; /* the padding */              \
			if (bpf_skb_load_bytes(skb, ETH_HLEN, _r->data, _n)) {              \
				bpf_ringbuf_discard(_r, BPF_RB_NO_WAKEUP);                  \
			} else {                                                            \
				fill_packet(skb, &_r->rec, &_r->seg, &_r->pkt, family, _n); \
				bpf_ringbuf_submit(_r, wake_flags(0, _r->rec.seq));         \
				_ret = 0;                                                   \
			}                                                                   \
		}                                                                           \
		_ret;                                                                       \
	})

static __always_inline void fill_packet(struct __sk_buff *skb, struct rrc_rec *rec,
					struct rrc_seg *seg, struct rrc_rec_packet *pkt, u16 family,
					u32 len)
{
	u8 mac[12];

	__builtin_memset(rec, 0, sizeof(*rec));
	rec->size = (sizeof(*rec) + sizeof(*seg) + sizeof(*pkt) + len + 7) & ~7u;
	rec->kind = RRC_REC_PACKET;
	rec->nseg = 1;
	rec->seq = next_seq();
	rec->exit_ns = bpf_ktime_get_ns();
	*seg = (struct rrc_seg){ .len = sizeof(*pkt) + len };
	pkt->len = len;
	pkt->gso_segs = skb->gso_segs;
	pkt->family = family;
	pkt->ifindex = skb->ifindex;
	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)))
		__builtin_memset(mac, 0, sizeof(mac));
	__builtin_memcpy(pkt->mac_dst, mac, 6);
	__builtin_memcpy(pkt->mac_src, mac + 6, 6);
}

SEC("tc")
int rrc_ingress(struct __sk_buff *skb)
{
	u32 len = skb->len - ETH_HLEN;
	u16 family;
	int ret;

	if (skb->protocol == bswap16(ETH_P_IP))
		family = AF_INET;
	else if (skb->protocol == bswap16(ETH_P_IPV6))
		family = AF_INET6;
	else
		return TC_ACT_UNSPEC;
	if (len <= 128)
		ret = CAPTURE(skb, len, family, 128);
	else if (len <= 2048)
		ret = CAPTURE(skb, len, family, 2048);
	else if (len <= 8192)
		ret = CAPTURE(skb, len, family, 8192);
	else if (len <= 65536)
		ret = CAPTURE(skb, len, family, 65536);
	else
		ret = -1; /* larger than IP allows without jumbograms: as if it were lost on the way */
	if (ret) {
		count(packets_dropped);
		return TC_ACT_SHOT; /* rule 2: TCP must not see what the log does not have */
	}
	count(packets);
	return TC_ACT_UNSPEC;
}

static __always_inline bool same_address(const u8 *a, const u8 *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

/* The peer is in this network namespace as well. */
static __always_inline bool is_loopback(const struct sock *sk, const struct rrc_conn_entry *e)
{
	struct dst_entry *dst = sk->sk_dst_cache;

	if (e->family == AF_INET && e->raddr[0] == 127)
		return true;
	if (dst && BPF_CORE_READ(dst, dev, ifindex) == LOOPBACK_IFINDEX)
		return true;
	return same_address(e->laddr, e->raddr);
}

static __always_inline void fill_tuple(const struct sock *sk, struct rrc_conn_entry *e)
{
	e->family = sk->__sk_common.skc_family;
	e->lport = sk->__sk_common.skc_num;
	e->rport = bswap16(sk->__sk_common.skc_dport);
	if (e->family == AF_INET) {
		u32 l = sk->__sk_common.skc_rcv_saddr, r = sk->__sk_common.skc_daddr;

		__builtin_memcpy(e->laddr, &l, 4);
		__builtin_memcpy(e->raddr, &r, 4);
	} else {
		BPF_CORE_READ_INTO(&e->laddr, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&e->raddr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	}
}

static __always_inline void fill_conn(struct tcp_sock *tp, struct rrc_rec_conn *c)
{
	struct tcp_options_received *o = &tp->rx_opt;

	c->snd_nxt = tp->snd_nxt;
	c->snd_una = tp->snd_una;
	c->rcv_nxt = tp->rcv_nxt;
	c->copied_seq = tp->copied_seq;
	c->write_seq = tp->write_seq;
	c->snd_wnd = tp->snd_wnd;
	c->rcv_wnd = tp->rcv_wnd;
	c->window_clamp = tp->window_clamp;
	c->mss_clamp = o->mss_clamp;
	c->advmss = tp->advmss;
	c->mss_cache = tp->mss_cache;
	c->ts_offset = tp->tsoffset;
	c->rcv_tsval = o->rcv_tsval;
	c->rcv_tsecr = o->rcv_tsecr;
	c->ts_recent = o->ts_recent;
	c->sack_ok = BPF_CORE_READ_BITFIELD(o, sack_ok);
	c->wscale_ok = BPF_CORE_READ_BITFIELD(o, wscale_ok);
	c->snd_wscale = BPF_CORE_READ_BITFIELD(o, snd_wscale);
	c->rcv_wscale = BPF_CORE_READ_BITFIELD(o, rcv_wscale);
	c->tstamp_ok = BPF_CORE_READ_BITFIELD(o, tstamp_ok);
	c->ecn = tp->ecn_flags;
	if (bpf_core_field_exists(tp->tcp_usec_ts))
		c->usec_ts = BPF_CORE_READ_BITFIELD(tp, tcp_usec_ts);
}

static __always_inline void conn_born(struct sock *sk, u64 cookie, bool active,
				      const struct rrc_conn_entry *e)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	u32 seq = next_seq();
	struct {
		struct rrc_rec rec;
		struct rrc_seg seg;
		struct rrc_rec_conn conn;
	} * r;

	if (!tp)
		return;
	count(conns);
	r = bpf_ringbuf_reserve(&rrc_events, sizeof(*r), 0);
	if (!r) {
		count(lost);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->rec.size = sizeof(*r);
	r->rec.kind = RRC_REC_CONN;
	r->rec.fdkind = RRC_FD_TCP;
	r->rec.nseg = 1;
	r->rec.seq = seq;
	r->rec.obj = cookie;
	r->rec.exit_ns = bpf_ktime_get_ns();
	r->seg.len = sizeof(r->conn);
	r->conn.cookie = cookie;
	r->conn.family = e->family;
	r->conn.lport = e->lport;
	r->conn.rport = e->rport;
	r->conn.active = active;
	r->conn.state = TCP_ESTABLISHED;
	__builtin_memcpy(r->conn.laddr, e->laddr, 16);
	__builtin_memcpy(r->conn.raddr, e->raddr, 16);
	r->conn.netns = cfg_netns;
	fill_conn(tp, &r->conn);
	r->conn.loopback = is_loopback(sk, e);
	bpf_ringbuf_submit(r, wake_flags(0, seq));
}

static __always_inline void conn_changed(u64 cookie, int from, int to)
{
	u32 seq = next_seq();
	struct rrc_rec *r = bpf_ringbuf_reserve(&rrc_events, sizeof(*r), 0);

	if (!r) {
		count(lost);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->size = sizeof(*r);
	r->kind = RRC_REC_CONN_STATE;
	r->fdkind = RRC_FD_TCP;
	r->seq = seq;
	r->obj = cookie;
	r->exit_ns = bpf_ktime_get_ns();
	r->args[0] = from;
	r->args[1] = to;
	bpf_ringbuf_submit(r, wake_flags(0, seq));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(rrc_tcp_state, struct sock *sk, int from, int to)
{
	struct rrc_conn_entry e = {}, *known;
	struct net *net = sk->__sk_common.skc_net.net;
	u64 cookie;

	if (net->ns.inum != cfg_netns || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	/* Gives the socket its identity at its first change, which calls on it are recorded with. */
	cookie = bpf_get_socket_cookie(sk);
	if (to != TCP_ESTABLISHED) {
		conn_changed(cookie, from, to);
		known = bpf_map_lookup_elem(&rrc_conns, &cookie);
		if (known && to == TCP_CLOSE)
			bpf_map_delete_elem(&rrc_conns, &cookie);
		else if (known)
			known->state = to;
		return 0;
	}
	fill_tuple(sk, &e);
	e.state = to;
	e.active = from == TCP_SYN_SENT;
	e.since_ns = bpf_ktime_get_ns();
	conn_born(sk, cookie, e.active, &e);
	bpf_map_update_elem(&rrc_conns, &cookie, &e, BPF_ANY);
	return 0;
}
