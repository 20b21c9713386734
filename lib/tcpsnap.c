// SPDX-License-Identifier: MIT
/*
 * A live connection read once, for those that exist when protection begins. Sequence numbers are to
 * be had only in repair mode, which lasts a few microseconds here and sends nothing.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tcprepair.h"
#include "util.h"

enum { /* TCP_* of netinet/tcp.h, which does not go with linux/tcp.h */
	ST_ESTABLISHED = 1,
	ST_FIN_WAIT1 = 4,
	ST_FIN_WAIT2 = 5,
	ST_CLOSE_WAIT = 8,
	ST_LAST_ACK = 9,
	ST_CLOSING = 11,
};

#define PEEK_EXTRA (128 << 10) /* packets come in meanwhile; a partly acknowledged one is whole */

struct raw {
	uint32_t write_seq, rcv_nxt;
	int inq, outq, mss;
	struct tcp_repair_window win;
};

static int set_int(int sock, int level, int opt, int val)
{
	return setsockopt(sock, level, opt, &val, sizeof(val)) ? -errno : 0;
}

static int get_int(int sock, int level, int opt, void *val)
{
	socklen_t len = sizeof(int);

	return getsockopt(sock, level, opt, val, &len) ? -errno : 0;
}

static int get_seq(int sock, int queue, uint32_t *seq)
{
	int ret = set_int(sock, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);

	return ret ? ret : get_int(sock, IPPROTO_TCP, TCP_QUEUE_SEQ, seq);
}

/* In repair mode. Data may come in at any time: rcv_nxt and the length unread must be of one moment. */
static int read_raw(int sock, struct raw *raw)
{
	socklen_t len = sizeof(raw->win);
	uint32_t again;
	int ret;

	ret = get_seq(sock, TCP_RECV_QUEUE, &raw->rcv_nxt);
	for (int i = 0; !ret && i < 1000; i++) {
		if (ioctl(sock, SIOCINQ, &raw->inq))
			return -errno;
		ret = get_int(sock, IPPROTO_TCP, TCP_QUEUE_SEQ, &again);
		if (ret || again == raw->rcv_nxt)
			break;
		raw->rcv_nxt = again;
	}
	if (!ret)
		ret = get_int(sock, IPPROTO_TCP, TCP_MAXSEG,
			      &raw->mss); /* mss_clamp in repair mode */
	if (!ret && getsockopt(sock, IPPROTO_TCP, TCP_REPAIR_WINDOW, &raw->win, &len))
		ret = -errno;
	if (!ret)
		ret = get_seq(sock, TCP_SEND_QUEUE, &raw->write_seq);
	if (!ret && ioctl(sock, SIOCOUTQ, &raw->outq))
		ret = -errno;
	return ret;
}

/* The last nwant bytes of the send queue. With repair queue SEND. */
static int peek_unacked(int sock, size_t nwant, struct rrc_tcp_snapshot *snap)
{
	size_t size = nwant + PEEK_EXTRA;
	ssize_t n;

	snap->unacked = malloc(size);
	if (!snap->unacked)
		return -ENOMEM;
	n = recv(sock, snap->unacked, size, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno; /* acknowledged meanwhile */
	snap->nunacked = rrc_min((size_t)n, nwant);
	memmove(snap->unacked, snap->unacked + (size_t)n - snap->nunacked, snap->nunacked);
	return 0;
}

static int peek_unread(int sock, size_t nwant, struct rrc_tcp_snapshot *snap)
{
	ssize_t n;

	snap->unread = malloc(nwant + PEEK_EXTRA);
	if (!snap->unread)
		return -ENOMEM;
	n = recv(sock, snap->unread, nwant + PEEK_EXTRA, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	snap->nunread = (size_t)n;
	return snap->nunread < nwant ? -EIO : 0;
}

static int read_addrs(int sock, struct rrc_rec_conn *b)
{
	struct sockaddr_storage ss[2];

	for (int i = 0; i < 2; i++) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss[i];
		struct sockaddr_in *in = (struct sockaddr_in *)&ss[i];
		uint8_t *addr = i ? b->raddr : b->laddr;
		socklen_t len = sizeof(ss[i]);

		if ((i ? getpeername : getsockname)(sock, (struct sockaddr *)&ss[i], &len))
			return -errno;
		b->family = ss[i].ss_family;
		if (b->family == AF_INET)
			memcpy(addr, &in->sin_addr, 4);
		else if (b->family == AF_INET6)
			memcpy(addr, &in6->sin6_addr, 16);
		else
			return -EPROTOTYPE;
		*(i ? &b->rport : &b->lport) =
			ntohs(b->family == AF_INET ? in->sin_port : in6->sin6_port);
	}
	b->loopback = !memcmp(b->laddr, b->raddr, 16);
	return 0;
}

static int read_info(int sock, struct rrc_rec_conn *b, struct tcp_info *info)
{
	socklen_t len = sizeof(b->cookie);
	uint64_t now_ms;
	uint32_t ts = 0;
	int ret;

	if (getsockopt(sock, SOL_SOCKET, SO_COOKIE, &b->cookie, &len))
		return -errno;
	len = sizeof(*info);
	if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, info, &len))
		return -errno;
	b->state = info->tcpi_state;
	b->sack_ok = !!(info->tcpi_options & TCPI_OPT_SACK);
	b->wscale_ok = !!(info->tcpi_options & TCPI_OPT_WSCALE);
	b->tstamp_ok = !!(info->tcpi_options & TCPI_OPT_TIMESTAMPS);
	b->ecn = !!(info->tcpi_options & TCPI_OPT_ECN);
	b->snd_wscale = info->tcpi_snd_wscale;
	b->rcv_wscale = info->tcpi_rcv_wscale;
	b->advmss = info->tcpi_advmss;
	b->mss_cache = info->tcpi_snd_mss;
	if (!b->tstamp_ok)
		return 0;
	ret = get_int(sock, IPPROTO_TCP, TCP_TIMESTAMP, &ts);
	now_ms = rrc_now_ns(CLOCK_MONOTONIC) / 1000000;
	b->ts_offset = ts - (uint32_t)now_ms;
	return ret;
}

