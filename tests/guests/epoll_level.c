/* SPDX-License-Identifier: MIT */
/* Guest: epoll, level-triggered. */
#include <sys/epoll.h>

#include "guest.h"

int main(void)
{
	struct epoll_event ev = { 0 }, got[8];
	int e, p[3][2], i, n;
	char c;

	guest_begin();
	e = ok(epoll_create1(EPOLL_CLOEXEC));
	for (i = 0; i < 3; i++) {
		ok(pipe(p[i]));
		ev.events = EPOLLIN;
		ev.data.u64 = 0x100000000ull + (unsigned int)i;
		ok(epoll_ctl(e, EPOLL_CTL_ADD, p[i][0], &ev));
	}
	say("again %d %d\n", epoll_ctl(e, EPOLL_CTL_ADD, p[0][0], &ev), errno);
	say("nothing %d\n", ok(epoll_wait(e, got, 8, 3)));
	ok(write(p[2][1], "ab", 2));
	ok(write(p[0][1], "c", 1));
	for (i = 0; i < 2; i++) {
		n = ok(epoll_wait(e, got, 8, -1));
		say("ready %d:", n);
		while (n--)
			say(" %llx/%x", (unsigned long long)got[n].data.u64, got[n].events);
		say("\n");
	}
	say("one at a time %d\n", ok(epoll_wait(e, got, 1, -1)));
	ok(read(p[2][0], &c, 1));
	ok(read(p[0][0], &c, 1));
	say("left %d\n", ok(epoll_wait(e, got, 8, 0)));
	ev.events = 0;
	ok(epoll_ctl(e, EPOLL_CTL_MOD, p[2][0], &ev));
	say("masked %d\n", ok(epoll_wait(e, got, 8, 0)));
	close(p[0][1]);
	say("hang-up %d %x\n", ok(epoll_wait(e, got, 8, 0)), got[0].events);
	ok(epoll_ctl(e, EPOLL_CTL_DEL, p[0][0], NULL));
	say("deleted %d\n", ok(epoll_wait(e, got, 8, 0)));
	say("not there %d %d\n", epoll_ctl(e, EPOLL_CTL_DEL, p[0][0], NULL), errno);
	return 0;
}
