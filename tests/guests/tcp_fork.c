/* SPDX-License-Identifier: MIT */
/* Guest: TCP over loopback, a server process for each client. */
#include <netinet/in.h>

#include "guest.h"

static struct sockaddr_in a = { .sin_family = AF_INET };

static void client(int n)
{
	int c = ok(socket(AF_INET, SOCK_STREAM, 0)), i;
	char buf[16], want[16];

	ok(connect(c, (void *)&a, sizeof(a)));
	for (i = 0; i < 5; i++) {
		snprintf(want, sizeof(want), "%04d:%04d", n, i);
		guest_write(c, want, 9);
		must(guest_read(c, buf, 9) == 9 && !memcmp(buf, want, 9));
	}
	_exit(0);
}

static void serve(int s)
{
	char buf[9];
	int n = 0;

	while (guest_read(s, buf, 9) == 9) {
		guest_write(s, buf, 9);
		n++;
	}
	_exit(n);
}

int main(void)
{
	socklen_t len = sizeof(a);
	int l, i, s;
	pid_t pid;

	guest_begin();
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l = ok(socket(AF_INET, SOCK_STREAM, 0));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 4));
	ok(getsockname(l, (void *)&a, &len));
	for (i = 0; i < 3; i++) {
		pid_t cl = ok(fork());

		if (!cl)
			client(i);
		s = ok(accept(l, NULL, NULL));
		pid = ok(fork());
		if (!pid)
			serve(s);
		close(s);
		guest_reap(cl, "client");
		guest_reap(pid, "server");
	}
	return 0;
}