static bool has_fin_in(uint8_t state)
{
	return state == ST_CLOSE_WAIT || state == ST_LAST_ACK || state == ST_CLOSING;
}

static bool has_fin_out(uint8_t state)
{
	return state == ST_FIN_WAIT1 || state == ST_FIN_WAIT2 || state == ST_LAST_ACK ||
	       state == ST_CLOSING;
}

/* Repair mode ends on every way out, and its side effect on SO_REUSEADDR is undone. */
static int read_in_repair(int sock, uint8_t state, struct raw *raw, struct rrc_tcp_snapshot *snap)
{
	int reuse = 0, ret, end;

	ret = get_int(sock, SOL_SOCKET, SO_REUSEADDR, &reuse);
	if (!ret)
		ret = set_int(sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	if (ret)
		return ret;
	ret = read_raw(sock, raw);
	if (has_fin_out(state)) { /* our FIN has a number too, but is no byte */
		raw->write_seq--;
		raw->outq = rrc_max(raw->outq - 1, 0);
	}
	if (!ret && raw->outq)
		ret = peek_unacked(sock, (size_t)raw->outq, snap);
	end = set_int(sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	set_int(sock, SOL_SOCKET, SO_REUSEADDR, reuse);
	return ret ? ret : end;
}

static int read_once(int sock, struct rrc_tcp_snapshot *snap)
{
	struct rrc_rec_conn *b = &snap->birth;
	struct raw raw = { 0 };
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int ret;

	memset(snap, 0, sizeof(*snap));
	ret = read_addrs(sock, b);
	if (!ret)
		ret = read_info(sock, b, &info);
	if (!ret && b->state != ST_ESTABLISHED && !has_fin_in(b->state) && !has_fin_out(b->state))
		ret = -ENOTCONN;
	if (!ret)
		ret = read_in_repair(sock, b->state, &raw, snap);
	if (!ret && raw.inq)
		ret = peek_unread(sock, (size_t)raw.inq, snap);
	if (!ret && getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len))
		ret = -errno;
	if (!ret && info.tcpi_state != b->state)
		ret = -EAGAIN; /* a FIN came in meanwhile, which counts in rcv_nxt */
	b->copied_seq = raw.rcv_nxt - (has_fin_in(b->state) ? 1 : 0) - (uint32_t)raw.inq;
	b->rcv_nxt = b->copied_seq;
	b->write_seq = raw.write_seq - (uint32_t)snap->nunacked;
	b->snd_una = b->snd_nxt = b->write_seq;
	b->snd_wnd = raw.win.snd_wnd;
	b->rcv_wnd = raw.win.rcv_wnd;
	b->mss_clamp = (uint32_t)raw.mss;
	return ret;
}

int rrc_tcp_snapshot(int sock, struct rrc_tcp_snapshot *snap, struct rrc_error *err)
{
	int ret;

	do { /* a state changes a few times at most */
		ret = read_once(sock, snap);
		if (ret)
			rrc_tcp_snapshot_free(snap);
	} while (ret == -EAGAIN);
	return ret ? rrc_fail(err, ret, "read a live connection: %s", strerror(-ret)) : 0;
}

void rrc_tcp_snapshot_free(struct rrc_tcp_snapshot *snap)
{
	free(snap->unread);
	free(snap->unacked);
	memset(snap, 0, sizeof(*snap));
}
