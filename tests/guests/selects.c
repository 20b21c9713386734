/* SPDX-License-Identifier: MIT */
/* Guest: select and pselect: readable, writable, time-out, bad descriptor. */
#include <sys/select.h>

#include "guest.h"

int main(void)
{
	struct timespec ts = { 0, 5000000 };
	struct timeval tv = { 0, 5000 };
	int p[2], q[2], high, n;
	fd_set r, w, x;
	char c;

	guest_begin();
	ok(pipe(p));
	ok(pipe(q));
	high = ok(dup2(q[0], 200));
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	say("time-out %d", ok(select(p[0] + 1, &r, NULL, NULL, &tv)));
	say(", left %ld.%06ld, set %d\n", (long)tv.tv_sec, (long)tv.tv_usec,
	    FD_ISSET(p[0], &r) != 0);
	ok(write(q[1], "q", 1));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(p[0], &r);
	FD_SET(high, &r);
	FD_SET(p[1], &w);
	FD_SET(p[0], &x);
	n = ok(select(high + 1, &r, &w, &x, NULL));
	say("ready %d: %d %d %d %d\n", n, FD_ISSET(p[0], &r) != 0, FD_ISSET(high, &r) != 0,
	    FD_ISSET(p[1], &w) != 0, FD_ISSET(p[0], &x) != 0);
	ok(read(high, &c, 1));
	FD_ZERO(&r);
	FD_SET(high, &r);
	say("pselect %d\n", ok(pselect(high + 1, &r, NULL, NULL, &ts, NULL)));
	tv = (struct timeval){ 0, 0 };
	say("at once %d\n", ok(select(0, NULL, NULL, NULL, &tv)));
	FD_ZERO(&r);
	FD_SET(300, &r);
	say("bad %d %d\n", select(301, &r, NULL, NULL, &tv), errno);
	return 0;
}
