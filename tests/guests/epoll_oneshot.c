/* SPDX-License-Identifier: MIT */
/* Guest: epoll: one-shot, nested, epoll_pwait with a signal. */
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "guest.h"

static volatile sig_atomic_t hits;

static void on_signal(int sig)
{
	(void)sig;
	hits++;
}

int main(void)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u32 = 5 }, got[4];
	sigset_t none, block;
	int e, outer, f;

	guest_begin();
	e = ok(epoll_create1(0));
	outer = ok(epoll_create1(0));
	f = ok(eventfd(1, EFD_NONBLOCK));
	ok(epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));
	say("once %d\n", ok(epoll_wait(e, got, 4, 0)));
	say("no more %d\n", ok(epoll_wait(e, got, 4, 1)));
	ok(epoll_ctl(e, EPOLL_CTL_MOD, f, &ev));
	ev = (struct epoll_event){ .events = EPOLLIN, .data.u32 = 9 };
	ok(epoll_ctl(outer, EPOLL_CTL_ADD, e, &ev));
	say("nested %d %u\n", ok(epoll_wait(outer, got, 4, -1)), got[0].data.u32);
	say("inner %d %u\n", ok(epoll_wait(e, got, 4, -1)), got[0].data.u32);
	signal(SIGUSR2, on_signal);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR2);
	ok(sigprocmask(SIG_BLOCK, &block, NULL));
	ok(kill(getpid(), SIGUSR2));
	say("before %d\n", (int)hits);
	say("pwait %d %d\n", epoll_pwait(e, got, 4, -1, &none), errno);
	say("after %d\n", (int)hits);
	return 0;
}
