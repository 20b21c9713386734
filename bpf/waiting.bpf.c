// SPDX-License-Identifier: GPL-2.0
/*
 * What no call tells of a connection: that it waits to be accepted, or has bytes beyond a gap. An iterator's program:
 * it runs when it is read, over the sockets of the network of whoever opened it, and gives a letter for each.
 */
#include "maps.bpf.h"

#define TCP_LISTEN 10

SEC("iter/tcp")
int rrc_waiting(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	u8 what = 0;

	if (!tp)
		return 0;
	if (sk->skc_state == TCP_LISTEN)
		what = tp->inet_conn.icsk_inet.sk.sk_ack_backlog ? RRC_WAITING_ACCEPT : 0;
	else if (tp->out_of_order_queue.rb_node)
		what = RRC_WAITING_GAP;
	if (what)
		bpf_seq_write(ctx->meta->seq, &what, sizeof(what));
	return 0;
}
