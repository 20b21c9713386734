// SPDX-License-Identifier: MIT
/* What a captured packet does to the table of connections: data put together by sequence number,
 * acknowledgements, windows, times. The packet comes from outside: everything is bounded. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "conn_int.h"
#include "util.h"

#define MAX_IN (64u << 20) /* unread bytes of one connection; the kernel's own limit is lower */

static struct rrc_tuple packet_tuple(const struct rrc_packet *pkt)
{
	struct rrc_tuple t = { .family = pkt->family, .lport = pkt->dport, .rport = pkt->sport };

	memcpy(t.local, pkt->dst, 16);
	memcpy(t.remote, pkt->src, 16);
	return t;
}

/* What the client can have been told that we take, or told us that it takes. */
static uint64_t max_window(const struct rrc_rec_conn *b, unsigned int scale)
{
	return (uint64_t)UINT16_MAX << (b->wscale_ok && scale <= 14 ? scale : 0);
}

/* Adds what is known of the stream in front of the first gap to rcvd. */
void rrc_conn_join(struct rrc_conn *conn)
{
	uint32_t n = 0;

	while (n < conn->s.nspans && conn->spans[n].from <= conn->s.rcvd) {
		conn->s.rcvd = rrc_max(conn->s.rcvd, conn->spans[n].to);
		n++;
	}
	conn->s.nspans -= n;
	if (n)
		memmove(conn->spans, conn->spans + n, conn->s.nspans * sizeof(*conn->spans));
}

/* Notes [from, to), which lies beyond rcvd. 0, or -ENOSPC with too many islands. */
static int add_span(struct rrc_conn *conn, uint64_t from, uint64_t to)
{
	uint32_t i = 0, j, n = conn->s.nspans;
	struct rrc_conn_span *s = conn->spans;

	while (i < n && s[i].to < from)
		i++;
	for (j = i; j < n && s[j].from <= to; j++) {
		from = rrc_min(from, s[j].from);
		to = rrc_max(to, s[j].to);
	}
	if (i == j) {
		if (n == RRC_CONN_MAX_SPANS)
			return -ENOSPC;
		if (!(n & (n - 1))) { /* full at each power of two */
			s = realloc(s, (n ? 2 * n : 1) * sizeof(*s));
			if (!s)
				return -ENOMEM;
			conn->spans = s;
		}
	}
	memmove(s + i + 1, s + j, (n - j) * sizeof(*s));
	s[i] = (struct rrc_conn_span){ from, to };
	conn->s.nspans = n + 1 - (j - i);
	return 0;
}

static int take_data(struct rrc_conn *conn, uint64_t from, uint64_t to, const uint8_t *data)
{
	int ret;

	if (conn->s.peer_fin && to > conn->s.fin_pos)
		to = conn->s.fin_pos;
	if (from < conn->s.rcvd) {
		if (to <= conn->s.rcvd)
			return 0;
		data += conn->s.rcvd - from;
		from = conn->s.rcvd;
	}
	if (to <= from)
		return 0;
	ret = to - conn->s.read > MAX_IN ? -ENOSPC : 0;
	if (!ret && from > conn->s.rcvd)
		ret = add_span(conn, from, to);
	if (ret == -ENOSPC) { /* never guess: say so if it is still missing at the end */
		conn->s.in_lost = rrc_max(conn->s.in_lost, to);
		return 0;
	}
	if (!ret)
		ret = rrc_stream_put(&conn->in, from, data, (size_t)(to - from));
	if (ret)
		return ret;
	if (from == conn->s.rcvd) {
		conn->s.rcvd = to;
		rrc_conn_join(conn);
	}
	return 0;
}

/* acked follows what the client claims as far as the application has written. */
void rrc_conn_settle(struct rrc_conn *conn)
{
	conn->s.acked = rrc_min(conn->s.claimed, conn->s.written);
	rrc_stream_drop(&conn->out, conn->s.acked);
}

