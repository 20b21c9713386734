/* SPDX-License-Identifier: MIT */
/* Guest: signals sent: to itself, a child, a group; queued values; waiting for one. */
#include "guest.h"

static volatile sig_atomic_t got_sig, got_val;

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	got_sig = sig;
	got_val = si->si_value.sival_int;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	union sigval v = { .sival_int = 1234 };
	struct timespec soon = { 0, 2000000 };
	siginfo_t si;
	sigset_t set;
	pid_t pid;
	int st;

	guest_begin();
	ok(sigaction(SIGRTMIN + 1, &sa, NULL));
	ok(sigqueue(getpid(), SIGRTMIN + 1, v));
	say("signal %d value %d\n", (int)got_sig, (int)got_val);
	say("exists %d, no such %d %d\n", kill(getpid(), 0), kill(0x3ffffff, 0), errno);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ok(sigprocmask(SIG_BLOCK, &set, NULL));
	say("none in time %d %d\n", sigtimedwait(&set, &si, &soon), errno);
	pid = ok(fork());
	if (!pid) {
		ok(kill(getppid(), SIGUSR1));
		pause();
		_exit(0);
	}
	say("waited for %d, from the child %d\n", ok(sigwaitinfo(&set, &si)), si.si_pid == pid);
	ok(kill(pid, SIGTERM));
	guest_reap(pid, "child");
	pid = ok(fork());
	if (!pid) {
		ok(setpgid(0, 0));
		ok(raise(SIGSTOP));
		_exit(3);
	}
	must(waitpid(pid, &st, WUNTRACED) == pid && WIFSTOPPED(st));
	say("stopped by %d\n", WSTOPSIG(st));
	ok(kill(-pid, SIGCONT));
	guest_reap(pid, "group");
	return 0;
}
