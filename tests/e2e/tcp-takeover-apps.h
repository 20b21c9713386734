/* SPDX-License-Identifier: MIT */
/*
 * Client and server of tcp-takeover.c. What the server sends, and expects, depends only on the kind
 * of connection and the positions in its two streams, so a server that begins with the positions of
 * the log goes on exactly like one that was replayed.
 */
#ifndef TCP_TAKEOVER_APPS_H
#define TCP_TAKEOVER_APPS_H

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "die.h"
#include "util.h"

#define PORT	  8080
#define MAX_CONNS 12000
#define BULK	  (50u << 20)
#define HELLO	  8 /* kind, id, padding: what every client sends first */
#define PATTERN	  1000003 /* length of the period */
#define CHUNK	  (256u << 10)
#define ASKED	  64 /* bytes of a request, and of its answer */
#define LATE	  100000 /* bytes sent after one side has shut down */

enum kind {
	DOWN = 'D', /* server sends BULK, then FIN */
	UP = 'U', /* client sends BULK, server answers 1 byte */
	TALK = 'T', /* requests and answers, all the time */
	IDLE = 'I', /* one before the failure, one after go-live */
	HALF = 'H', /* client shuts down before the failure; the server answers after it */
	FINW = 'F', /* server shuts down before the failure; the client sends after it */
	ORPHAN = 'O', /* server writes and closes; the client reads after the failure only */
	QUEUED = 'Q', /* in the accept queue at the failure, with a request sent */
};

struct peer { /* one connection, seen by the client */
	int sock;
	uint8_t kind;
	uint16_t port; /* the client's */
	uint16_t family;
	uint64_t sent, got; /* positions */
	uint64_t last_ns, gap_ns, first_ns; /* last byte, longest wait, first byte after go-live */
	uint8_t done, shut;
	char fault[80];
};

struct app { /* one connection, seen by the server: its memory */
	int sock;
	uint8_t kind, id, shut, eof;
	uint64_t read, written;
	uint64_t read_before,
		written_before; /* protection began; 0: it was there from the birth on */
	uint64_t cookie;
	uint16_t port; /* the client's */
};

struct shared { /* by all processes */
	volatile uint64_t cut_ns, live_ns;
	volatile uint32_t greeted, queued, stop_accept, released, restored, busy;
	volatile uint32_t want_midcall, midcall; /* fail when a write has left but not returned */
	volatile uint64_t bulk_bytes;
	uint32_t npeers, napps;
	struct peer peers[MAX_CONNS];
	struct app apps[MAX_CONNS];
	uint64_t log_len;
	uint32_t seq;
	uint8_t pattern[2 * PATTERN + CHUNK];
};

static uint64_t now(void)
{
	return rrc_now_ns(CLOCK_MONOTONIC);
}

static void make_pattern(struct shared *sh)
{
	for (uint32_t i = 0; i < sizeof(sh->pattern); i++) {
		uint32_t o = i % PATTERN;

		sh->pattern[i] = (uint8_t)((o * 2654435761u >> 11) ^ (o >> 5));
	}
}

/* At least CHUNK bytes of stream `id` from off on; both directions of a connection differ. */
static const uint8_t *at(const struct shared *sh, uint32_t id, int up, uint64_t off)
{
	return sh->pattern + (off + id * 7919u + (up ? 500009u : 0)) % PATTERN;
}

static int set_addr(struct sockaddr_storage *ss, int family, const char *addr)
{
	memset(ss, 0, sizeof(*ss));
	if (family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(PORT);
		inet_pton(AF_INET, addr, &in->sin_addr);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(PORT);
	inet_pton(AF_INET6, addr, &in6->sin6_addr);
	return sizeof(*in6);
}

/* ---- the client ---- */

static void fault(struct peer *p, const char *what)
{
	if (!p->fault[0])
		snprintf(p->fault, sizeof(p->fault), "%s (sent %llu, got %llu)", what,
			 (unsigned long long)p->sent, (unsigned long long)p->got);
	p->done = 1;
}

static void moved(struct shared *sh, struct peer *p)
{
	uint64_t t = now();

	if (p->last_ns && t - p->last_ns > p->gap_ns)
		p->gap_ns = t - p->last_ns;
	p->last_ns = t;
	if (sh->live_ns && !p->first_ns)
		p->first_ns = t;
}

/* How far the client may send, and how much it gets in all. */
static uint64_t may_send(const struct shared *sh, const struct peer *p)
{
	switch (p->kind) {
	case UP:
		return HELLO + BULK;
	case TALK: /* the next request when the last was answered */
		return HELLO + (p->got / ASKED + 1) * ASKED;
	case IDLE:
	case QUEUED:
		return HELLO + (sh->live_ns && p->kind == IDLE ? 2 : 1) * ASKED;
	case FINW:
		return HELLO + (sh->live_ns ? LATE : 0);
	default:
		return HELLO;
	}
}

static uint64_t will_get(const struct peer *p)
{
	switch (p->kind) {
	case DOWN:
		return BULK;
	case UP:
		return 1;
	case TALK:
		return UINT64_MAX;
	case IDLE:
		return 2 * ASKED;
	case QUEUED:
		return ASKED;
	default:
		return LATE;
	}
}

static void client_write(struct shared *sh, struct peer *p, uint32_t id)
{
	uint64_t want = may_send(sh, p);

	while (p->sent < want) {
		uint64_t len = rrc_min(want - p->sent, (uint64_t)CHUNK);
		uint8_t hello[HELLO] = { p->kind, (uint8_t)id };
		ssize_t n;

		if (p->sent < HELLO)
			n = send(p->sock, hello + p->sent, HELLO - p->sent, MSG_NOSIGNAL);
		else
			n = send(p->sock, at(sh, id & 255, 1, p->sent), len, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN)
				fault(p, strerror(errno));
			return;
		}
		p->sent += (uint64_t)n;
		if (p->kind == UP) {
			moved(sh, p);
			__sync_fetch_and_add(&sh->bulk_bytes, (uint64_t)n);
		}
	}
	if (p->kind == HALF && !p->shut) {
		shutdown(p->sock, SHUT_WR);
		p->shut = 1;
	}
}

