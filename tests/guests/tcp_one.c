/* SPDX-License-Identifier: MIT */
/* Guest: TCP over loopback, client and server in one process. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "guest.h"

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   p;
	socklen_t len = sizeof(a);
	char buf[256];
	int l, c, s, i, on = 1;

	guest_begin();
	l = ok(socket(AF_INET, SOCK_STREAM, 0));
	ok(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 4));
	ok(getsockname(l, (void *)&a, &len));
	say("port <%u>\n", ntohs(a.sin_port));
	for (i = 0; i < 3; i++) {
		c = ok(socket(AF_INET, SOCK_STREAM, 0));
		ok(connect(c, (void *)&a, sizeof(a)));
		len = sizeof(p);
		s = ok(accept(l, (void *)&p, &len));
		say("from %s <%u>\n", inet_ntoa(p.sin_addr), ntohs(p.sin_port));
		ok(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
		ok(write(c, "request", 7));
		say("read %zu\n", guest_read(s, buf, 7));
		ok(write(s, "response", 8));
		ok(shutdown(s, SHUT_WR));
		say("answer %zu, then %zd\n", guest_read(c, buf, 8), ok(read(c, buf, 1)));
		close(c);
		say("end %zd\n", ok(read(s, buf, 1)));
		close(s);
	}
	close(l);
	c = ok(socket(AF_INET, SOCK_STREAM, 0));
	say("refused %d %d\n", connect(c, (void *)&a, sizeof(a)), errno);
	return 0;
}
