/* SPDX-License-Identifier: MIT */
/* Guest: 4 MB through a loopback connection, partial writes and all. */
#include <netinet/in.h>

#include "guest.h"

#define SIZE (4 << 20)

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	uint8_t *buf = malloc(SIZE);
	int l, s, reads = 0;
	size_t have = 0;
	pid_t pid;

	guest_begin();
	must(buf);
	l = ok(socket(AF_INET, SOCK_STREAM, 0));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 1));
	ok(getsockname(l, (void *)&a, &len));
	pid = ok(fork());
	if (!pid) {
		s = ok(socket(AF_INET, SOCK_STREAM, 0));
		ok(connect(s, (void *)&a, sizeof(a)));
		guest_fill(buf, SIZE, 7);
		guest_write(s, buf, SIZE);
		_exit(0);
	}
	s = ok(accept(l, NULL, NULL));
	for (;;) {
		ssize_t n = ok(read(s, buf + have, SIZE - have < 100000 ? SIZE - have : 100000));

		if (!n)
			break;
		have += (size_t)n;
		reads++;
	}
	say("%zu bytes, sum %08x, in <%d> reads\n", have, guest_sum(buf, have), reads);
	guest_reap(pid, "sender");
	return 0;
}
