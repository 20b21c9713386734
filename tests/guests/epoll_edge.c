/* SPDX-License-Identifier: MIT */
/* Guest: epoll, edge-triggered. */
#include <sys/epoll.h>

#include "guest.h"

int main(void)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET }, got[4];
	int e, s[2];
	char buf[16];

	guest_begin();
	e = ok(epoll_create1(0));
	ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	ev.data.fd = s[0];
	ok(epoll_ctl(e, EPOLL_CTL_ADD, s[0], &ev));
	say("first %d %x\n", ok(epoll_wait(e, got, 4, 0)), got[0].events);
	say("no edge %d\n", ok(epoll_wait(e, got, 4, 0)));
	ok(write(s[1], "abc", 3));
	say("edge %d %x\n", ok(epoll_wait(e, got, 4, -1)), got[0].events);
	say("no edge %d\n", ok(epoll_wait(e, got, 4, 2)));
	ok(read(s[0], buf, 1));
	say("still unread, no edge %d\n", ok(epoll_wait(e, got, 4, 0)));
	ok(write(s[1], "d", 1));
	say("edge %d %x\n", ok(epoll_wait(e, got, 4, 0)), got[0].events);
	while (read(s[0], buf, sizeof(buf)) > 0)
		;
	say("drained %d\n", errno);
	ok(shutdown(s[1], SHUT_WR));
	say("shut %d %x\n", ok(epoll_wait(e, got, 4, 0)), got[0].events);
	ok(epoll_ctl(e, EPOLL_CTL_MOD, s[0], &ev));
	say("armed anew %d %x\n", ok(epoll_wait(e, got, 4, 0)), got[0].events);
	return 0;
}
