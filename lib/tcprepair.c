// SPDX-License-Identifier: MIT
/*
 * A connection rebuilt in place with TCP_REPAIR (linux net/ipv4/tcp.c: do_tcp_setsockopt,
 * tcp_repair_options_est, tcp_repair_set_window, tcp_send_rcvq). A live one's reading is in
 * tcpsnap.c.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "tcprepair.h"
#include "util.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#define BUF_LOCK_SND 1 /* SOCK_SNDBUF_LOCK */
#define BUF_LOCK_RCV 2 /* SOCK_RCVBUF_LOCK */

#define TS_AHEAD_MS 200 /* ahead is fine, behind makes the client deaf (PAWS) */
#define MIN_RCV_WND 65535
#define BUF_EXTRA   (64 << 10)

static int set_int(int sock, int level, int opt, int val)
{
	return setsockopt(sock, level, opt, &val, sizeof(val)) ? -errno : 0;
}

static int get_int(int sock, int level, int opt)
{
	int val = 0;
	socklen_t len = sizeof(val);

	return getsockopt(sock, level, opt, &val, &len) ? 0 : val;
}

uint32_t rrc_tcp_tsval(const struct rrc_conn *conn, const struct rrc_tcp_place *place)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	uint64_t ns =
		rrc_now_ns(CLOCK_MONOTONIC) + (uint64_t)place->skew_ns + TS_AHEAD_MS * 1000000ull;
	/* tcp_clock_ts(): the kernel's own clock plus the connection's offset */
	uint32_t val = (uint32_t)(ns / (b->usec_ts ? 1000 : 1000000)) + b->ts_offset;

	/* An offset that does not fit the echoes (should not be) must not put us behind. */
	if (conn->s.tsecr && (int32_t)(conn->s.tsecr - val) > 0)
		val = conn->s.tsecr + (b->usec_ts ? 1000000 : 1000);
	/* The lowest bit of TCP_TIMESTAMP switches to microseconds (linux 6.7 and later). */
	return b->usec_ts ? val | 1 : (val + 1) & ~1u;
}

