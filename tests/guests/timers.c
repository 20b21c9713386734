/* SPDX-License-Identifier: MIT */
/* Guest: POSIX timers. */
#include <time.h>

#include "guest.h"

static volatile sig_atomic_t hits;

static void on_timer(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	if (si->si_code == SI_TIMER)
		hits += si->si_value.sival_int;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_timer, .sa_flags = SA_SIGINFO };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
			       .sigev_signo = SIGRTMIN,
			       .sigev_value.sival_int = 3 };
	struct itimerspec its = { .it_value = { 0, 3000000 } }, left;
	sigset_t block, wait;
	timer_t t;

	guest_begin();
	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN);
	ok(sigprocmask(SIG_BLOCK, &block, &wait));
	ok(sigaction(SIGRTMIN, &sa, NULL));
	ok(timer_create(CLOCK_MONOTONIC, &ev, &t));
	ok(timer_settime(t, 0, &its, NULL));
	ok(timer_gettime(t, &left));
	say("left <%ld>\n", left.it_value.tv_nsec);
	say("suspend %d %d\n", sigsuspend(&wait), errno);
	say("hits %d overrun %d\n", (int)hits, timer_getoverrun(t));
	its.it_value = (struct timespec){ 40, 0 };
	ok(timer_settime(t, 0, &its, NULL));
	ok(timer_delete(t));
	say("deleted\n");
	return 0;
}
