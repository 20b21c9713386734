// SPDX-License-Identifier: MIT
/* What a record does to the table of connections: births, ends, bytes read and written by calls. */
#include <asm/unistd.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "conn_int.h"
#include "reclog.h"
#include "syscalls.h"
#include "util.h"

enum io_dir {
	IO_READ = 1,
	IO_READ_MANY,
	IO_WRITE,
	IO_WRITE_MANY,
	IO_SPLICE,
	IO_SHUTDOWN
};

#define NO_FLAGS 0xff

static const struct io {
	uint16_t nr;
	uint8_t dir;
	uint8_t flags; /* which argument has the MSG_ flags */
} io_calls[] = {
	{ __NR_read, IO_READ, NO_FLAGS },
	{ __NR_readv, IO_READ, NO_FLAGS },
	{ __NR_preadv2, IO_READ, NO_FLAGS },
	{ __NR_recvfrom, IO_READ, 3 },
	{ __NR_recvmsg, IO_READ, 2 },
	{ __NR_recvmmsg, IO_READ_MANY, 3 },
	{ __NR_write, IO_WRITE, NO_FLAGS },
	{ __NR_writev, IO_WRITE, NO_FLAGS },
	{ __NR_pwritev2, IO_WRITE, NO_FLAGS },
	{ __NR_sendto, IO_WRITE, 3 },
	{ __NR_sendmsg, IO_WRITE, 2 },
	{ __NR_sendmmsg, IO_WRITE_MANY, 3 },
	{ __NR_sendfile, IO_WRITE, NO_FLAGS },
	{ __NR_splice, IO_SPLICE, NO_FLAGS },
	{ __NR_shutdown, IO_SHUTDOWN, NO_FLAGS },
};

static const struct io *io_call(unsigned int nr)
{
	for (size_t i = 0; i < RRC_ARRAY_SIZE(io_calls); i++)
		if (io_calls[i].nr == nr)
			return &io_calls[i];
	return NULL;
}

static struct rrc_conn *conn_from_birth(const struct rrc_rec_conn *birth)
{
	struct rrc_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->s.birth = *birth;
	conn->s.state = birth->state;
	conn->s.snd_wnd = birth->snd_wnd;
	conn->s.tsval = birth->rcv_tsval ? birth->rcv_tsval : birth->ts_recent;
	conn->s.tsecr = birth->rcv_tsecr;
	return conn;
}

/* One that is closing already when it is seen first. */
static void begin_half_closed(struct rrc_conn *conn)
{
	switch (conn->s.state) {
	case TCP_FIN_WAIT2:
		conn->s.claimed = conn->s.written + 1;
		conn->s.acked = conn->s.written;
		/* fall through */
	case TCP_FIN_WAIT1:
		conn->s.shut_wr = 1;
		break;
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		conn->s.shut_wr = 1;
		/* fall through */
	case TCP_CLOSE_WAIT:
		conn->s.peer_fin = 1;
		conn->s.fin_pos = conn->s.rcvd;
		break;
	}
}

int rrc_conns_add(struct rrc_conns *conns, const struct rrc_rec_conn *birth, const void *unread,
		  size_t nunread, const void *unacked, size_t nunacked, struct rrc_error *err)
{
	struct rrc_conn *conn = conn_from_birth(birth);

	if (!conn)
		return rrc_fail(err, -ENOMEM, "no memory for a connection");
	conn->s.accepted = 1;
	conn->s.rcvd = nunread;
	conn->s.written = nunacked;
	begin_half_closed(conn);
	if (rrc_stream_put(&conn->in, 0, unread, nunread) ||
	    rrc_stream_put(&conn->out, 0, unacked, nunacked)) {
		rrc_conn_free(conn);
		return rrc_fail(err, -ENOMEM, "no memory for a connection's bytes");
	}
	if (rrc_conns_insert(conns, conn))
		return rrc_fail(err, -ENOMEM, "no memory for the table of connections");
	conns->stats.births++;
	return 0;
}

static void consumed(struct rrc_conns *conns, struct rrc_conn *conn, uint64_t n)
{
	conn->s.read += n;
	if (conn->s.read > conn->s.rcvd) {
		conn->s.rcvd = conn->s.read; /* what was missing has been read: nobody needs it */
		rrc_conn_join(conn);
		conns->stats.healed++;
	}
	rrc_stream_drop(&conn->in, conn->s.read);
}

static int born(struct rrc_conns *conns, const struct rrc_rec_conn *birth, uint64_t ns)
{
	struct rrc_conn *conn = conn_from_birth(birth);
	int ret;

	if (!conn)
		return -ENOMEM;
	conn->s.accepted = birth->active;
	conn->s.born_ns = ns;
	ret = rrc_conns_insert(conns, conn);
	if (ret)
		return ret;
	conns->stats.births++;
	return rrc_conns_use_early(conns, conn);
}

