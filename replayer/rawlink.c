// SPDX-License-Identifier: MIT
/* Bare segments to the clients and in their name, see rawlink.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <string.h>

#include "netcfg.h"
#include "rawlink.h"
#include "util.h"

#define BUF_SIZE (256 << 10) /* longer than any merged packet */
#define RCVBUF	 (64 << 20)

static int bind_packet(int sock, uint32_t ifindex, uint16_t protocol)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)ifindex,
				  .sll_protocol = htons(protocol) };

	return bind(sock, (struct sockaddr *)&ll, sizeof(ll)) ? -errno : 0;
}

static int open_in(struct rrc_rawlink *link, int netns, uint32_t ifindex)
{
	int one = 1, size = RCVBUF;

	link->sock = rrc_netns_socket(netns, AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->sock < 0)
		return link->sock;
	setsockopt(link->sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (setsockopt(link->sock, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)))
		return -errno;
	return bind_packet(link->sock, ifindex, ETH_P_ALL);
}

static int open_host(struct rrc_rawlink *link, const char *hostif)
{
	uint32_t ifindex = if_nametoindex(hostif);

	if (!ifindex)
		return -errno;
	link->inject = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	return link->inject < 0 ? -errno : bind_packet(link->inject, ifindex, 0);
}

int rrc_rawlink_open(struct rrc_rawlink *link, int netns, uint32_t ifindex, const uint8_t mac[6],
		     const char *hostif, struct rrc_error *err)
{
	int ret;

	memset(link, 0, sizeof(*link));
	link->inject = -1;
	memcpy(link->mac, mac, 6);
	ret = open_in(link, netns, ifindex);
	if (!ret && hostif)
		ret = open_host(link, hostif);
	link->buf = malloc(BUF_SIZE);
	if (!ret && !link->buf)
		ret = -ENOMEM;
	for (int i = 0; i < RRC_RAW_BATCH; i++) {
		link->iov[i].iov_base = link->frames[i];
		link->msgs[i].msg_hdr.msg_iov = &link->iov[i];
		link->msgs[i].msg_hdr.msg_iovlen = 1;
	}
	if (!ret)
		return 0;
	rrc_rawlink_close(link);
	return rrc_fail(err, ret, "open a packet socket on the container's link: %s",
			strerror(-ret));
}

void rrc_rawlink_close(struct rrc_rawlink *link)
{
	if (link->sock >= 0)
		close(link->sock);
	if (link->inject >= 0)
		close(link->inject);
	free(link->buf);
	link->sock = link->inject = -1;
	link->buf = NULL;
}

int rrc_rawlink_flush(struct rrc_rawlink *link)
{
	unsigned int done = 0;

	while (done < link->n) {
		int n = sendmmsg(link->sock, link->msgs + done, link->n - done, 0);

		if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR) {
			link->n = 0;
			return -errno;
		}
		done += n > 0 ? (unsigned int)n : 0;
	}
	link->n = 0;
	return 0;
}

/* A segment of the container, to the client: addresses, what we have, what we take. */
static struct rrc_bare from_us(const struct rrc_rawlink *link, const struct rrc_conn *conn,
			       uint32_t tsval)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	uint32_t win = b->rcv_wnd >> (b->wscale_ok ? b->rcv_wscale & 15 : 0);
	struct rrc_bare f = {
		.sport = b->lport,
		.dport = b->rport,
		.seq = rrc_conn_out_seq(conn, conn->s.claimed),
		.ack = rrc_conn_in_seq(conn, conn->s.rcvd) + rrc_conn_fin_in(conn),
		.win = (uint16_t)rrc_min(win, (uint32_t)UINT16_MAX),
		.flags = RRC_TCP_ACK,
		.ts = b->tstamp_ok,
		.tsval = tsval,
		.tsecr = conn->s.tsval,
	};

	f.family = rrc_conn_addrs(conn, f.src, f.dst);
	memcpy(f.mac_src, link->mac, 6);
	memcpy(f.mac_dst, conn->s.mac_peer, 6);
	return f;
}

static int queue_by(struct rrc_rawlink *link, const struct rrc_bare *f,
		    size_t (*build)(const struct rrc_bare *, uint8_t *))
{
	static const uint8_t none[6];
	int ret = 0;

	if (!memcmp(f->mac_dst, none, 6))
		return -EHOSTUNREACH;
	if (link->n == RRC_RAW_BATCH)
		ret = rrc_rawlink_flush(link);
	link->iov[link->n].iov_len = build(f, link->frames[link->n]);
	link->n++;
	return ret;
}

static int queue(struct rrc_rawlink *link, const struct rrc_bare *f)
{
	return queue_by(link, f, rrc_packet_build);
}

int rrc_rawlink_revert_timer(struct rrc_rawlink *link, const struct rrc_conn *conn)
{
	struct rrc_bare f = from_us(link, conn, 0);

	return queue_by(link, &f, rrc_packet_build_unreachable);
}

int rrc_rawlink_ask(struct rrc_rawlink *link, const struct rrc_conn *conn, uint32_t tsval,
		    bool again)
{
	struct rrc_bare f = from_us(link, conn, tsval);

	/* A byte that the client has makes it say what it has. The second time with that byte really
	 * in it, since answers to empty ones are limited to one in half a second. */
	f.seq--;
	f.byte = again;
	return queue(link, &f);
}

