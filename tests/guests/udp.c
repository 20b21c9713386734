/* SPDX-License-Identifier: MIT */
/* Guest: UDP over loopback, connected and not. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "guest.h"

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   f;
	struct timeval tv = { 0, 20000 };
	socklen_t len = sizeof(a);
	char buf[2048];
	int s, c, i;

	guest_begin();
	s = ok(socket(AF_INET, SOCK_DGRAM, 0));
	c = ok(socket(AF_INET, SOCK_DGRAM, 0));
	ok(bind(s, (void *)&a, sizeof(a)));
	ok(getsockname(s, (void *)&a, &len));
	for (i = 0; i < 4; i++) {
		guest_fill(buf, sizeof(buf), (unsigned int)i);
		ok(sendto(c, buf, (size_t)i * 500, 0, (void *)&a, sizeof(a)));
		len = sizeof(f);
		say("got %zd ", ok(recvfrom(s, buf, sizeof(buf), 0, (void *)&f, &len)));
		say("%08x from %s <%u>\n", guest_sum(buf, (size_t)i * 500), inet_ntoa(f.sin_addr),
		    ntohs(f.sin_port));
	}
	ok(connect(c, (void *)&a, sizeof(a)));
	ok(send(c, "connected", 9, 0));
	say("cut to %zd\n", ok(recv(s, buf, 4, MSG_TRUNC)));
	ok(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	say("timed out %zd %d\n", recv(s, buf, 4, 0), errno);
	close(s);
	ok(send(c, "x", 1, 0));
	say("refused %zd %d\n", recv(c, buf, 1, 0), errno);
	return 0;
}
