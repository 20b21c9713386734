/* SPDX-License-Identifier: MIT */
/* Guest: two threads that take turns through pipes. */
#include <pthread.h>

#include "guest.h"

static int to[2], back[2];

static void *echo(void *arg)
{
	char c;

	(void)arg;
	while (read(to[0], &c, 1) == 1) {
		c++;
		guest_write(back[1], &c, 1);
	}
	return NULL;
}

int main(void)
{
	pthread_t t;
	char c;
	int i;

	guest_begin();
	ok(pipe(to));
	ok(pipe(back));
	must(pthread_create(&t, NULL, echo, NULL) == 0);
	for (i = 0; i < 50; i++) {
		c = (char)('A' + i % 20);
		guest_write(to[1], &c, 1);
		must(guest_read(back[0], &c, 1) == 1);
		if (i % 10 == 0)
			say("turn %d %c\n", i, c);
	}
	close(to[1]);
	must(pthread_join(t, NULL) == 0);
	say("done\n");
	return 0;
}
