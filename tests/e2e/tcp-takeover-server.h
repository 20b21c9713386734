/* SPDX-License-Identifier: MIT */
/*
 * The server of tcp-takeover.c, twice: on the primary, where it writes the log that the recorder
 * would write (packets from a packet socket, births by reading the socket at accept, calls as it
 * makes them), and on the backup, where it goes on in sockets that were given to it.
 */
#ifndef TCP_TAKEOVER_SERVER_H
#define TCP_TAKEOVER_SERVER_H

#include <asm/unistd.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "netcfg.h"
#include "record.h"
#include "tcp-takeover-apps.h"
#include "tcprepair.h"

struct server {
	struct shared *sh;
	uint8_t *log; /* shared; NULL on the backup: nothing is recorded */
	int late; /* no births in the log: protection begins when all is under way */
	int capture; /* AF_PACKET */
	int listener;
};

/* ---- the log ---- */

static void log_record(struct server *s, struct rrc_rec rec, const void *head, size_t headlen,
		       const void *data, size_t len)
{
	uint8_t *p = s->log + s->sh->log_len;
	struct rrc_seg seg = { .len = (uint32_t)(headlen + len), .dir = RRC_SEG_IN };

	rec.nseg = seg.len ? 1 : 0;
	rec.size = (uint32_t)RRC_ALIGN8(sizeof(rec) + rec.nseg * sizeof(seg) + seg.len);
	rec.seq = s->sh->seq++;
	rec.exit_ns = now();
	memcpy(p, &rec, sizeof(rec));
	p += sizeof(rec);
	if (rec.nseg) {
		memcpy(p, &seg, sizeof(seg));
		memcpy(p + sizeof(seg), head, headlen);
		memcpy(p + sizeof(seg) + headlen, data, len);
	}
	memset(p + (rec.nseg ? sizeof(seg) + seg.len : 0), 0, 8); /* the padding */
	__sync_synchronize();
	s->sh->log_len += rec.size;
}

/* Packets that TCP may have seen come before what the application saw of them. */
static void log_packets(struct server *s)
{
	static uint8_t buf[256 << 10];
	ssize_t n;

	if (!s->log)
		return;
	/* It is taken out when it is in the log: we may be killed in between, and whoever is left takes it then. */
	for (; (n = recv(s->capture, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT)) >= ETH_HLEN;
	     recv(s->capture, buf, 1, MSG_DONTWAIT)) {
		struct rrc_rec rec = { .kind = RRC_REC_PACKET };
		struct rrc_rec_packet head = { .len = (uint32_t)n - ETH_HLEN };

		if (buf[12] == 0x08 && buf[13] == 0x06)
			continue;
		memcpy(head.mac_dst, buf, 6);
		memcpy(head.mac_src, buf + 6, 6);
		log_record(s, rec, &head, sizeof(head), buf + ETH_HLEN, head.len);
	}
}

static void log_call(struct server *s, int nr, uint64_t cookie, int64_t ret, uint64_t arg1,
		     const void *data, size_t len)
{
	struct rrc_rec rec = { .kind = RRC_REC_SYSCALL,
			       .fdkind = RRC_FD_TCP,
			       .nr = (uint16_t)nr,
			       .obj = cookie,
			       .ret = ret,
			       .args = { 0, arg1 } };

	if (!s->log)
		return;
	log_packets(s);
	log_record(s, rec, NULL, 0, data, len);
}

static void log_state(struct server *s, uint64_t cookie, int state)
{
	struct rrc_rec rec = { .kind = RRC_REC_CONN_STATE,
			       .fdkind = RRC_FD_TCP,
			       .obj = cookie,
			       .args = { TCP_ESTABLISHED, (uint64_t)state } };

	if (s->log)
		log_record(s, rec, NULL, 0, NULL, 0);
}

static void log_birth(struct server *s, struct app *a)
{
	struct rrc_rec rec = { .kind = RRC_REC_CONN, .fdkind = RRC_FD_TCP };
	struct rrc_tcp_snapshot snap;
	struct rrc_error err = { 0 };

	if (rrc_tcp_snapshot(a->sock, &snap, &err))
		die("%s", err.msg);
	a->cookie = rec.obj = snap.birth.cookie;
	a->port = snap.birth.rport;
	snap.birth.state = TCP_ESTABLISHED;
	if (!s->late)
		log_record(s, rec, &snap.birth, sizeof(snap.birth), NULL, 0);
	rrc_tcp_snapshot_free(&snap);
	log_call(s, __NR_accept4, a->cookie, a->sock, 0, NULL, 0);
}

/* ---- the application ---- */

/* Up to where it writes, by what it has read. */
static uint64_t should_write(const struct server *s, const struct app *a)
{
	if (a->read < HELLO)
		return 0;
	switch (a->kind) {
	case DOWN:
		return BULK;
	case UP:
		return a->read == HELLO + BULK;
	case HALF:
		return a->eof && !s->log ? LATE : 0;
	case FINW:
	case ORPHAN:
		return LATE;
	default:
		return (a->read - HELLO) / ASKED * ASKED;
	}
}