int rrc_rawlink_ack(struct rrc_rawlink *link, const struct rrc_conn *conn, uint32_t tsval)
{
	struct rrc_bare f = from_us(link, conn, tsval);

	return queue(link, &f);
}

int rrc_rawlink_reset(struct rrc_rawlink *link, const struct rrc_conn *conn)
{
	struct rrc_bare f = from_us(link, conn, 0);

	f.ts = false; /* a reset is taken by its sequence number alone */
	f.flags = RRC_TCP_RST | RRC_TCP_ACK;
	return queue(link, &f);
}

static uint8_t *put32(uint8_t *p, uint32_t val)
{
	val = htonl(val);
	memcpy(p, &val, 4);
	return p + 4;
}

int rrc_rawlink_synack(struct rrc_rawlink *link, const struct rrc_packet *syn, const uint8_t mac[6],
		       uint16_t mss, uint8_t wscale)
{
	uint8_t opts[40], *p = opts;
	uint32_t now = (uint32_t)(rrc_now_ns(CLOCK_MONOTONIC) / 1000000);
	struct rrc_bare f = {
		.family = syn->family,
		.sport = syn->dport,
		.dport = syn->sport,
		.seq = now * 2654435761u,
		.ack = syn->seq + 1,
		.win = 0x7fff,
		.flags = RRC_TCP_SYN | RRC_TCP_ACK,
		.opts = opts,
	};

	memcpy(f.src, syn->dst, 16);
	memcpy(f.dst, syn->src, 16);
	memcpy(f.mac_src, link->mac, 6);
	memcpy(f.mac_dst, mac, 6);
	p = put32(p, 0x02040000u | mss);
	if (syn->opts & RRC_PKT_SACK_OK)
		p = put32(p, 0x01010402);
	if (syn->opts & RRC_PKT_TS)
		p = put32(put32(put32(p, 0x0101080a), now), syn->tsval);
	if (syn->opts & RRC_PKT_WSCALE)
		p = put32(p, 0x01030300u | wscale);
	f.opts_len = (uint8_t)(p - opts);
	return queue(link, &f);
}

int rrc_rawlink_inject(struct rrc_rawlink *link, const struct rrc_conn *conn, uint8_t flags,
		       uint64_t in, uint64_t ack, const void *data, size_t len)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	uint32_t wnd = conn->s.snd_wnd + (uint32_t)(conn->s.claimed - conn->s.acked);
	uint8_t frame[RRC_PACKET_BARE_MAX + RRC_INJECT_MAX];
	struct rrc_bare f = {
		.sport = b->rport,
		.dport = b->lport,
		.seq = rrc_conn_in_seq(conn, in),
		.ack = rrc_conn_out_seq(conn, ack),
		.flags = flags | RRC_TCP_ACK,
		.data = data,
		.len = rrc_min(len, (size_t)RRC_INJECT_MAX),
	};

	if (link->inject < 0)
		return -EOPNOTSUPP;
	wnd >>= b->wscale_ok ? b->snd_wscale & 15 : 0;
	f.win = (uint16_t)rrc_min(wnd, (uint32_t)UINT16_MAX);
	f.family = rrc_conn_addrs(conn, f.dst, f.src);
	memcpy(f.mac_src, conn->s.mac_peer, 6);
	memcpy(f.mac_dst, link->mac, 6);
	return send(link->inject, frame, rrc_packet_build(&f, frame), 0) < 0 ? -errno : 0;
}

int rrc_rawlink_inject_packet(struct rrc_rawlink *link, const uint8_t mac_src[6],
			      const uint8_t *packet, size_t len)
{
	struct ether_header eth = { .ether_type = htons(packet[0] >> 4 == 4 ? ETHERTYPE_IP
									    : ETHERTYPE_IPV6) };
	struct iovec iov[2] = { { &eth, sizeof(eth) }, { (void *)(uintptr_t)packet, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (link->inject < 0)
		return -EOPNOTSUPP;
	memcpy(eth.ether_dhost, link->mac, 6);
	memcpy(eth.ether_shost, mac_src, 6);
	return sendmsg(link->inject, &msg, 0) < 0 ? -errno : 0;
}

void rrc_rawlink_deafen(struct rrc_rawlink *link)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog prog = { .len = 1, .filter = &none };

	setsockopt(link->sock, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
	while (recv(link->sock, link->buf, BUF_SIZE, MSG_DONTWAIT) > 0)
		;
}

int rrc_rawlink_read(struct rrc_rawlink *link, struct rrc_conns *conns, struct rrc_conn **conn,
		     struct rrc_error *err)
{
	struct rrc_rec_packet head = { 0 };
	const uint8_t *p = link->buf;
	ssize_t n = recv(link->sock, link->buf, BUF_SIZE, MSG_DONTWAIT);
	int ret;

	*conn = NULL;
	if (n < 0)
		return errno == EAGAIN || errno == ENETDOWN || errno == EINTR
			       ? 0
			       : rrc_fail(err, -errno, "read the container's link: %s",
					  strerror(errno));
	if (n < ETH_HLEN || n > BUF_SIZE)
		return 1;
	memcpy(head.mac_dst, p, 6);
	memcpy(head.mac_src, p + 6, 6);
	head.len = (uint32_t)n - ETH_HLEN;
	ret = rrc_conns_packet(conns, &head, p + ETH_HLEN, rrc_now_ns(CLOCK_MONOTONIC), conn, err);
	return ret ? ret : 1;
}