static void client_read(struct shared *sh, struct peer *p, uint32_t id)
{
	static uint8_t buf[CHUNK];
	ssize_t n = recv(p->sock, buf, sizeof(buf), 0);

	if (n < 0) {
		if (errno != EAGAIN)
			fault(p, strerror(errno));
		return;
	}
	if (n == 0) {
		if (p->got != will_get(p))
			fault(p, "end of stream too early");
		if (p->kind == FINW)
			p->shut = 1; /* the server's FIN; our part is still to come */
		else
			p->done = 1;
		return;
	}
	if (memcmp(buf, at(sh, id & 255, 0, p->got), (size_t)n)) {
		fault(p, "wrong bytes");
		return;
	}
	moved(sh, p);
	p->got += (uint64_t)n;
	if (p->kind == DOWN)
		__sync_fetch_and_add(&sh->bulk_bytes, (uint64_t)n);
	if (p->got > will_get(p))
		fault(p, "too many bytes");
	else if (p->got == will_get(p) && (p->kind == UP || p->kind == IDLE || p->kind == QUEUED))
		p->done = 1;
	/* A talker is done some requests after go-live. */
	if (p->kind == TALK && p->first_ns && now() - p->first_ns > 300000000)
		p->done = 1;
}

static int wants_to_read(const struct shared *sh, const struct peer *p)
{
	if (p->kind == ORPHAN)
		return sh->live_ns != 0;
	return !(p->kind == FINW && p->shut);
}

static void client_connect(struct shared *sh, struct peer *p, const char *v4, const char *v6)
{
	struct sockaddr_storage ss;
	socklen_t len = (socklen_t)set_addr(&ss, p->family, p->family == AF_INET ? v4 : v6);
	int small = 8192;

	p->sock = CK(socket(p->family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (p->kind == ORPHAN) /* so that the server's bytes stay unacknowledged */
		setsockopt(p->sock, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (connect(p->sock, (struct sockaddr *)&ss, len))
		die("connect %u: %s", (unsigned int)(p - sh->peers), strerror(errno));
	len = sizeof(ss);
	CK(getsockname(p->sock, (struct sockaddr *)&ss, &len));
	p->port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	int one = 1;

	setsockopt(p->sock, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
	CK(fcntl(p->sock, F_SETFL, O_NONBLOCK));
}

static void run_client(struct shared *sh, const char *v4, const char *v6)
{
	struct pollfd *pfd = calloc(sh->npeers, sizeof(*pfd));
	uint32_t left = sh->npeers;

	for (uint32_t i = 0; i < sh->npeers; i++) {
		struct peer *p = &sh->peers[i];

		if (p->kind == QUEUED) /* the last ones, when the server does not accept any more */
			while (!sh->stop_accept)
				usleep(1000);
		client_connect(sh, p, v4, v6);
		client_write(sh, p, i);
		if (p->kind == QUEUED)
			sh->queued++;
	}
	while (left) {
		for (uint32_t i = 0; i < sh->npeers; i++) {
			struct peer *p = &sh->peers[i];

			pfd[i].fd = p->done ? -1 : p->sock;
			pfd[i].events = (wants_to_read(sh, p) ? POLLIN : 0) |
					(p->sent < may_send(sh, p) ? POLLOUT : 0);
		}
		poll(pfd, sh->npeers, 20);
		for (uint32_t i = 0; i < sh->npeers; i++) {
			struct peer *p = &sh->peers[i];

			if (p->done)
				continue;
			if (pfd[i].revents & (POLLIN | POLLERR | POLLHUP) && wants_to_read(sh, p))
				client_read(sh, p, i);
			if (!p->done)
				client_write(sh, p, i);
			if (p->kind == FINW && p->shut && p->sent == HELLO + LATE)
				p->done = 1;
			if (p->done) {
				left--;
				close(p->sock);
			}
		}
	}
	free(pfd);
}

#endif