static void take_ack(struct rrc_conn *conn, const struct rrc_packet *pkt)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	int32_t ahead = (int32_t)(pkt->ack - rrc_conn_out_seq(conn, conn->s.claimed));
	uint64_t claimed = conn->s.claimed + (int64_t)ahead;

	/* At most a window is under way; written may lag behind by a long write that has not returned. */
	if (ahead < 0 || (uint64_t)ahead > max_window(b, b->snd_wscale) + 1)
		return;
	conn->s.claimed = claimed;
	conn->s.snd_wnd = (uint32_t)pkt->win << (b->wscale_ok ? b->snd_wscale & 15 : 0);
	rrc_conn_settle(conn);
}

static void take_times(struct rrc_conn *conn, const struct rrc_packet *pkt)
{
	if (!(pkt->opts & RRC_PKT_TS))
		return;
	if ((int32_t)(pkt->tsval - conn->s.tsval) >= 0)
		conn->s.tsval = pkt->tsval;
	if ((int32_t)(pkt->tsecr - conn->s.tsecr) >= 0)
		conn->s.tsecr = pkt->tsecr;
}

static bool is_syn(const struct rrc_packet *pkt)
{
	return (pkt->flags & (RRC_TCP_SYN | RRC_TCP_ACK | RRC_TCP_RST)) == RRC_TCP_SYN;
}

static int take_packet(struct rrc_conns *conns, struct rrc_conn *conn, const struct rrc_packet *pkt,
		       const struct rrc_rec_packet *head, uint64_t ns)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	int64_t window = (int64_t)max_window(b, b->rcv_wscale);
	int64_t ahead = (int32_t)(pkt->seq - rrc_conn_in_seq(conn, conn->s.rcvd));
	uint64_t from = conn->s.rcvd + ahead, to;
	int ret = 0;

	if (pkt->flags & RRC_TCP_RST) {
		/* the only number that a kernel takes at once (RFC 5961); a FIN has one, too */
		if (ahead == rrc_conn_fin_in(conn))
			conn->s.peer_rst = 1;
		return 0;
	}
	if (is_syn(pkt)) { /* of this connection, and all that may have come of it */
		memcpy(conn->s.mac_peer, head->mac_src, 6);
		memcpy(conn->s.mac_own, head->mac_dst, 6);
	}
	if (!(pkt->flags & RRC_TCP_ACK) || pkt->flags & RRC_TCP_SYN)
		return 0;
	if (ahead + pkt->len > window || ahead < -window) {
		conns->stats.out_of_window++;
		return 0;
	}
	take_ack(conn, pkt);
	take_times(conn, pkt);
	conn->s.seen_ns = ns;
	memcpy(conn->s.mac_peer, head->mac_src, 6);
	memcpy(conn->s.mac_own, head->mac_dst, 6);
	if ((int64_t)conn->s.rcvd + ahead < 0) /* from before we knew it */
		return 0;
	to = from + pkt->len;
	conn->s.peer_nxt = rrc_max(conn->s.peer_nxt, to);
	if (pkt->len)
		ret = take_data(conn, from, to, pkt->data);
	if (pkt->flags & RRC_TCP_FIN && !conn->s.peer_fin && to >= conn->s.rcvd) {
		conn->s.peer_fin = 1;
		conn->s.fin_pos = to;
	}
	return ret;
}

/* The i-th of a ring, the oldest first. */
static struct rrc_early *nth(struct rrc_early_ring *ring, unsigned int i)
{
	return &ring->p[(ring->next + i) % RRC_CONN_EARLY_PACKETS];
}

static void forget(struct rrc_early_ring *ring, struct rrc_early *e)
{
	ring->bytes -= e->bytes ? e->head.len : 0;
	free(e->bytes);
	e->bytes = NULL;
}

