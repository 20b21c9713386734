// SPDX-License-Identifier: MIT
/*
 * The client of the test of connection states (see tcp-states.h): brings one connection into each
 * state, says so and what the server's kernel should show, waits for a line on stdin, and then checks that each
 * goes on or ends as it would have.
 */
#include <linux/tcp.h>
#include <netinet/in.h>

#include "tcp-states-net.h"

#define FIRST_PORT 20000
#define DEADLINE   20000 /* ms */
#define TOTAL_R	   (MUCH + (5u << 20))

static const struct test {
	uint8_t kind;
	int how;
	const char *name, *state; /* state: as ss shows it in the container */
} tests[] = {
	{ ECHO, 0, "established", "ESTAB" },
	{ ECHO, OUT, "established, outgoing", "ESTAB" },
	{ ECHO, NO_TS, "established, no timestamps", "ESTAB" },
	{ ECHO, NO_SACK, "established, no SACK", "ESTAB" },
	{ ECHO, NO_WS, "established, no window scaling", "ESTAB" },
	{ ECHO, NO_TS | NO_SACK | NO_WS, "established, no options", "ESTAB" },
	{ ECHO, REUSE, "established, SO_REUSEPORT", "ESTAB" },
	{ CLOSE_WAIT, 0, "CLOSE_WAIT", "CLOSE-WAIT" },
	{ CLOSE_WAIT, OUT, "CLOSE_WAIT, outgoing", "CLOSE-WAIT" },
	{ FIN_WAIT1, 0, "FIN_WAIT1", "FIN-WAIT-1" },
	{ FIN_WAIT1, OUT, "FIN_WAIT1, outgoing", "FIN-WAIT-1" },
	{ FIN_WAIT2, 0, "FIN_WAIT2", "FIN-WAIT-2" },
	{ FIN_WAIT2, OUT, "FIN_WAIT2, outgoing", "FIN-WAIT-2" },
	{ FIN_WAIT2, NO_TS | NO_SACK | NO_WS, "FIN_WAIT2, no options", "FIN-WAIT-2" },
	{ ORPHAN, 0, "FIN_WAIT2, closed", "FIN-WAIT-2" },
	{ LAST_ACK, 0, "LAST_ACK", "LAST-ACK" },
	{ LAST_ACK, OUT, "LAST_ACK, outgoing", "LAST-ACK" },
	{ CLOSING, 0, "CLOSING", "CLOSING" },
	{ CLOSING, OUT, "CLOSING, outgoing", "CLOSING" },
	{ TIME_WAIT, 0, "TIME_WAIT", "TIME-WAIT" },
	{ ENDED, 0, "ended, not read", "TIME-WAIT" },
	{ UNACKED, 0, "megabytes not acknowledged", "ESTAB" },
	{ UNREAD, 0, "megabytes unread", "ESTAB" },
	{ QUEUED, 0, "not accepted", "ESTAB" },
	{ QUEUED, BIG, "not accepted, 40 KB", "ESTAB" },
	{ QUEUED, EMPTY, "not accepted, silent", "ESTAB" },
	{ QUEUED, NO_TS | NO_SACK | NO_WS, "not accepted, no options", "ESTAB" },
	{ QUEUED, REUSE, "not accepted, SO_REUSEPORT", "ESTAB" },
	{ QUEUED_FIN, 0, "not accepted, closed by the client", "CLOSE-WAIT" },
	{ SYN_SENT, 0, "SYN-ACK not received", "SYN-RECV" },
	{ SYN_RECV, 0, "handshake not completed, data", "SYN-RECV" },
	{ SYN_RECV_MUTE, 0, "handshake not completed, server first", "SYN-RECV" },
};

#define NTESTS (sizeof(tests) / sizeof(*tests))

struct conn {
	const struct test *t;
	char via; /* '4': an IPv4 socket there; 'm': v4-mapped; '6' */
	uint16_t id, port;
	int sock;
	uint64_t out, in; /* behind the hello */
	uint64_t out_goal, in_goal;
	bool hello, shut, eof, want_report, want_closed, done;
	char fault[120];
};

static struct conn conns[MAX_CONN];
static int nconns, control, backs[2];
static struct in6_addr own6, addr6;
static struct in_addr own4, addr4;