static socklen_t make_addr(struct sockaddr_storage *ss, const struct rrc_rec_conn *b, bool remote,
			   uint32_t ifindex)
{
	const uint8_t *addr = remote ? b->raddr : b->laddr;
	uint16_t port = htons(remote ? b->rport : b->lport);
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (b->family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = port;
		memcpy(&in->sin_addr, addr, 4);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = port;
	memcpy(&in6->sin6_addr, addr, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
		in6->sin6_scope_id = ifindex;
	return sizeof(*in6);
}

/* A socket that CRIU restored with --tcp-close is shut both ways; only disconnecting undoes that. */
static int reopen(int sock)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	int ret = set_int(sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);

	if (ret)
		return ret;
	if (connect(sock, &unspec, sizeof(unspec)))
		return -errno;
	get_int(sock, SOL_SOCKET, SO_ERROR);
	return set_int(sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
}

static int raise_buffers(struct rrc_tcp_fix *fix, size_t unread, size_t unacked)
{
	int ret = 0;

	fix->buf_lock = get_int(fix->sock, SOL_SOCKET, SO_BUF_LOCK);
	fix->rcvbuf = get_int(fix->sock, SOL_SOCKET, SO_RCVBUF);
	fix->sndbuf = get_int(fix->sock, SOL_SOCKET, SO_SNDBUF);
	/* The kernel doubles these, which pays for its own overhead. */
	if (unread + BUF_EXTRA > (size_t)fix->rcvbuf)
		ret = set_int(fix->sock, SOL_SOCKET, SO_RCVBUFFORCE, (int)unread + BUF_EXTRA);
	if (!ret && unacked + BUF_EXTRA > (size_t)fix->sndbuf)
		ret = set_int(fix->sock, SOL_SOCKET, SO_SNDBUFFORCE, (int)unacked + BUF_EXTRA);
	return ret;
}

static int set_seq(int sock, int queue, uint32_t seq)
{
	int ret = set_int(sock, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);

	return ret ? ret : set_int(sock, IPPROTO_TCP, TCP_QUEUE_SEQ, (int)seq);
}

static int connect_silently(int sock, const struct rrc_rec_conn *b, uint32_t ifindex)
{
	struct sockaddr_storage addr;
	socklen_t len = make_addr(&addr, b, false, ifindex);

	if (bind(sock, (struct sockaddr *)&addr, len))
		return -errno;
	len = make_addr(&addr, b, true, ifindex);
	return connect(sock, (struct sockaddr *)&addr, len) ? -errno : 0;
}

static int set_options(int sock, const struct rrc_conn *conn, const struct rrc_tcp_place *place)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	struct tcp_repair_opt opt[4];
	int n = 0;

	if (b->sack_ok)
		opt[n++] = (struct tcp_repair_opt){ .opt_code = 4 };
	/* Without scaling too, as a scale of 0: else the one that connect chose stays, and the client
	 * is told 1/128 of the window. */
	opt[n++] = (struct tcp_repair_opt){
		.opt_code = 3,
		.opt_val = b->wscale_ok ? b->snd_wscale | (uint32_t)b->rcv_wscale << 16 : 0
	};
	if (b->tstamp_ok)
		opt[n++] = (struct tcp_repair_opt){ .opt_code = 8 };
	opt[n++] = (struct tcp_repair_opt){ .opt_code = 2, .opt_val = b->mss_clamp };
	if (setsockopt(sock, IPPROTO_TCP, TCP_REPAIR_OPTIONS, opt, n * sizeof(*opt)))
		return -errno;
	if (!b->tstamp_ok)
		return 0;
	return set_int(sock, IPPROTO_TCP, TCP_TIMESTAMP, (int)rrc_tcp_tsval(conn, place));
}

static int fill_unread(int sock, const struct rrc_conn *conn)
{
	uint64_t off = conn->s.read;
	int ret = set_int(sock, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);

	while (!ret && off < conn->s.rcvd) { /* the kernel takes some 70 KB at a time */
		ssize_t n = send(sock, rrc_stream_at(&conn->in, off), conn->s.rcvd - off,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			return n ? -errno : -ENOBUFS;
		off += (uint64_t)n;
	}
	return ret;
}

/* Counts as sent now. Its value does not matter, the client has that byte. */
static int fill_sent_byte(int sock)
{
	int ret = set_int(sock, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);

	if (!ret && send(sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		ret = errno ? -errno : -EIO;
	return ret;
}

static int set_window(int sock, const struct rrc_conn *conn)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	uint32_t rcv_nxt = rrc_conn_in_seq(conn, conn->s.rcvd);
	/* The client counts from what it has, we from what the application has written so far. */
	uint32_t snd_wnd = conn->s.snd_wnd + (uint32_t)(conn->s.claimed - conn->s.acked);
	struct tcp_repair_window win = {
		.snd_wl1 = rcv_nxt - 1,
		.snd_wnd = snd_wnd,
		.max_window = rrc_max(snd_wnd, b->snd_wnd),
		.rcv_wnd = rrc_max(b->rcv_wnd, (uint32_t)MIN_RCV_WND),
		.rcv_wup = rcv_nxt,
	};

	return setsockopt(sock, IPPROTO_TCP, TCP_REPAIR_WINDOW, &win, sizeof(win)) ? -errno : 0;
}

void rrc_tcp_abort(int sock)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	if (set_int(sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON))
		return;
	connect(sock, &unspec, sizeof(unspec));
	set_int(sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	set_int(sock, SOL_SOCKET, SO_REUSEADDR, 1);
}

int rrc_tcp_rebuild(int sock, const struct rrc_conn *conn, const struct rrc_tcp_place *place,
		    struct rrc_tcp_fix *fix, struct rrc_error *err)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	const char *step = "reopen";
	char name[128];
	int ret;

	*fix = (struct rrc_tcp_fix){ .sock = sock, .ts = b->tstamp_ok, .measure = fix->measure };
	ret = reopen(sock);
	if (!ret && (step = "buffers"))
		ret = raise_buffers(fix, conn->s.rcvd - conn->s.read,
				    rrc_max(conn->s.written, conn->s.claimed) - conn->s.acked);
	if (!ret &&
	    (step = "maximum segment")) /* before connect: else segments stay at 536 bytes */
		ret = set_int(sock, IPPROTO_TCP, TCP_MAXSEG, (int)b->mss_clamp);
	if (!ret && (step = "sequence numbers"))
		ret = set_seq(sock, TCP_SEND_QUEUE,
			      rrc_conn_out_seq(conn, conn->s.acked) - fix->measure);
	if (!ret)
		ret = set_seq(sock, TCP_RECV_QUEUE, rrc_conn_in_seq(conn, conn->s.read));
	if (!ret && (step = "addresses"))
		ret = connect_silently(sock, b, place->ifindex);
	if (!ret && (step = "options"))
		ret = set_options(sock, conn, place);
	if (!ret && (step = "unread bytes"))
		ret = fill_unread(sock, conn);
	if (!ret && (step = "window"))
		ret = set_window(sock, conn);
	if (!ret && fix->measure && (step = "round-trip time"))
		ret = fill_sent_byte(sock);
	if (!ret)
		return 0;
	rrc_tcp_abort(sock);
	return rrc_fail(err, ret, "rebuild connection %s: %s: %s",
			rrc_conn_name(conn, name, sizeof(name)), step, strerror(-ret));
}

int rrc_tcp_release(struct rrc_tcp_fix *fix, struct rrc_error *err)
{
	int ret = set_int(fix->sock, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);

	if (!ret) /* else the listener on this port could not be bound again */
		ret = set_int(fix->sock, SOL_SOCKET, SO_REUSEADDR, 1);
	return ret ? rrc_fail(err, ret, "end repair of a connection: %s", strerror(-ret)) : 0;
}

static void restore_buffers(const struct rrc_tcp_fix *fix)
{
	if (fix->buf_lock & BUF_LOCK_RCV)
		set_int(fix->sock, SOL_SOCKET, SO_RCVBUFFORCE, fix->rcvbuf / 2);
	if (fix->buf_lock & BUF_LOCK_SND)
		set_int(fix->sock, SOL_SOCKET, SO_SNDBUFFORCE, fix->sndbuf / 2);
	/* Autotuning lives on where the application left it alone. */
	set_int(fix->sock, SOL_SOCKET, SO_BUF_LOCK, fix->buf_lock);
}

int rrc_tcp_resume(struct rrc_tcp_fix *fix, const struct rrc_conn *conn, struct rrc_error *err)
{
	uint64_t off = conn->s.acked;
	int size = fix->sndbuf, ret = 0;
	char name[128];

	while (!ret && off < conn->s.written) {
		ssize_t n = send(fix->sock, rrc_stream_at(&conn->out, off), conn->s.written - off,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			off += (uint64_t)n;
		else if (n < 0 && errno == EAGAIN && size < (512 << 20))
			ret = set_int(fix->sock, SOL_SOCKET, SO_SNDBUFFORCE,
				      size = rrc_max(2 * size, 1 << 20));
		else
			ret = n ? -errno : -EPIPE;
	}
	restore_buffers(fix);
	if (!ret)
		return 0;
	return rrc_fail(err, ret, "send %llu unacknowledged bytes of %s: %s",
			(unsigned long long)(conn->s.written - off),
			rrc_conn_name(conn, name, sizeof(name)), strerror(-ret));
}

uint32_t rrc_tcp_tsval_now(const struct rrc_tcp_fix *fix)
{
	return fix->ts ? (uint32_t)get_int(fix->sock, IPPROTO_TCP, TCP_TIMESTAMP) : 0;
}
