// SPDX-License-Identifier: MIT
/* Frames over real TCP connections: whole, in order, however the bytes come; and what ends a link. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "help.h"
#include "link.h"
#include "util.h"

struct ends {
	struct rrc_link a, b;
};

static void address_of(int fd, char *buf, size_t size)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	snprintf(buf, size, "127.0.0.1:%u", ntohs(sa.sin_port));
}

static void connect_ends(struct ends *e)
{
	struct rrc_error err = { 0 };
	int listener = rrc_link_listen("127.0.0.1:0", &err), fd;
	char address[64];

	cr_assert_geq(listener, 0, "%s", err.msg);
	address_of(listener, address, sizeof(address));
	cr_assert_eq(rrc_link_connect(&e->a, address, 1000, &err), 0, "%s", err.msg);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(fd, 0);
	rrc_link_init(&e->b, fd);
	close(listener);
}

static void close_ends(struct ends *e)
{
	rrc_link_close(&e->a);
	rrc_link_close(&e->b);
}

static void get(struct rrc_link *l, struct rrc_frame *f, const uint8_t **payload)
{
	struct rrc_error err = { 0 };

	cr_assert_eq(rrc_link_recv_wait(l, f, payload, 5000, &err), 1, "%s", err.msg);
}

Test(link, frames_come_whole_and_in_order, .timeout = 30)
{
	const uint8_t *payload;
	struct rrc_frame f;
	struct ends e;

	connect_ends(&e);
	cr_assert_eq(rrc_link_send(&e.a, RRC_FRAME_BEAT, NULL, 0, 1, 2), 0);
	cr_assert_eq(rrc_link_send(&e.a, RRC_FRAME_REFUSE, "because", 7, 3, 4), 0);
	get(&e.b, &f, &payload);
	cr_assert(f.type == RRC_FRAME_BEAT && f.pos == 1 && f.aux == 2 && !f.stored);
	get(&e.b, &f, &payload);
	cr_assert(f.type == RRC_FRAME_REFUSE && f.stored == 7 && !memcmp(payload, "because", 7));
	cr_assert_eq(rrc_link_send(&e.b, RRC_FRAME_ACK, NULL, 0, 9, 9), 0);
	get(&e.a, &f, &payload);
	cr_assert_eq(f.pos, 9u);
	close_ends(&e);
}

static void *flush(void *arg)
{
	return (void *)(intptr_t)rrc_link_flush_wait(arg, 20000);
}

/* Far more than the sockets hold while nobody reads: it waits in memory and arrives. */
Test(link, a_slow_reader_loses_nothing, .timeout = 60)
{
	enum {
		N = 40,
		LEN = 1 << 20
	};
	uint8_t *big = malloc(LEN);
	const uint8_t *payload;
	struct rrc_frame f;
	pthread_t t;
	struct ends e;
	void *ret;

	connect_ends(&e);
	for (int i = 0; i < N; i++) {
		memset(big, i, LEN);
		big[0] = 0xaa;
		cr_assert_eq(rrc_link_send(&e.a, RRC_FRAME_CKPT_DATA, big, LEN, (uint64_t)i, 0), 0);
		cr_assert_eq(rrc_link_send(&e.a, RRC_FRAME_BEAT, NULL, 0, (uint64_t)i, 0), 0);
	}
	cr_assert(rrc_link_wants_write(&e.a), "the sockets hold %d MB?", N);
	cr_assert_eq(rrc_link_flush_wait(&e.a, 10), -ETIMEDOUT);
	cr_assert_eq(pthread_create(&t, NULL, flush, &e.a), 0);
	for (int i = 0; i < N; i++) {
		get(&e.b, &f, &payload);
		cr_assert(f.type == RRC_FRAME_CKPT_DATA && f.pos == (uint64_t)i && f.stored == LEN);
		cr_assert(payload[0] == 0xaa && payload[1] == i && payload[LEN - 1] == i);
		get(&e.b, &f, &payload);
		cr_assert(f.type == RRC_FRAME_BEAT && f.pos == (uint64_t)i);
	}
	pthread_join(t, &ret);
	cr_assert_null(ret);
	cr_assert(!rrc_link_wants_write(&e.a));
	free(big);
	close_ends(&e);
}

