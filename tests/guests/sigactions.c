/* SPDX-License-Identifier: MIT */
/* Guest: dispositions, masks, pending signals, an alternate stack. */
#include "guest.h"

static char log_buf[64];
static int log_len;
static char stack[65536];

static void note(int sig, siginfo_t *si, void *uc)
{
	int here;
	int on_stack = (char *)&here >= stack && (char *)&here < stack + sizeof(stack);

	(void)uc;
	log_len += snprintf(log_buf + log_len, sizeof(log_buf) - (size_t)log_len, " %d/%d/%d", sig,
			    si->si_code, on_stack);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = note, .sa_flags = SA_SIGINFO }, old;
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	sigset_t set, pend, wait;

	guest_begin();
	ok(sigaltstack(&ss, NULL));
	ok(sigaction(SIGUSR1, &sa, &old));
	say("was default %d\n", old.sa_handler == SIG_DFL);
	sa.sa_flags |= SA_ONSTACK;
	ok(sigaction(SIGUSR2, &sa, NULL));
	sa.sa_flags |= SA_RESETHAND;
	ok(sigaction(SIGHUP, &sa, NULL));
	ok(raise(SIGUSR1));
	ok(raise(SIGUSR2));
	ok(raise(SIGHUP));
	ok(sigaction(SIGHUP, NULL, &old));
	say("reset %d\n", old.sa_handler == SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	ok(sigprocmask(SIG_BLOCK, &set, &wait));
	ok(raise(SIGUSR2));
	ok(raise(SIGUSR1));
	ok(raise(SIGUSR1));
	ok(sigpending(&pend));
	say("pending %d %d %d\n", sigismember(&pend, SIGUSR1), sigismember(&pend, SIGUSR2),
	    sigismember(&pend, SIGHUP));
	say("seen%s\n", log_buf);
	say("suspend %d\n", sigsuspend(&wait));
	say("seen%s\n", log_buf);
	ok(sigprocmask(SIG_UNBLOCK, &set, NULL));
	signal(SIGTERM, SIG_IGN);
	ok(raise(SIGTERM));
	say("seen%s, and alive\n", log_buf);
	return 0;
}
