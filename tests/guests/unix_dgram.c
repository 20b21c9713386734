/* SPDX-License-Identifier: MIT */
/* Guest: unix datagrams with names. */
#include <stddef.h>
#include <sys/un.h>

#include "guest.h"

static int named(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = ok(socket(AF_UNIX, SOCK_DGRAM, 0));

	strcpy(a.sun_path, name);
	ok(bind(s, (void *)&a, sizeof(a)));
	return s;
}

int main(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "right" }, from;
	socklen_t len = sizeof(from);
	char buf[64] = "";
	int l, r;

	guest_begin();
	l = named("left");
	r = named("right");
	ok(sendto(l, "letter", 6, 0, (void *)&to, sizeof(to)));
	say("received %zd ", ok(recvfrom(r, buf, sizeof(buf), 0, (void *)&from, &len)));
	say("%s from %s\n", buf, from.sun_path);
	ok(sendto(r, "answer", 6, 0, (void *)&from, len));
	ok(connect(l, (void *)&to, sizeof(to)));
	ok(send(l, "", 0, 0));
	say("answer %zd\n", ok(recv(l, buf, sizeof(buf), 0)));
	say("empty %zd\n", ok(recv(r, buf, sizeof(buf), 0)));
	ok(unlink("left"));
	ok(unlink("right"));
	say("nobody %zd %d\n", sendto(r, "x", 1, 0, (void *)&from, len), errno);
	return 0;
}