static void set_addr(struct sockaddr_in6 *ss, char via, const void *a4, const void *a6, int port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (via == '6') {
		ss->sin6_family = AF_INET6;
		ss->sin6_port = htons((uint16_t)port);
		memcpy(&ss->sin6_addr, a6, 16);
	} else {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		memcpy(&in->sin_addr, a4, 4);
	}
}

static uint8_t say(const char cmd[24])
{
	uint8_t back[4];

	CK(send(control, cmd, 24, MSG_NOSIGNAL));
	if (recv(control, back, sizeof(back), MSG_WAITALL) != sizeof(back) ||
	    back[0] != (uint8_t)cmd[0])
		die("command %c: no answer", cmd[0]);
	return back[1];
}

static int open_socket(const struct conn *c, int port, bool wait)
{
	socklen_t len = c->via == '6' ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	struct in6_addr any = IN6ADDR_ANY_INIT;
	struct sockaddr_in6 ss;
	int s = CK(socket(c->via == '6' ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int one = 1, small = 4096;

	CK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	if (strchr("WLXK", c->t->kind))
		CK(setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	set_addr(&ss, c->via, &any, &any, c->port);
	CK(bind(s, (struct sockaddr *)&ss, len));
	if (!wait)
		CK(fcntl(s, F_SETFL, O_NONBLOCK));
	set_addr(&ss, c->via, &addr4, &addr6, port);
	if (connect(s, (struct sockaddr *)&ss, len) && (wait || errno != EINPROGRESS))
		die("%s: connect: %s", c->t->name, strerror(errno));
	return s;
}

static int let_server_open(struct conn *c)
{
	char cmd[24] = { 'o', c->via == '6' ? 6 : 4 };
	struct sockaddr_in6 ss;
	socklen_t len = sizeof(ss);
	int s, small = 4096, back = backs[c->via == '6'];

	memcpy(cmd + 8, c->via == '6' ? (void *)&own6 : (void *)&own4, c->via == '6' ? 16 : 4);
	/* inherited by what it accepts, before the window is told */
	if (!strchr("WLXK", c->t->kind))
		small = 131072;
	CK(setsockopt(back, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	say(cmd);
	s = CK(accept(back, (struct sockaddr *)&ss, &len));
	c->port = ntohs(ss.sin6_port); /* the same place in both families */
	return s;
}

static int port_of(const struct conn *c)
{
	if (c->t->how & REUSE)
		return PORT_REUSE;
	if (c->t->kind == SYN_RECV_MUTE)
		return PORT_SPEAK;
	return c->via == '4' ? PORT_V4 : PORT_DUAL;
}

static void send_hello(struct conn *c)
{
	uint8_t hello[HELLO] = { 'H', c->t->kind, (uint8_t)c->id, (uint8_t)(c->id >> 8) };

	if (send(c->sock, hello, HELLO, MSG_NOSIGNAL) != HELLO)
		die("%s: hello: %s", c->t->name, strerror(errno));
	c->hello = true;
}

static unsigned int down_id(const struct conn *c)
{
	return c->t->kind == SYN_RECV_MUTE ? 0 : c->id;
}

static void fault(struct conn *c, const char *what)
{
	if (!c->fault[0])
		snprintf(c->fault, sizeof(c->fault), "%s (sent %llu of %llu, got %llu of %llu)",
			 what, (unsigned long long)c->out, (unsigned long long)c->out_goal,
			 (unsigned long long)c->in, (unsigned long long)c->in_goal);
	c->done = true;
}

static void receive(struct conn *c)
{
	static uint8_t buf[65536];
	ssize_t n = recv(c->sock, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN)
			fault(c, strerror(errno));
	} else if (n == 0) {
		c->eof = true;
	} else if (!same(buf, down_id(c), false, c->in, (size_t)n)) {
		fault(c, "wrong bytes");
	} else {
		c->in += (uint64_t)n;
	}
}

static void transmit(struct conn *c)
{
	static uint8_t buf[65536];

	while (c->out < c->out_goal) {
		size_t len = c->out_goal - c->out;
		ssize_t n;

		len = len < sizeof(buf) ? len : sizeof(buf);
		fill(buf, c->id, true, c->out, len);
		n = send(c->sock, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			if (errno != EAGAIN)
				fault(c, strerror(errno));
			return;
		}
		c->out += (uint64_t)n;
	}
}

/* Before the failure: until this much came in, and the end if want_eof. */
static void await(struct conn *c, uint64_t in, bool want_eof)
{
	while (!c->fault[0] && (c->in < in || (want_eof && !c->eof))) {
		struct pollfd p = { c->sock, POLLIN, 0 };

		if (poll(&p, 1, DEADLINE) <= 0)
			die("%s: nothing comes before the failure", c->t->name);
		receive(c);
	}
	if (c->fault[0])
		die("%s: before the failure: %s", c->t->name, c->fault);
}

static void shut(struct conn *c)
{
	if (shutdown(c->sock, SHUT_WR))
		fault(c, strerror(errno));
	c->shut = true;
}

/* As much as goes in, until nothing moved for a while. */
static void stuff(struct conn *c)
{
	struct pollfd p = { c->sock, POLLOUT, 0 };

	c->out_goal = TOTAL_R;
	while (poll(&p, 1, 300) > 0 && c->out < c->out_goal && !c->fault[0])
		transmit(c);
}

static void bring_about(struct conn *c)
{
	char rule[160];

	switch (c->t->kind) {
	case ECHO:
		c->out_goal = SMALL;
		transmit(c);
		await(c, SMALL, false);
		break;
	case CLOSE_WAIT:
	case LAST_ACK:
	case QUEUED_FIN:
		shut(c);
		break;
	case CLOSING: /* the server's FIN waits behind what we do not read */
		while (!say((char[24]){ 'q', 0, (char)c->id, (char)(c->id >> 8) }))
			poll(NULL, 0, 1);
		shut(c);
		break;
	case FIN_WAIT2:
	case ORPHAN:
		await(c, SMALL, true);
		break;
	case ENDED:
		await(c, SMALL, true);
		c->out_goal = PART;
		transmit(c);
		shut(c);
		break;
	case TIME_WAIT:
		await(c, SMALL, true);
		snprintf(rule, sizeof(rule), DROP "I -p tcp --dport %u -j DROP", c->port);
		lose(c->via, rule);
		shut(c);
		break;
	case UNREAD:
		stuff(c);
		break;
	case QUEUED:
	case SYN_RECV:
		c->out_goal = c->t->how & EMPTY ? 0 : c->t->how & BIG ? PART : SMALL;
		transmit(c);
		break;
	}
}

static void begin(struct conn *c)
{
	char rule[160];

	options(c->t->how, 0);
	if (c->t->kind == SYN_SENT) {
		snprintf(rule, sizeof(rule), DROP "I -p tcp --dport %u -j DROP", c->port);
		lose(c->via, rule);
	} else if (c->t->kind == SYN_RECV || c->t->kind == SYN_RECV_MUTE) {
		snprintf(rule, sizeof(rule),
			 DROP "O -p tcp --sport %u --tcp-flags SYN NONE -j DROP", c->port);
		lose(c->via, rule);
	}
	if (c->t->how & OUT)
		c->sock = let_server_open(c);
	else
		c->sock = open_socket(c, port_of(c), c->t->kind != SYN_SENT);
	options(c->t->how, 1);
	if (c->t->kind != SYN_SENT && c->t->kind != SYN_RECV_MUTE && !(c->t->how & EMPTY))
		send_hello(c);
	bring_about(c);
	printf("expect %u %s %s\n", c->port, c->t->state, c->t->name);
}

/* After the failure. */
static void set_goals(struct conn *c)
{
	switch (c->t->kind) {
	case ECHO:
	case QUEUED:
	case SYN_SENT:
	case SYN_RECV:
		c->out_goal += SMALL;
		c->in_goal = c->out_goal;
		break;
	case SYN_RECV_MUTE:
		c->out_goal = SMALL;
		c->in_goal = 2 * SMALL;
		break;
	case CLOSE_WAIT:
	case QUEUED_FIN:
		c->in_goal = LATE;
		break;
	case FIN_WAIT2:
		c->in_goal = SMALL;
		c->out_goal = LATE;
		c->want_report = true;
		break;
	case FIN_WAIT1:
		c->in_goal = PART;
		c->out_goal = LATE;
		c->want_report = true;
		break;
	case LAST_ACK:
		c->in_goal = PART;
		break;
	case CLOSING:
		c->in_goal = PART;
		c->want_report = true;
		break;
	case ENDED:
		c->in_goal = SMALL;
		c->want_report = true;
		break;
	case TIME_WAIT:
	case ORPHAN:
		c->in_goal = SMALL;
		c->want_closed = true;
		break;
	case UNACKED:
		c->in_goal = MUCH;
		break;
	case UNREAD:
		c->in_goal = SMALL;
		break;
	}
}

static bool is_closed(struct conn *c)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int error = 0;

	CK(getsockopt(c->sock, IPPROTO_TCP, TCP_INFO, &info, &len));
	if (info.tcpi_state != 7 /* TCP_CLOSE */)
		return false;
	len = sizeof(error);
	CK(getsockopt(c->sock, SOL_SOCKET, SO_ERROR, &error, &len));
	if (error)
		fault(c, strerror(error));
	return true;
}

/* One step of a connection after the failure; poll said that something may be possible. */
static void advance(struct conn *c)
{
	struct pollfd p = { c->sock, POLLIN | POLLOUT, 0 };

	poll(&p, 1, 0);
	/* a hello that was lost with its handshake stays in the client's kernel */
	if (!c->hello && p.revents & POLLOUT && (c->t->kind != SYN_RECV_MUTE || c->in == SMALL))
		send_hello(c);
	if (p.revents & (POLLIN | POLLERR) && !c->eof)
		receive(c);
	if (c->done)
		return;
	if (c->hello)
		transmit(c);
	if (c->done)
		return;
	if (!c->shut && c->hello && c->out == c->out_goal &&
	    (c->in >= c->in_goal || c->t->kind == UNREAD))
		shut(c);
	if (c->in > c->in_goal)
		fault(c, "too many bytes");
	else if (c->eof && c->in < c->in_goal)
		fault(c, "the end came too early");
	else if (c->eof && c->shut && !c->want_report && (!c->want_closed || is_closed(c)))
		c->done = true;
}

static void hear_reports(void)
{
	uint8_t msg[4];

	while (recv(control, msg, sizeof(msg), MSG_DONTWAIT) == sizeof(msg)) {
		unsigned int id = msg[2] | (unsigned int)msg[3] << 8;

		if (msg[0] != 'r' || id >= (unsigned int)nconns)
			die("an answer that is none");
		if (!msg[1])
			fault(&conns[id], "the server says that it is broken");
		conns[id].want_report = false;
	}
}

static int check_all(void)
{
	double start = now_ms();
	int left, bad = 0;

	for (int i = 1; i < nconns; i++)
		set_goals(&conns[i]);
	do {
		left = 0;
		hear_reports();
		for (int i = 1; i < nconns; i++) {
			if (!conns[i].done)
				advance(&conns[i]);
			left += !conns[i].done;
		}
		poll(NULL, 0, left ? 1 : 0);
	} while (left && now_ms() - start < DEADLINE);
	for (int i = 1; i < nconns; i++) {
		struct conn *c = &conns[i];

		if (!c->done)
			fault(c, "still waits");
		printf("%s %s, %s%s%s\n", c->fault[0] ? "not ok" : "ok", c->t->name,
		       c->via == '6'   ? "IPv6"
		       : c->via == 'm' ? "v4-mapped"
				       : "IPv4",
		       c->fault[0] ? ": " : "", c->fault);
		bad += c->fault[0] != 0;
	}
	printf("%d of %d connections are as they would have been, %.0f ms\n", nconns - 1 - bad,
	       nconns - 1, now_ms() - start);
	return bad ? 1 : 0;
}

static void add(const struct test *t, char via)
{
	struct conn *c = &conns[nconns];

	*c = (struct conn){ .t = t,
			    .via = via,
			    .id = (uint16_t)nconns,
			    .port = (uint16_t)(FIRST_PORT + nconns),
			    .sock = -1 };
	nconns++;
	begin(c);
}

static void learn_own(int s4)
{
	static const struct test probe = { .kind = ECHO, .name = "own address" };
	struct conn c = { .t = &probe, .via = '6', .port = FIRST_PORT - 1 };
	struct sockaddr_in a4;
	struct sockaddr_in6 a6;
	socklen_t len = sizeof(a4);
	int s = open_socket(&c, PORT_DUAL, true);

	CK(getsockname(s4, (struct sockaddr *)&a4, &len));
	own4 = a4.sin_addr;
	len = sizeof(a6);
	CK(getsockname(s, (struct sockaddr *)&a6, &len));
	own6 = a6.sin6_addr;
	c.sock = s;
	send_hello(&c);
	shutdown(s, SHUT_WR);
	await(&c, 0, true);
	close(s);
}

static void open_back(int i)
{
	struct sockaddr_in6 ss;
	struct in6_addr any = IN6ADDR_ANY_INIT;
	int one = 1;

	backs[i] = CK(socket(i ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CK(setsockopt(backs[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	if (i)
		CK(setsockopt(backs[i], IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)));
	set_addr(&ss, i ? '6' : '4', &any, &any, PORT_BACK);
	CK(bind(backs[i], (struct sockaddr *)&ss, i ? sizeof(ss) : sizeof(struct sockaddr_in)));
	CK(listen(backs[i], 16));
}

/* ---- datagrams that the server has not read at the failure ---- */

static int udp[2];

static void send_datagrams(int i)
{
	struct sockaddr_in6 to;
	uint8_t text[2] = { (uint8_t)i };

	udp[i] = CK(socket(i ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	set_addr(&to, i ? '6' : '4', &addr4, &addr6, PORT_UDP);
	CK(connect(udp[i], (struct sockaddr *)&to, i ? sizeof(to) : sizeof(struct sockaddr_in)));
	for (text[1] = 0; text[1] < DATAGRAMS; text[1]++)
		CK(send(udp[i], text, sizeof(text), 0));
}

/* Each comes back once, in order. */
static int check_datagrams(int i)
{
	const char *fault = NULL;
	uint8_t text[8];

	for (uint8_t n = 0; n < DATAGRAMS && !fault; n++) {
		struct pollfd p = { udp[i], POLLIN, 0 };

		if (poll(&p, 1, 5000) <= 0)
			fault = "one is missing";
		else if (recv(udp[i], text, sizeof(text), 0) != 2 || text[1] != n)
			fault = "wrong bytes";
	}
	if (!fault && recv(udp[i], text, sizeof(text), MSG_DONTWAIT) > 0)
		fault = "one too many";
	printf("%s unread datagrams, %s%s%s\n", fault ? "not ok" : "ok", i ? "IPv6" : "IPv4",
	       fault ? ": " : "", fault ? fault : "");
	return fault != NULL;
}

static bool is_late(const struct test *t) /* only when the server does not accept any more */
{
	return strchr("QPSVM", t->kind);
}

int main(int argc, char **argv)
{
	static const struct test commands = { .kind = '@', .name = "commands" };
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 3 || inet_pton(AF_INET, argv[1], &addr4) != 1 ||
	    inet_pton(AF_INET6, argv[2], &addr6) != 1)
		die("usage: tcp-states-client IPV4 IPV6");
	make_chains();
	open_back(0);
	open_back(1);
	conns[0] = (struct conn){ .t = &commands, .via = '4', .port = FIRST_PORT };
	control = conns[0].sock = open_socket(&conns[0], PORT_V4, true);
	send_hello(&conns[0]);
	nconns = 1;
	learn_own(control);
	for (int late = 0; late < 2; late++) {
		if (late)
			say((char[24]){ 's' });
		for (size_t i = 0; i < NTESTS; i++)
			for (const char *via = "4m6"; *via; via++)
				if (is_late(&tests[i]) == late &&
				    !(*via == 'm' && tests[i].how & (OUT | REUSE)))
					add(&tests[i], *via);
	}
	send_datagrams(0);
	send_datagrams(1);
	printf("ready\n");
	if (!fgets(line, sizeof(line), stdin))
		die("no word");
	empty_chains();
	say((char[24]){ 'g' });
	return check_all() | check_datagrams(0) | check_datagrams(1);
}