static void app_close(struct server *s, struct app *a)
{
	if (s->log)
		log_state(s, a->cookie, a->eof ? TCP_LAST_ACK : TCP_FIN_WAIT1);
	close(a->sock);
	a->sock = -1;
}

/* The failure finds us in a write all of whose bytes the client has acknowledged. */
static void stay_in_call(struct server *s, struct app *a)
{
	int left = 1;

	while (left && !ioctl(a->sock, SIOCOUTQ, &left))
		poll(NULL, 0, 1);
	log_packets(s);
	s->sh->midcall = 1;
	for (;;)
		pause();
}

static void app_write(struct server *s, struct app *a)
{
	uint64_t want = should_write(s, a);

	while (a->written < want) {
		const uint8_t *data = at(s->sh, a->id, 0, a->written);
		ssize_t n = send(a->sock, data, rrc_min(want - a->written, (uint64_t)CHUNK),
				 MSG_NOSIGNAL);

		if (n < 0) {
			if (errno == EAGAIN)
				return;
			if (a->kind != ORPHAN || !s->log)
				fprintf(stderr, "server: send on %u (%c): %s\n", a->port, a->kind,
					strerror(errno));
			app_close(s, a);
			return;
		}
		if (s->log && s->sh->want_midcall && a->kind == DOWN && n > 65536)
			stay_in_call(s, a);
		log_call(s, __NR_sendto, a->cookie, n, 0, data, (size_t)n);
		a->written += (uint64_t)n;
	}
	if (a->kind == FINW && a->written == LATE && !a->shut) {
		a->shut = 1;
		CK(shutdown(a->sock, SHUT_WR));
		log_state(s, a->cookie, TCP_FIN_WAIT1);
		log_call(s, __NR_shutdown, a->cookie, 0, SHUT_WR, NULL, 0);
	}
	if ((a->kind == DOWN && a->written == BULK) ||
	    ((a->kind == ORPHAN || a->kind == HALF) && a->written == LATE))
		app_close(s, a);
}

static void app_read(struct server *s, struct app *a)
{
	static uint8_t buf[CHUNK];
	ssize_t n = recv(a->sock, buf, a->read < HELLO ? HELLO - a->read : sizeof(buf), 0);
	uint8_t *p = buf;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		die("server: recv on %u (%c): %s", a->port, a->kind, strerror(errno));
	if (n == 0) {
		a->eof = 1;
		log_call(s, __NR_recvfrom, a->cookie, 0, 0, NULL, 0);
		if (a->kind == FINW && a->read != HELLO + LATE)
			die("server: FINW got %llu bytes", (unsigned long long)a->read);
		if (a->kind != HALF || a->written == LATE)
			app_close(s, a);
		return;
	}
	if (a->read < HELLO) {
		if (n != HELLO)
			die("server: hello came in pieces");
		a->kind = p[0];
		a->id = p[1];
		s->sh->greeted++;
	} else if (memcmp(p, at(s->sh, a->id, 1, a->read), (size_t)n)) {
		die("server: wrong bytes from %u (%c) at %llu", a->port, a->kind,
		    (unsigned long long)a->read);
	}
	log_call(s, __NR_recvfrom, a->cookie, n, 0, NULL, 0);
	a->read += (uint64_t)n;
}

static bool app_accept(struct server *s)
{
	int sock = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
	struct app *a = &s->sh->apps[s->sh->napps];

	if (sock < 0)
		return false;
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*a = (struct app){ .sock = sock };
	if (s->log)
		log_birth(s, a);
	s->sh->napps++;
	return true;
}

static void run_server(struct server *s)
{
	static struct pollfd pfd[MAX_CONNS + 1];

	for (;;) {
		uint32_t n = s->sh->napps;

		pfd[n] = (struct pollfd){ .fd = s->sh->stop_accept ? -1 : s->listener,
					  .events = POLLIN };
		for (uint32_t i = 0; i < n; i++) {
			struct app *a = &s->sh->apps[i];

			pfd[i].fd = a->sock;
			pfd[i].events = (a->eof ? 0 : POLLIN) |
					(a->written < should_write(s, a) ? POLLOUT : 0);
		}
		s->sh->busy = 0;
		poll(pfd, n + 1, 10);
		s->sh->busy = 1;
		log_packets(s);
		for (uint32_t i = 0; i < n; i++) {
			struct app *a = &s->sh->apps[i];

			if (a->sock >= 0 && pfd[i].revents & (POLLIN | POLLERR | POLLHUP) &&
			    !a->eof)
				app_read(s, a);
			if (a->sock >= 0)
				app_write(s, a);
		}
		if (pfd[n].revents & POLLIN)
			while (app_accept(s))
				;
	}
}

static int listen_on(int family)
{
	int sock = CK(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), one = 1;
	struct sockaddr_storage ss;
	socklen_t len = (socklen_t)set_addr(&ss, family, family == AF_INET ? "0.0.0.0" : "::");

	CK(setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	CK(bind(sock, (struct sockaddr *)&ss, len));
	CK(listen(sock, 4096));
	return sock;
}

#endif