/* Is this segment the data itself, and not a name, an offset or control data? */
static bool is_data(const struct rrc_rec *rec, const struct rrc_seg *seg, uint8_t dir)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);

	if (seg->dir != dir)
		return false;
	if (seg->row >= row->nseg)
		return true; /* added by the collector: what sendfile read */
	switch (row->seg[seg->row].len) {
	case RRC_LEN_RET:
	case RRC_LEN_IOVEC:
	case RRC_LEN_MSGHDR:
	case RRC_LEN_MMSGHDR:
		return true;
	default:
		return false;
	}
}

static uint64_t data_len(const struct rrc_rec *rec, uint8_t dir)
{
	const struct rrc_seg *seg = rrc_rec_segs(rec);
	uint64_t len = 0;

	for (unsigned int i = 0; i < rec->nseg; i++)
		if (is_data(rec, &seg[i], dir))
			len += seg[i].len;
	return len;
}

/* The n bytes that a call wrote; what the record lacks of them is noted as lost. */
static int wrote(struct rrc_conn *conn, const struct rrc_rec *rec, uint64_t n)
{
	const struct rrc_seg *seg = rrc_rec_segs(rec);
	const uint8_t *p = rrc_rec_payload(rec);
	uint64_t done = 0;
	int ret = 0;

	for (unsigned int i = 0; !ret && i < rec->nseg; p += seg[i].len, i++) {
		uint64_t len = rrc_min((uint64_t)seg[i].len, n - done);

		if (!is_data(rec, &seg[i], RRC_SEG_IN))
			continue;
		ret = rrc_stream_put(&conn->out, conn->s.written + done, p, len);
		done += len;
	}
	if (!ret && (done < n || rec->flags & (RRC_F_FAULT | RRC_F_TRUNC))) {
		conn->s.out_lost = conn->s.written + n;
		rrc_stream_drop(&conn->out, conn->s.out_lost);
	}
	if (ret)
		return ret;
	conn->s.written += n;
	rrc_conn_settle(conn);
	return 0;
}

static void shut(struct rrc_conn *conn, uint64_t how)
{
	if (how == SHUT_RD || how == SHUT_RDWR)
		conn->s.shut_rd = 1;
	if (how == SHUT_WR || how == SHUT_RDWR)
		conn->s.shut_wr = 1;
}

/* What a call read of a UDP socket. */
static void apply_datagrams(struct rrc_conns *conns, const struct rrc_rec *rec)
{
	const struct io *io = io_call(rec->nr);
	const struct rrc_seg *seg = rrc_rec_segs(rec);
	const uint8_t *p = rrc_rec_payload(rec);
	uint64_t flags;

	if (!io || rec->ret <= 0 || (io->dir != IO_READ && io->dir != IO_READ_MANY))
		return;
	flags = io->flags == NO_FLAGS ? 0 : rec->args[io->flags];
	for (unsigned int i = 0; i < rec->nseg; p += seg[i].len, i++)
		if (is_data(rec, &seg[i], RRC_SEG_OUT) && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
			rrc_datagrams_read(&conns->datagrams, p, seg[i].len,
					   io->dir == IO_READ ? 1 : (size_t)rec->ret);
}

static int apply_call(struct rrc_conns *conns, const struct rrc_rec *rec)
{
	const struct io *io = io_call(rec->nr);
	struct rrc_conn *conn;
	uint64_t flags, n = (uint64_t)rec->ret;

	if (rec->fdkind == RRC_FD_UDP)
		apply_datagrams(conns, rec);
	if (rec->fdkind != RRC_FD_TCP || !rec->obj)
		return 0;
	conn = rrc_conns_get(conns, rec->obj);
	if (!conn)
		return 0;
	conn->s.accepted = 1;
	if (io && io->dir == IO_SHUTDOWN && rec->ret == 0)
		shut(conn, rec->args[1]);
	if (!io || rec->ret <= 0)
		return 0;
	flags = io->flags == NO_FLAGS ? 0 : rec->args[io->flags];
	switch (io->dir) {
	case IO_READ_MANY:
		n = data_len(rec, RRC_SEG_OUT);
		/* fall through */
	case IO_READ:
		if (!(flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)))
			consumed(conns, conn, n);
		return 0;
	case IO_WRITE_MANY:
		n = data_len(rec, RRC_SEG_IN);
		/* fall through */
	case IO_WRITE:
		return wrote(conn, rec, n);
	case IO_SPLICE:
		if (rrc_sysrow(rec->nr)->fd == 0)
			consumed(conns, conn, n);
		else
			return wrote(conn, rec, n);
	}
	return 0;
}

