/* SPDX-License-Identifier: MIT */
/* Guest: timerfd: once, periodic, absolute, read back. */
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "guest.h"

int main(void)
{
	struct itimerspec its = { .it_value = { 0, 5000000 } }, old;
	struct timespec now;
	struct pollfd p;
	uint64_t n = 0;
	int t, i;

	guest_begin();
	t = ok(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	say("not armed %zd %d\n", read(t, &n, 8), errno);
	ok(timerfd_settime(t, 0, &its, NULL));
	ok(timerfd_gettime(t, &old));
	say("left <%ld>\n", old.it_value.tv_nsec);
	p = (struct pollfd){ t, POLLIN, 0 };
	say("poll %d\n", ok(poll(&p, 1, 1000)));
	ok(read(t, &n, 8));
	say("expired %lu\n", (unsigned long)n);
	its.it_interval.tv_nsec = 2000000;
	ok(timerfd_settime(t, 0, &its, NULL));
	for (i = 0; i < 3; i++) {
		ok(poll(&p, 1, 1000));
		ok(read(t, &n, 8));
		say("tick <%lu>\n", (unsigned long)n);
	}
	ok(clock_gettime(CLOCK_MONOTONIC, &now));
	its = (struct itimerspec){ .it_value = now };
	ok(timerfd_settime(t, TFD_TIMER_ABSTIME, &its, &old));
	say("interval was %ld\n", old.it_interval.tv_nsec);
	ok(poll(&p, 1, 1000));
	ok(read(t, &n, 8));
	say("in the past %lu\n", (unsigned long)n);
	return 0;
}
