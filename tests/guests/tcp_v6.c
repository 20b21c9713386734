/* SPDX-License-Identifier: MIT */
/* Guest: TCP over IPv6 loopback, non-blocking connect. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>

#include "guest.h"

int main(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(a);
	int l, c, s, e = -1, ret;
	char text[64], buf[8];
	struct pollfd p;

	guest_begin();
	l = ok(socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ret = bind(l, (void *)&a, sizeof(a));
	if (ret) {
		say("no IPv6 here\n");
		return 0;
	}
	ok(listen(l, 1));
	say("nobody yet %d %d\n", accept(l, NULL, NULL), errno);
	ok(getsockname(l, (void *)&a, &len));
	c = ok(socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ret = connect(c, (void *)&a, sizeof(a));
	say("connect %d\n", ret == 0 || errno == EINPROGRESS);
	p = (struct pollfd){ c, POLLOUT, 0 };
	say("poll %d %x\n", ok(poll(&p, 1, 1000)), p.revents);
	len = sizeof(e);
	ok(getsockopt(c, SOL_SOCKET, SO_ERROR, &e, &len));
	say("error %d\n", e);
	len = sizeof(a);
	s = ok(accept(l, (void *)&a, &len));
	say("from %s\n", inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof(text)));
	ok(write(s, "v6", 2));
	p.events = POLLIN;
	say("poll %d %x\n", ok(poll(&p, 1, 1000)), p.revents);
	say("read %zd\n", ok(read(c, buf, sizeof(buf))));
	return 0;
}