static bool birth_of(const struct rrc_rec *rec, struct rrc_rec_conn *birth)
{
	if (!rec->nseg || rrc_rec_segs(rec)[0].len < sizeof(*birth))
		return false;
	memcpy(birth, rrc_rec_payload(rec), sizeof(*birth));
	return birth->family == AF_INET || birth->family == AF_INET6;
}

static bool packet_of(const struct rrc_rec *rec, struct rrc_rec_packet *head, const uint8_t **bytes)
{
	const uint8_t *p = rrc_rec_payload(rec);

	if (!rec->nseg || rrc_rec_segs(rec)[0].len < sizeof(*head))
		return false;
	memcpy(head, p, sizeof(*head));
	*bytes = p + sizeof(*head);
	return head->len <= rrc_rec_segs(rec)[0].len - sizeof(*head);
}

int rrc_conns_check(const struct rrc_rec *rec, struct rrc_error *err)
{
	struct rrc_rec_conn birth;
	struct rrc_rec_packet head;
	const uint8_t *bytes;
	bool good = true;

	if (rec->kind == RRC_REC_CONN)
		good = birth_of(rec, &birth);
	else if (rec->kind == RRC_REC_PACKET)
		good = packet_of(rec, &head, &bytes);
	else if (rec->kind == RRC_REC_SYSCALL && rec->fdkind == RRC_FD_TCP && io_call(rec->nr))
		good = rec->ret <= INT32_MAX; /* no call moves more */
	return good ? 0
		    : rrc_fail(err, EBADMSG, "record %u of kind %u is damaged", rec->seq,
			       rec->kind);
}

static int apply_birth(struct rrc_conns *conns, const struct rrc_rec *rec)
{
	struct rrc_rec_conn birth;

	birth_of(rec, &birth);
	return born(conns, &birth, rec->exit_ns);
}

static int apply_packet(struct rrc_conns *conns, const struct rrc_rec *rec, struct rrc_error *err)
{
	struct rrc_rec_packet head;
	const uint8_t *bytes;

	packet_of(rec, &head, &bytes);
	if (rrc_datagrams_packet(&conns->datagrams, &head, bytes))
		return -ENOMEM;
	return rrc_conns_packet(conns, &head, bytes, rec->exit_ns, NULL, err);
}

/*
 * The kernel's socket is done, which need not be the end: in place of it there may be a timewait that
 * answers the client's FIN (linux tcp_time_wait), and the application may not have read all yet. Other
 * ends are resets, or time-outs of a client that is dead.
 */
static bool ended_in_order(const struct rrc_conn *conn, uint64_t from)
{
	if (conn->s.peer_rst || conn->s.birth.loopback)
		return false;
	if (from == TCP_LAST_ACK) /* the client needs nothing; closed, the application neither */
		return conn->s.shut_wr;
	return from == TCP_FIN_WAIT2 || from == TCP_CLOSING;
}

static int apply_state(struct rrc_conns *conns, const struct rrc_rec *rec)
{
	struct rrc_conn *conn = rrc_conns_get(conns, rec->obj);

	if (!conn)
		return 0;
	if (rec->args[1] != TCP_CLOSE) {
		conn->s.state = (uint8_t)rec->args[1];
		return 0;
	}
	conns->stats.closes++;
	if (ended_in_order(conn, rec->args[0]))
		rrc_conns_keep_gone(conns, conn);
	else
		rrc_conns_remove(conns, rec->obj);
	return 0;
}

int rrc_conns_apply(struct rrc_conns *conns, const struct rrc_rec *rec, struct rrc_error *err)
{
	int ret = rrc_conns_check(rec, err);

	if (ret)
		return ret;
	switch (rec->kind) {
	case RRC_REC_CONN:
		ret = apply_birth(conns, rec);
		break;
	case RRC_REC_PACKET:
		ret = apply_packet(conns, rec, err);
		break;
	case RRC_REC_CONN_STATE:
		ret = apply_state(conns, rec);
		break;
	case RRC_REC_SYSCALL:
		ret = apply_call(conns, rec);
		break;
	}
	return ret ? rrc_fail(err, ret, "no memory for the table of connections") : 0;
}

int rrc_conns_apply_outside(struct rrc_conns *conns, const struct rrc_rec *rec,
			    struct rrc_error *err)
{
	if (rec->kind != RRC_REC_CONN && rec->kind != RRC_REC_PACKET)
		return 0;
	return rrc_conns_apply(conns, rec, err);
}
