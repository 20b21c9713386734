/* SPDX-License-Identifier: MIT */
/* Guest: signalfd. */
#include <poll.h>
#include <sys/signalfd.h>

#include "guest.h"

int main(void)
{
	struct signalfd_siginfo si[4];
	union sigval v = { .sival_int = 42 };
	struct pollfd p;
	sigset_t set;
	ssize_t n;
	pid_t pid;
	int s, i;

	guest_begin();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGRTMIN);
	ok(sigprocmask(SIG_BLOCK, &set, NULL));
	s = ok(signalfd(-1, &set, SFD_NONBLOCK));
	say("none %zd %d\n", read(s, si, sizeof(si)), errno);
	ok(kill(getpid(), SIGUSR1));
	ok(sigqueue(getpid(), SIGRTMIN, v));
	v.sival_int = 43;
	ok(sigqueue(getpid(), SIGRTMIN, v));
	n = ok(read(s, si, sizeof(si)));
	say("read %zd\n", n / (ssize_t)sizeof(si[0]));
	for (i = 0; i < n / (ssize_t)sizeof(si[0]); i++)
		say("signal %u code %d value %d from me %d\n", si[i].ssi_signo, si[i].ssi_code,
		    si[i].ssi_int, si[i].ssi_pid == (uint32_t)getpid());
	pid = ok(fork());
	if (!pid)
		_exit(9);
	p = (struct pollfd){ s, POLLIN, 0 };
	ok(poll(&p, 1, -1));
	ok(read(s, si, sizeof(si[0])));
	say("signal %u status %d\n", si[0].ssi_signo, si[0].ssi_status);
	guest_reap(pid, "child");
	return 0;
}