/* Bytes come as they like: one at a time, or two frames and a half at once. */
Test(link, any_pieces_give_the_same_frames, .timeout = 60)
{
	uint8_t stream[3 * (sizeof(struct rrc_frame) + 5)], *p = stream;
	struct rrc_error err = { 0 };
	const uint8_t *payload;
	struct rrc_frame f;

	for (int i = 0; i < 3; i++) {
		uint8_t text[5] = { (uint8_t)i, 1, 2, 3, 4 };

		rrc_frame_seal(&f, RRC_FRAME_CKPT_DATA, 0, text, 5, 5, (uint64_t)i, 0);
		memcpy(p, &f, sizeof(f));
		memcpy(p + sizeof(f), text, 5);
		p += sizeof(f) + 5;
	}
	for (size_t step = 1; step <= sizeof(stream); step++) {
		struct ends e;
		size_t sent = 0;
		uint64_t got = 0;

		connect_ends(&e);
		while (sent < sizeof(stream)) {
			size_t n = rrc_min(step, sizeof(stream) - sent);
			int ret;

			cr_assert_eq(send(e.a.fd, stream + sent, n, 0), (ssize_t)n);
			sent += n;
			/* what must be there by now is there; no more is */
			while (got < sent / (sizeof(f) + 5)) {
				get(&e.b, &f, &payload);
				cr_assert(f.pos == got && payload[0] == got && payload[4] == 4);
				got++;
			}
			ret = rrc_link_recv(&e.b, &f, &payload, &err);
			cr_assert_eq(ret, 0, "step %zu", step);
		}
		cr_assert_eq(got, 3u);
		close_ends(&e);
	}
}

Test(link, damage_ends_it, .timeout = 60)
{
	uint8_t bytes[sizeof(struct rrc_frame) + 5];
	const uint8_t *payload;
	struct rrc_frame f;

	rrc_frame_seal(&f, RRC_FRAME_CKPT_DATA, 0, "hello", 5, 5, 0, 0);
	memcpy(bytes, &f, sizeof(f));
	memcpy(bytes + sizeof(f), "hello", 5);
	for (size_t at = 0; at < sizeof(bytes); at++) {
		struct rrc_error err = { 0 };
		struct ends e;
		int ret;

		connect_ends(&e);
		bytes[at] ^= 4;
		cr_assert_eq(send(e.a.fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
		bytes[at] ^= 4;
		shutdown(e.a.fd, SHUT_WR);
		ret = rrc_link_recv_wait(&e.b, &f, &payload, 5000, &err);
		/* A length that grew waits for bytes that never come. */
		cr_assert(ret == -EBADMSG || ret == -EPROTO || ret == -ECONNRESET, "byte %zu: %d",
			  at, ret);
		close_ends(&e);
	}
}

Test(link, an_end_is_told, .timeout = 30)
{
	struct rrc_error err = { 0 };
	const uint8_t *payload;
	struct rrc_frame f;
	struct ends e;
	int ret = 0;

	connect_ends(&e);
	cr_assert_eq(rrc_link_recv(&e.b, &f, &payload, &err), 0);
	cr_assert_eq(rrc_link_recv_wait(&e.b, &f, &payload, 30, &err), -ETIMEDOUT);
	/* What was sent before the end is not lost with it. */
	cr_assert_eq(rrc_link_send(&e.a, RRC_FRAME_BEAT, NULL, 0, 5, 0), 0);
	rrc_link_close(&e.a);
	get(&e.b, &f, &payload);
	cr_assert_eq(f.pos, 5u);
	cr_assert_eq(rrc_link_recv_wait(&e.b, &f, &payload, 1000, &err), -ECONNRESET);
	for (int i = 0; i < 1000 && !ret; i++)
		ret = rrc_link_send(&e.b, RRC_FRAME_BEAT, NULL, 0, 0, 0);
	cr_assert(ret == -EPIPE || ret == -ECONNRESET, "%d", ret);
	rrc_link_close(&e.b);
}

Test(link, addresses)
{
	static const char *const bad[] = { "",	    "127.0.0.1",	"127.0.0.1:",
					   "[::1]", "127.0.0.1:nosuch", "no host:1" };
	struct rrc_error err = { 0 };
	char address[64], longest[400];
	struct rrc_link l;
	int fd;

	for (size_t i = 0; i < RRC_ARRAY_SIZE(bad); i++)
		cr_assert_lt(rrc_link_connect(&l, bad[i], 100, &err), 0, "%s", bad[i]);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	cr_assert_lt(rrc_link_connect(&l, longest, 100, &err), 0);
	cr_assert_eq(err.exit, RRC_EXIT_USAGE);
	fd = rrc_link_listen("[::1]:0", &err);
	cr_assert_geq(fd, 0, "%s", err.msg);
	close(fd);
	fd = rrc_link_listen(":0", &err);
	cr_assert_geq(fd, 0, "%s", err.msg);
	close(fd);
	/* Nobody listens there any more: said so, at once. */
	fd = rrc_link_listen("127.0.0.1:0", &err);
	address_of(fd, address, sizeof(address));
	cr_assert_lt(rrc_link_listen(address, &err), 0, "twice the same");
	close(fd);
	cr_assert_eq(rrc_link_connect(&l, address, 1000, &err), -ECONNREFUSED);
	cr_assert(strstr(err.msg, address) && l.fd == -1, "%s", err.msg);
}
