/* SPDX-License-Identifier: MIT */
/* Guest: eventfd, counting and as a semaphore, between processes. */
#include <sys/eventfd.h>

#include "guest.h"

int main(void)
{
	uint64_t v = 0;
	int e, s, i;
	pid_t pid;

	guest_begin();
	e = ok(eventfd(3, EFD_NONBLOCK));
	ok(read(e, &v, 8));
	say("first %lu\n", (unsigned long)v);
	say("empty %zd %d\n", read(e, &v, 8), errno);
	v = 5;
	ok(write(e, &v, 8));
	ok(write(e, &v, 8));
	ok(read(e, &v, 8));
	say("sum %lu\n", (unsigned long)v);
	say("short %zd %d\n", read(e, &v, 4), errno);
	s = ok(eventfd(0, EFD_SEMAPHORE));
	pid = ok(fork());
	if (!pid) {
		v = 4;
		ok(write(s, &v, 8));
		_exit(0);
	}
	for (i = 0; i < 4; i++) {
		ok(read(s, &v, 8));
		say("take %lu\n", (unsigned long)v);
	}
	guest_reap(pid, "giver");
	return 0;
}
