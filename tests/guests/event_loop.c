/* SPDX-License-Identifier: MIT */
/* Guest: a small server: one epoll over a listener, a timer, a signal and an event counter. */
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "guest.h"

enum {
	LISTENER = 1,
	TIMER,
	SIGNAL,
	EVENT,
	CLIENT
};

static struct sockaddr_in a = { .sin_family = AF_INET };

static void add(int e, int fd, uint32_t what)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = (uint64_t)fd << 32 | what };

	ok(epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev));
}

static void client(void)
{
	char buf[32];
	int i, s = ok(socket(AF_INET, SOCK_STREAM, 0));

	ok(connect(s, (void *)&a, sizeof(a)));
	for (i = 0; i < 10; i++) {
		guest_write(s, "tick", 4);
		must(guest_read(s, buf, 4) == 4);
	}
	_exit(0);
}

static void serve(int e, int l)
{
	int clients = 0, ended = 0, ticks = 0, children = 0, events = 0, requests = 0;
	struct epoll_event got[8];

	while (children < 3 || ended < 3 || !ticks) {
		int i, n = ok(epoll_wait(e, got, 8, -1));

		for (i = 0; i < n; i++) {
			int fd = (int)(got[i].data.u64 >> 32);
			struct signalfd_siginfo si;
			uint64_t v;
			char buf[64];
			ssize_t len;

			switch ((uint32_t)got[i].data.u64) {
			case LISTENER:
				add(e, ok(accept4(l, NULL, NULL, SOCK_NONBLOCK)), CLIENT);
				clients++;
				break;
			case TIMER:
				ok(read(fd, &v, 8));
				ticks++;
				break;
			case SIGNAL:
				ok(read(fd, &si, sizeof(si)));
				while (waitpid(-1, NULL, WNOHANG) > 0)
					children++;
				break;
			case EVENT:
				ok(read(fd, &v, 8));
				events += (int)v;
				break;
			default:
				len = ok(read(fd, buf, sizeof(buf)));
				if (len) {
					guest_write(fd, buf, (size_t)len);
					requests++;
				} else {
					close(fd);
					ended++;
				}
			}
		}
	}
	say("clients %d ended %d children %d events %d requests %d ticks <%d>\n", clients, ended,
	    children, events, requests, ticks);
}

int main(void)
{
	struct itimerspec its = { .it_value = { 0, 2000000 }, .it_interval = { 0, 2000000 } };
	socklen_t len = sizeof(a);
	uint64_t five = 5;
	sigset_t set;
	int e, l, t, ev, i;

	guest_begin();
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l = ok(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 8));
	ok(getsockname(l, (void *)&a, &len));
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	ok(sigprocmask(SIG_BLOCK, &set, NULL));
	e = ok(epoll_create1(EPOLL_CLOEXEC));
	t = ok(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	ev = ok(eventfd(0, 0));
	ok(timerfd_settime(t, 0, &its, NULL));
	for (i = 0; i < 3; i++)
		if (!ok(fork()))
			client();
	add(e, l, LISTENER);
	add(e, t, TIMER);
	add(e, ok(signalfd(-1, &set, SFD_CLOEXEC)), SIGNAL);
	add(e, ev, EVENT);
	ok(write(ev, &five, 8));
	serve(e, l);
	return 0;
}
