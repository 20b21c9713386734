// SPDX-License-Identifier: MIT
/*
 * The server of the test of connection states (see tcp-states.h): one thread, one poll. What a
 * connection does follows from its kind; commands come over one connection that the client keeps.
 */
#include <netinet/tcp.h>
#include <signal.h>

#include "tcp-states.h"

struct conn {
	int sock;
	uint8_t kind; /* 0: hello is still to come; 'M' for the one with the commands is '@' */
	uint16_t id;
	uint64_t in, out; /* bytes, behind the hello */
	bool eof, shut, speaks;
};

static struct conn conns[MAX_CONN];
static int nconns, listeners[5], control = -1;
static bool accepting = true, live;

static int listen_on(int family, int port, bool reuse)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int s = CK(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), one = 1;

	CK(setsockopt(s, SOL_SOCKET, reuse ? SO_REUSEPORT : SO_REUSEADDR, &one, sizeof(one)));
	CK(bind(s, family == AF_INET ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6,
		family == AF_INET ? sizeof(a4) : sizeof(a6)));
	CK(listen(s, 128));
	return s;
}

/* 'r', ok, number: what a connection has come to that cannot say so itself. */
static void report(const struct conn *c, bool ok)
{
	uint8_t msg[4] = { 'r', ok, (uint8_t)c->id, (uint8_t)(c->id >> 8) };

	if (control >= 0 && send(control, msg, sizeof(msg), MSG_NOSIGNAL) != sizeof(msg))
		die("report: %s", strerror(errno));
}

static uint64_t wants_to_send(const struct conn *c)
{
	if (c->speaks && c->in + c->out == 0)
		return SMALL;
	switch (c->kind) {
	case ECHO:
	case QUEUED:
	case SYN_SENT:
	case SYN_RECV:
		return c->in;
	case SYN_RECV_MUTE:
		return SMALL + c->in;
	case CLOSE_WAIT:
	case QUEUED_FIN:
		return c->eof && live ? LATE : 0;
	case FIN_WAIT2:
	case TIME_WAIT:
	case ORPHAN:
	case ENDED:
		return SMALL;
	case FIN_WAIT1:
	case CLOSING:
		return PART;
	case LAST_ACK:
		return c->eof ? PART : 0;
	case UNACKED:
		return MUCH;
	case UNREAD:
		return c->eof ? SMALL : 0;
	default:
		return 0;
	}
}

static bool wants_to_read(const struct conn *c)
{
	if (c->eof)
		return false;
	switch (c->kind) {
	case ENDED: /* what came before the hello's end alone, until then */
		return live;
	case UNREAD:
		return live || c->in < MUCH; /* so that the kernel gives it room first */
	default:
		return true;
	}
}

static void end(struct conn *c)
{
	if (c->sock == control)
		control = -1;
	close(c->sock);
	c->sock = -1;
}

/* What is to be done when all is sent. */
static void advance(struct conn *c)
{
	bool sent = c->kind && c->out == wants_to_send(c);

	switch (c->kind) {
	case ECHO:
	case QUEUED:
	case SYN_SENT:
	case SYN_RECV:
	case SYN_RECV_MUTE:
		if (sent && c->eof)
			end(c);
		break;
	case CLOSE_WAIT:
	case QUEUED_FIN:
		if (sent && live && c->eof)
			end(c);
		break;
	case LAST_ACK:
	case UNREAD:
		if (sent && c->eof)
			end(c);
		break;
	case TIME_WAIT:
	case ORPHAN:
	case UNACKED:
		if (sent)
			end(c);
		break;
	case FIN_WAIT2:
	case FIN_WAIT1:
	case CLOSING:
	case ENDED:
		if (sent && !c->shut) {
			c->shut = true;
			CK(shutdown(c->sock, SHUT_WR));
		}
		if (c->shut && c->eof && live) {
			report(c, c->in == (c->kind == CLOSING ? 0u
					    : c->kind == ENDED ? PART
							       : LATE));
			end(c);
		}
		break;
	}
}

static void send_some(struct conn *c)
{
	static uint8_t buf[65536];
	uint64_t want = wants_to_send(c);

	while (c->sock >= 0 && c->out < want) {
		size_t len = want - c->out < sizeof(buf) ? want - c->out : sizeof(buf);
		ssize_t n;

		fill(buf, c->speaks ? 0 : c->id, false, c->out, len);
		n = send(c->sock, buf, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			fprintf(stderr, "%c %u: send: %s\n", c->kind, c->id, strerror(errno));
			report(c, false);
			end(c);
			return;
		}
		c->out += (uint64_t)n;
	}
}

static int connect_to(const uint8_t *cmd)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT_BACK) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(PORT_BACK) };
	bool v4 = cmd[1] == 4;
	int s = CK(socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

	memcpy(&a4.sin_addr, cmd + 8, 4);
	memcpy(&a6.sin6_addr, cmd + 8, 16);
	if (connect(s, v4 ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6,
		    v4 ? sizeof(a4) : sizeof(a6)) &&
	    errno != EINPROGRESS)
		die("connect: %s", strerror(errno));
	return s;
}

