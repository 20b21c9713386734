/* SPDX-License-Identifier: MIT */
/*
 * A server whose threads wait in the calls that a stop ends with EINTR, and count how often they saw that.
 *
 *	waits-guest PORT	each connection sends one byte: 'r' forgets the counts; it is answered with them: EINTRs,
 *				waits that timed out, and those of them that were too early or far too late
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 330
#define LATE_MS 3 /* times as long: the rest would have begun anew with each checkpoint */

static atomic_ulong interrupted, timed_out, wrong;

static long by_epoll_wait(int ep, int ms)
{
	struct epoll_event ev;

	return epoll_wait(ep, &ev, 1, ms);
}

static long by_epoll_pwait(int ep, int ms)
{
	struct epoll_event ev;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(ep, &ev, 1, ms, &none);
}

static long by_epoll_pwait2(int ep, int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000l };
	struct epoll_event ev;

	return syscall(SYS_epoll_pwait2, ep, &ev, 1, ms < 0 ? NULL : &ts, NULL, 8);
}

static long by_sigwaitinfo(int ep, int ms)
{
	sigset_t set;

	(void)ep;
	(void)ms;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return sigwaitinfo(&set, NULL);
}

static const struct waiter {
	long (*wait)(int ep, int ms);
	int ms;
} waiters[] = {
	{ by_epoll_wait, -1 },	     { by_epoll_wait, WAIT_MS }, { by_epoll_pwait, -1 },
	{ by_epoll_pwait, WAIT_MS }, { by_epoll_pwait2, -1 },	 { by_epoll_pwait2, WAIT_MS },
	{ by_sigwaitinfo, -1 },
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void *waiting(void *arg)
{
	const struct waiter *w = arg;
	int ep = epoll_create1(0);

	for (;;) {
		uint64_t from = now_ms(), took;
		long n = w->wait(ep, w->ms);

		took = now_ms() - from;
		if (n < 0 && errno == EINTR)
			interrupted++;
		else if (!n)
			timed_out++;
		if (n > 0 || (n < 0 && errno != EINTR) ||
		    (!n && (took + 1 < WAIT_MS || took > WAIT_MS * LATE_MS)))
			wrong++;
	}
	return NULL;
}

static int serve(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 16))
		return 1;
	for (;;) {
		int c = accept(s, NULL, NULL);
		char what = 0;

		if (c < 0)
			return 1;
		if (read(c, &what, 1) == 1 && what == 'r')
			interrupted = timed_out = wrong = 0;
		dprintf(c, "%lu %lu %lu\n", interrupted, timed_out, wrong);
		close(c);
	}
}

int main(int argc, char **argv)
{
	sigset_t set;

	if (argc != 2)
		return 2;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < sizeof(waiters) / sizeof(*waiters); i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, waiting, (void *)(uintptr_t)&waiters[i]))
			return 1;
	}
	return serve(atoi(argv[1]));
}