/* The packet that completes a handshake may carry data, and is in the log before the birth. */
int rrc_conns_keep_early(struct rrc_conns *conns, const struct rrc_rec_packet *head,
			 const void *bytes, uint64_t ns)
{
	struct rrc_early_ring *ring = &conns->early[RRC_EARLY_DATA];
	struct rrc_packet pkt;
	uint8_t *copy;

	if (head->len > RRC_CONN_EARLY_BYTES || rrc_packet_parse(bytes, head->len, false, &pkt))
		return 0;
	if (is_syn(&pkt))
		ring = &conns->early[RRC_EARLY_SYN];
	copy = malloc(head->len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, head->len);
	forget(ring, nth(ring, 0));
	for (unsigned int i = 1;
	     i < RRC_CONN_EARLY_PACKETS && ring->bytes + head->len > RRC_CONN_EARLY_BYTES; i++)
		forget(ring, nth(ring, i));
	*nth(ring, 0) = (struct rrc_early){
		.head = *head, .ns = ns, .bytes = copy, .lport = pkt.dport, .rport = pkt.sport
	};
	ring->bytes += head->len;
	ring->next = (ring->next + 1) % RRC_CONN_EARLY_PACKETS;
	return 0;
}

static int use_ring(struct rrc_conns *conns, struct rrc_early_ring *ring, struct rrc_conn *conn)
{
	struct rrc_tuple want = rrc_conn_tuple(conn);
	int ret = 0;

	for (unsigned int i = 0; !ret && ring->bytes && i < RRC_CONN_EARLY_PACKETS; i++) {
		struct rrc_early *e = nth(ring, i);
		struct rrc_packet pkt;
		struct rrc_tuple t;

		if (!e->bytes || e->rport != want.rport || e->lport != want.lport ||
		    rrc_packet_parse(e->bytes, e->head.len, false, &pkt))
			continue;
		t = packet_tuple(&pkt);
		if (memcmp(&t, &want, sizeof(t)))
			continue;
		ret = take_packet(conns, conn, &pkt, &e->head, e->ns);
		conns->stats.early_used++;
		forget(ring, e);
	}
	return ret;
}

int rrc_conns_use_early(struct rrc_conns *conns, struct rrc_conn *conn)
{
	int ret = use_ring(conns, &conns->early[RRC_EARLY_SYN], conn);

	return ret ? ret : use_ring(conns, &conns->early[RRC_EARLY_DATA], conn);
}

int rrc_conns_each_syn(struct rrc_conns *conns, rrc_syn_fn fn, void *ctx)
{
	struct rrc_early_ring *ring = &conns->early[RRC_EARLY_SYN];

	for (unsigned int i = 0; i < RRC_CONN_EARLY_PACKETS; i++) {
		struct rrc_early *e = nth(ring, i);
		struct rrc_packet pkt;
		int ret = 0;

		if (e->bytes && !rrc_packet_parse(e->bytes, e->head.len, false, &pkt))
			ret = fn(&pkt, &e->head, e->ns, ctx);
		if (ret)
			return ret;
	}
	return 0;
}

int rrc_conns_packet(struct rrc_conns *conns, const struct rrc_rec_packet *head, const void *bytes,
		     uint64_t ns, struct rrc_conn **found, struct rrc_error *err)
{
	struct rrc_packet pkt;
	struct rrc_conn *conn;
	struct rrc_tuple t;
	int ret = 0;

	if (found)
		*found = NULL;
	switch (rrc_packet_parse(bytes, head->len, true, &pkt)) {
	case RRC_PACKET_OK:
		break;
	case RRC_PACKET_BAD:
		conns->stats.bad++;
		return 0;
	default:
		return 0;
	}
	conns->stats.packets++;
	t = packet_tuple(&pkt);
	conn = rrc_conns_find(conns, &t);
	if (conn)
		ret = take_packet(conns, conn, &pkt, head, ns);
	else
		conns->stats.unknown++;
	if (is_syn(&pkt) ||
	    (!conn && (pkt.len || pkt.flags & RRC_TCP_FIN) && !(pkt.flags & RRC_TCP_RST)))
		ret = rrc_conns_keep_early(conns, head, bytes, ns);
	if (found)
		*found = conn;
	return ret ? rrc_fail(err, ret, "no memory for a packet of a connection") : 0;
}
