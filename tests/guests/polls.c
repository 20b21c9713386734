/* SPDX-License-Identifier: MIT */
/* Guest: poll and ppoll. */
#include <poll.h>

#include "guest.h"

static void on_signal(int sig)
{
	(void)sig;
}

int main(void)
{
	struct timespec ts = { 0, 5000000 };
	struct pollfd p[4];
	int a[2], s[2];
	sigset_t none, block;
	char c;

	guest_begin();
	ok(pipe(a));
	ok(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	p[0] = (struct pollfd){ a[0], POLLIN, 0 };
	p[1] = (struct pollfd){ s[0], POLLIN | POLLOUT, 0 };
	p[2] = (struct pollfd){ -1, POLLIN, 7 };
	p[3] = (struct pollfd){ 500, POLLIN, 0 };
	say("poll %d: %x %x %x %x\n", ok(poll(p, 4, -1)), p[0].revents, p[1].revents, p[2].revents,
	    p[3].revents);
	say("time-out %d\n", ok(poll(p, 1, 5)));
	ok(write(a[1], "x", 1));
	close(s[1]);
	say("poll %d: %x %x\n", ok(poll(p, 2, 50)), p[0].revents, p[1].revents);
	ok(read(a[0], &c, 1));
	say("ppoll %d\n", ok(ppoll(p, 1, &ts, NULL)));
	close(a[1]);
	say("hang-up %d %x\n", ok(poll(p, 1, -1)), p[0].revents);
	/* A signal that comes as soon as ppoll lets it in. */
	signal(SIGUSR1, on_signal);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	ok(sigprocmask(SIG_BLOCK, &block, NULL));
	ok(raise(SIGUSR1));
	say("interrupted %d %d\n", ppoll(NULL, 0, NULL, &none), errno);
	return 0;
}
