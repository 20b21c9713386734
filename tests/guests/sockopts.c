/* SPDX-License-Identifier: MIT */
/* Guest: socket options and names. */
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "guest.h"

static int get(int s, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = 0;

	ok(getsockopt(s, level, name, &v, &len));
	must(len == sizeof(int));
	return v;
}

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   b;
	struct linger lg = { 1, 2 };
	socklen_t len = sizeof(a);
	int l, c, on = 1, size = 100000;

	guest_begin();
	l = ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
	say("type %d domain %d protocol %d\n", get(l, SOL_SOCKET, SO_TYPE),
	    get(l, SOL_SOCKET, SO_DOMAIN), get(l, SOL_SOCKET, SO_PROTOCOL));
	ok(setsockopt(l, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)));
	ok(setsockopt(l, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
	say("reuse %d buffer <%d>\n", get(l, SOL_SOCKET, SO_REUSEPORT),
	    get(l, SOL_SOCKET, SO_RCVBUF));
	say("listening %d\n", get(l, SOL_SOCKET, SO_ACCEPTCONN));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 3));
	say("listening %d\n", get(l, SOL_SOCKET, SO_ACCEPTCONN));
	ok(getsockname(l, (void *)&a, &len));
	c = ok(socket(AF_INET, SOCK_STREAM, 0));
	ok(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	ok(setsockopt(c, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg)));
	ok(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));

	say("no peer %d %d\n", getpeername(c, (void *)&b, &len), errno);
	ok(connect(c, (void *)&a, sizeof(a)));
	len = sizeof(b);
	ok(getpeername(c, (void *)&b, &len));
	say("peer is the listener %d\n", b.sin_port == a.sin_port);
	memset(&lg, 0, sizeof(lg));
	len = sizeof(lg);
	ok(getsockopt(c, SOL_SOCKET, SO_LINGER, &lg, &len));
	say("keep %d linger %d %d nodelay %d\n", get(c, SOL_SOCKET, SO_KEEPALIVE), lg.l_onoff,
	    lg.l_linger, get(c, IPPROTO_TCP, TCP_NODELAY));
	say("segment <%d>\n", get(c, IPPROTO_TCP, TCP_MAXSEG));
	say("unknown %d %d\n", setsockopt(c, IPPROTO_TCP, 999, &on, sizeof(on)), errno);
	return 0;
}
