/* SPDX-License-Identifier: MIT */
/* Tables of connections for unit tests: records that bring one about, and what is in it then. */
#ifndef TESTS_CONN_H
#define TESTS_CONN_H

#include <asm/unistd.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conn.h"
#include "reclog.h"
#include "syscalls.h"
#include "util.h"

#define ISN_IN	0xfffffff0u /* both streams pass 2^32 soon */
#define ISN_OUT 0xffffffe0u

static struct rrc_error err;

struct seg {
	const void *data;
	uint32_t len;
	uint8_t row, dir;
};

static inline struct rrc_rec *make_rec(struct rrc_rec rec, const struct seg *segs, int n)
{
	static uint8_t buf[1 << 20] __attribute__((aligned(8)));
	size_t off = sizeof(rec) + (size_t)n * sizeof(struct rrc_seg);

	memset(buf, 0, 4096);
	for (int i = 0; i < n; i++) {
		struct rrc_seg s = { .len = segs[i].len, .row = segs[i].row, .dir = segs[i].dir };

		memcpy(buf + sizeof(rec) + (size_t)i * sizeof(s), &s, sizeof(s));
		memcpy(buf + off, segs[i].data, segs[i].len);
		off += segs[i].len;
	}
	rec.nseg = (uint8_t)n;
	rec.size = (uint32_t)RRC_ALIGN8(off);
	memset(buf + off, 0, rec.size - off);
	memcpy(buf, &rec, sizeof(rec));
	cr_assert_eq(rrc_rec_check(buf, rec.size, &err), 0, "%s", err.msg);
	return (struct rrc_rec *)buf;
}

static inline void apply(struct rrc_conns *c, struct rrc_rec rec, const struct seg *segs, int n)
{
	cr_assert_eq(rrc_conns_apply(c, make_rec(rec, segs, n), &err), 0, "%s", err.msg);
}

static inline struct rrc_rec_conn birth_of(uint64_t cookie, uint16_t rport)
{
	return (struct rrc_rec_conn){
		.cookie = cookie,
		.family = AF_INET,
		.lport = 6379,
		.rport = rport,
		.laddr = { 10, 0, 0, 1 },
		.raddr = { 10, 0, 0, 9 },
		.state = TCP_ESTABLISHED,
		.snd_nxt = ISN_OUT,
		.snd_una = ISN_OUT,
		.write_seq = ISN_OUT,
		.rcv_nxt = ISN_IN,
		.copied_seq = ISN_IN,
		.snd_wnd = 1000,
		.rcv_wnd = 65535,
		.wscale_ok = 1,
		.snd_wscale = 3,
		.rcv_wscale = 0,
		.tstamp_ok = 1,
	};
}

static inline void born(struct rrc_conns *c, struct rrc_rec_conn birth)
{
	struct seg s = { &birth, sizeof(birth), 0, RRC_SEG_OUT };

	apply(c,
	      (struct rrc_rec){ .kind = RRC_REC_CONN, .fdkind = RRC_FD_TCP, .obj = birth.cookie },
	      &s, 1);
}

/* A packet of the client; off and ack are offsets in the streams. */
static inline void packet(struct rrc_conns *c, uint16_t rport, uint8_t flags, uint32_t off,
			  const char *data, uint32_t ack, uint16_t win)
{
	struct rrc_bare b = { .family = AF_INET,
			      .sport = rport,
			      .dport = 6379,
			      .seq = ISN_IN + off,
			      .ack = ISN_OUT + ack,
			      .win = win,
			      .flags = flags,
			      .ts = true,
			      .src = { 10, 0, 0, 9 },
			      .dst = { 10, 0, 0, 1 },
			      .tsval = 100 + off };
	uint8_t frame[RRC_PACKET_BARE_MAX], rec[sizeof(struct rrc_rec_packet) + 4096];
	struct rrc_rec_packet head = { .family = AF_INET, .mac_src = { 2, 3 } };
	size_t len = rrc_packet_build(&b, frame) - 14, n = strlen(data);
	struct seg s = { rec, 0, 0, RRC_SEG_OUT };
	uint8_t *p = rec + sizeof(head);
	uint64_t sum;
	uint16_t fold;

	memcpy(p, frame + 14, len);
	memcpy(p + len, data, n);
	len += n;
	p[2] = (uint8_t)(len >> 8);
	p[3] = (uint8_t)len;
	p[36] = p[37] = 0;
	sum = rrc_sum_add(0, p + 12, 8);
	sum = rrc_sum_add(sum, (uint8_t[]){ 0, 6, (uint8_t)((len - 20) >> 8), (uint8_t)(len - 20) },
			  4);
	fold = (uint16_t)~rrc_sum_fold(rrc_sum_add(sum, p + 20, len - 20));
	p[36] = (uint8_t)(fold >> 8);
	p[37] = (uint8_t)fold;
	head.len = (uint32_t)len;
	memcpy(rec, &head, sizeof(head));
	s.len = (uint32_t)(sizeof(head) + len);
	apply(c, (struct rrc_rec){ .kind = RRC_REC_PACKET, .exit_ns = 42 }, &s, 1);
}

static inline void in(struct rrc_conns *c, uint32_t off, const char *data)
{
	packet(c, 40000, RRC_TCP_ACK, off, data, 0, 10);
}

static inline void call(struct rrc_conns *c, int nr, int64_t ret, uint64_t a2, uint64_t a3,
			const struct seg *segs, int n)
{
	apply(c,
	      (struct rrc_rec){ .kind = RRC_REC_SYSCALL,
				.fdkind = RRC_FD_TCP,
				.obj = 7,
				.tid = 1,
				.pid = 1,
				.nr = (uint16_t)nr,
				.ret = ret,
				.args = { 5, 0, a2, a3 } },
	      segs, n);
}

static inline void wrote(struct rrc_conns *c, const char *data)
{
	struct seg s = { data, (uint32_t)strlen(data), 0, RRC_SEG_IN };

	call(c, __NR_write, s.len, 0, 0, &s, 1);
}

static inline struct rrc_conns *one(void)
{
	struct rrc_conns *c = rrc_conns_new();

	born(c, birth_of(7, 40000));
	cr_assert_eq(rrc_conns_count(c), 1);
	return c;
}

static inline void unread_is(struct rrc_conns *c, const char *want)
{
	struct rrc_conn *conn = rrc_conns_get(c, 7);

	cr_assert_eq(conn->s.rcvd - conn->s.read, strlen(want), "%llu..%llu, want %s",
		     (unsigned long long)conn->s.read, (unsigned long long)conn->s.rcvd, want);
	cr_assert(!*want || !memcmp(rrc_stream_at(&conn->in, conn->s.read), want, strlen(want)));
}

static inline void unacked_is(struct rrc_conns *c, const char *want)
{
	struct rrc_conn *conn = rrc_conns_get(c, 7);

	cr_assert_eq(conn->s.written - conn->s.acked, strlen(want));
	cr_assert(!*want || !memcmp(rrc_stream_at(&conn->out, conn->s.acked), want, strlen(want)));
}

#endif