static struct conn *add(int sock)
{
	if (nconns == MAX_CONN)
		die("too many connections");
	conns[nconns] = (struct conn){ .sock = sock };
	return &conns[nconns++];
}

static bool is_shut(uint16_t id)
{
	for (int i = 0; i < nconns; i++)
		if (conns[i].kind && conns[i].id == id)
			return conns[i].shut;
	return false;
}

/* Commands: 24 bytes. Each is answered by its letter. */
static void command(struct conn *c)
{
	uint8_t cmd[24];
	ssize_t n = recv(c->sock, cmd, sizeof(cmd), 0);

	if (n <= 0) {
		end(c);
		return;
	}
	if (n != sizeof(cmd))
		die("a command of %zd bytes", n);
	switch (cmd[0]) {
	case 's':
		accepting = false;
		break;
	case 'g':
		accepting = live = true;
		break;
	case 'o':
		add(connect_to(cmd));
		break;
	}
	CK(send(c->sock, (uint8_t[4]){ cmd[0], is_shut((uint16_t)(cmd[2] | cmd[3] << 8)) }, 4,
		MSG_NOSIGNAL));
}

static void receive(struct conn *c)
{
	static uint8_t buf[65536];
	ssize_t n;

	if (c->kind == '@') {
		command(c);
		return;
	}
	n = recv(c->sock, buf, c->kind ? sizeof(buf) : HELLO, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		fprintf(stderr, "%c %u: recv: %s\n", c->kind, c->id, strerror(errno));
		report(c, false);
		end(c);
		return;
	}
	if (n == 0) {
		c->eof = true;
		return;
	}
	if (!c->kind) {
		if (n != HELLO || buf[0] != 'H')
			die("no hello");
		c->kind = buf[1];
		c->id = (uint16_t)(buf[2] | buf[3] << 8);
		if (c->kind == '@')
			control = c->sock;
		return;
	}
	if (!same(buf, c->id, true, c->in, (size_t)n)) {
		fprintf(stderr, "%c %u: wrong bytes at %llu\n", c->kind, c->id,
			(unsigned long long)c->in);
		report(c, false);
		end(c);
		return;
	}
	c->in += (uint64_t)n;
}

static void accept_on(int i)
{
	int s = accept4(listeners[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;

	if (s < 0)
		return;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	add(s)->speaks = i == 2;
}

/* Datagrams are sent back, when we look at them. */
static void datagrams(int udp)
{
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	uint8_t buf[2048];
	ssize_t n;

	while ((n = recvfrom(udp, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &len)) >
	       0)
		sendto(udp, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
}

int main(void)
{
	static struct pollfd p[MAX_CONN + 8];
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(PORT_UDP) };
	int udp = CK(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	CK(bind(udp, (struct sockaddr *)&any, sizeof(any)));
	listeners[0] = listen_on(AF_INET6, PORT_DUAL, false);
	listeners[1] = listen_on(AF_INET, PORT_V4, false);
	listeners[2] = listen_on(AF_INET6, PORT_SPEAK, false);
	listeners[3] = listen_on(AF_INET6, PORT_REUSE, true);
	listeners[4] = listen_on(AF_INET6, PORT_REUSE, true);
	for (;;) {
		int n = nconns;

		for (int i = 0; i < n; i++) {
			struct conn *c = &conns[i];

			p[i] = (struct pollfd){ .fd = c->sock };
			p[i].events = (wants_to_read(c) ? POLLIN : 0) |
				      (c->out < wants_to_send(c) ? POLLOUT : 0);
			if (!p[i].events)
				p[i].fd = -1; /* else an end that is known would wake us */
		}
		for (int i = 0; i < 5; i++)
			p[n + i] = (struct pollfd){ accepting ? listeners[i] : -1, POLLIN, 0 };
		p[n + 5] = (struct pollfd){ accepting ? udp : -1, POLLIN, 0 };
		if (poll(p, (nfds_t)n + 6, -1) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		for (int i = 0; i < n + 6; i++)
			p[i].revents = p[i].fd < 0 ? 0 : p[i].revents;
		for (int i = 0; i < n; i++) {
			struct conn *c = &conns[i];

			if (p[i].fd < 0 || !p[i].revents)
				continue;
			if (wants_to_read(c) && p[i].revents & (POLLIN | POLLHUP | POLLERR))
				receive(c);
			if (c->sock >= 0)
				send_some(c);
		}
		for (int i = 0; i < 5; i++)
			if (p[n + i].revents)
				accept_on(i);
		if (p[n + 5].revents)
			datagrams(udp);
		for (int i = 0; i < nconns; i++) {
			if (conns[i].sock >= 0)
				send_some(&conns[i]);
			if (conns[i].sock >= 0)
				advance(&conns[i]);
		}
	}
}
