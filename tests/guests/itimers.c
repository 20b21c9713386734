/* SPDX-License-Identifier: MIT */
/* Guest: setitimer with a handler; the time left. */
#include <sys/time.h>

#include "guest.h"

static volatile sig_atomic_t ticks;

static void on_alarm(int sig)
{
	(void)sig;
	ticks++;
}

int main(void)
{
	struct itimerval it = { .it_value = { 0, 3000 }, .it_interval = { 0, 2000 } }, left;
	struct sigaction sa = { .sa_handler = on_alarm };
	sigset_t block, wait;
	int i;

	guest_begin();
	ok(sigaction(SIGALRM, &sa, NULL));
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	ok(sigprocmask(SIG_BLOCK, &block, &wait));
	ok(setitimer(ITIMER_REAL, &it, NULL));
	for (i = 0; i < 4; i++) {
		say("suspend %d %d\n", sigsuspend(&wait), errno);
		say("ticks %d\n", (int)ticks);
	}
	ok(getitimer(ITIMER_REAL, &left));
	say("left <%ld> every %ld\n", (long)left.it_value.tv_usec, (long)left.it_interval.tv_usec);
	memset(&it, 0, sizeof(it));
	ok(setitimer(ITIMER_REAL, &it, &left));
	say("stopped, alarm says %u\n", alarm(0));
	return 0;
}
