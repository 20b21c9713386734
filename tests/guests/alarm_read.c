/* SPDX-License-Identifier: MIT */
/* Guest: a read that an alarm interrupts, with and without restart. */
#include <sys/time.h>

#include "guest.h"

static int wake;

static void on_alarm(int sig)
{
	(void)sig;
	if (write(wake, "!", 1) != 1)
		_exit(98);
}

static void nothing(int sig)
{
	(void)sig;
}

int main(void)
{
	struct itimerval it = { .it_value = { 0, 5000 } };
	struct sigaction sa = { .sa_handler = nothing };
	int p[2];
	char c;

	guest_begin();
	ok(pipe(p));
	wake = p[1];
	ok(sigaction(SIGALRM, &sa, NULL));
	ok(setitimer(ITIMER_REAL, &it, NULL));
	say("interrupted %zd %d\n", read(p[0], &c, 1), errno);
	/* The handler makes the restarted read succeed. */
	sa.sa_handler = on_alarm;
	sa.sa_flags = SA_RESTART;
	ok(sigaction(SIGALRM, &sa, NULL));
	ok(setitimer(ITIMER_REAL, &it, NULL));
	say("restarted %zd %c\n", ok(read(p[0], &c, 1)), c);
	return 0;
}
