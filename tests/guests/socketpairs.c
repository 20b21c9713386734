/* SPDX-License-Identifier: MIT */
/* Guest: socket pairs: stream, datagram, sequenced; shutdown. */
#include "guest.h"

int main(void)
{
	char buf[64];
	int s[2], i;
	pid_t pid;

	guest_begin();
	ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
	ok(send(s[0], "stream", 6, 0));
	ok(send(s[0], "ed", 2, MSG_NOSIGNAL));
	say("peek %zd ", ok(recv(s[1], buf, sizeof(buf), MSG_PEEK)));
	say("read %zd %.8s\n", ok(recv(s[1], buf, sizeof(buf), 0)), buf);
	say("nothing %zd %d\n", recv(s[1], buf, 1, MSG_DONTWAIT), errno);
	ok(shutdown(s[0], SHUT_WR));
	say("end %zd\n", ok(read(s[1], buf, 1)));
	ok(write(s[1], "other way", 9));
	say("still %zd\n", ok(read(s[0], buf, sizeof(buf))));
	close(s[0]);
	close(s[1]);
	ok(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	for (i = 1; i < 4; i++)
		ok(send(s[0], "datagram", (size_t)i * 2, 0));
	for (i = 1; i < 4; i++)
		say("datagram of %zd\n", ok(recv(s[1], buf, 5, MSG_TRUNC)));
	close(s[0]);
	close(s[1]);
	ok(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	pid = ok(fork());
	if (!pid) {
		for (i = 0; i < 3; i++)
			ok(send(s[1], &i, sizeof(i), 0));
		_exit(0);
	}
	close(s[1]);
	while (recv(s[0], &i, sizeof(i), 0) > 0)
		say("packet %d\n", i);
	guest_reap(pid, "sender");
	return 0;
}
