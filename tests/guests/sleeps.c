/* SPDX-License-Identifier: MIT */
/* Guest: nanosleep, clock_nanosleep, usleep. */
#include <time.h>

#include "guest.h"

int main(void)
{
	struct timespec a, b, ts = { 0, 10000000 };

	guest_begin();
	ok(clock_gettime(CLOCK_MONOTONIC, &a));
	say("nanosleep %d\n", nanosleep(&ts, NULL));
	ok(clock_gettime(CLOCK_MONOTONIC, &b));
	say("long enough %d took <%ld>\n",
	    (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 10000000,
	    (long)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec));
	b.tv_nsec += 5000000;
	if (b.tv_nsec >= 1000000000) {
		b.tv_nsec -= 1000000000;
		b.tv_sec++;
	}
	say("until %d\n", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &b, NULL));
	ts.tv_nsec = 2000000;
	say("for %d\n", clock_nanosleep(CLOCK_REALTIME, 0, &ts, NULL));
	say("usleep %d\n", usleep(1000));
	ts.tv_nsec = 2000000000;
	say("invalid %d %d\n", nanosleep(&ts, NULL), errno);
	ts = (struct timespec){ 0, 0 };
	say("zero %d\n", nanosleep(&ts, NULL));
	ok(clock_gettime(CLOCK_REALTIME, &a));
	say("now <%ld.%09ld>\n", (long)a.tv_sec, a.tv_nsec);
	return 0;
}
