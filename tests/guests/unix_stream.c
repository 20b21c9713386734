/* SPDX-License-Identifier: MIT */
/* Guest: a unix stream server and its clients. */
#include <sys/un.h>

#include "guest.h"

int main(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sock" }, peer;
	socklen_t len = sizeof(peer);
	struct ucred cred;
	char buf[64];
	pid_t pid[3];
	int l, c, i;

	guest_begin();
	l = ok(socket(AF_UNIX, SOCK_STREAM, 0));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 5));
	for (i = 0; i < 3; i++) {
		pid[i] = ok(fork());
		if (pid[i])
			continue;
		c = ok(socket(AF_UNIX, SOCK_STREAM, 0));
		ok(connect(c, (void *)&a, sizeof(a)));
		ok(write(c, "hello", 5));
		_exit(guest_read(c, buf, 5) == 5 && !memcmp(buf, "HELLO", 5) ? 0 : 1);
	}
	for (i = 0; i < 3; i++) {
		len = sizeof(peer);
		c = ok(accept4(l, (void *)&peer, &len, SOCK_CLOEXEC));
		say("accepted, address of %u\n", len);
		len = sizeof(cred);
		ok(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &cred, &len));
		say("peer <%d> user %u\n", cred.pid, cred.uid);
		say("got %zu\n", guest_read(c, buf, 5));
		guest_write(c, "HELLO", 5);
		say("then %zd\n", read(c, buf, 1));
		close(c);
	}
	for (i = 0; i < 3; i++)
		guest_reap(pid[i], "client");
	len = sizeof(peer);
	ok(getsockname(l, (void *)&peer, &len));
	say("name %s\n", peer.sun_path);
	ok(unlink("sock"));
	c = ok(socket(AF_UNIX, SOCK_STREAM, 0));
	say("gone %d %d\n", connect(c, (void *)&a, sizeof(a)), errno);
	return 0;
}
