// SPDX-License-Identifier: MIT
/* The replay engine and signals: delivered where the log says, and those left over at go-live. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "guest.h"

static volatile sig_atomic_t got;

static void handler(int sig, siginfo_t *si, void *ctx)
{
	(void)ctx;
	got = sig == SIGUSR1 ? si->si_pid : -1;
}

static void tell_who(void)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", got);

	syscall(SYS_write, guest_back[1], text, n);
	for (;;)
		syscall(SYS_pause);
}

static void waits_for_a_signal(void)
{
	syscall(SYS_pause);
	tell_who();
}

/* Set before the guest is forked: then its log need not have it. */
static void set_handler(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR1, &sa, NULL);
}

/* Registers of the guest where a log with nothing in it leaves it: at its first call. */
static struct user_regs_struct first_call(void (*guest)(void))
{
	struct user_regs_struct regs;
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(guest);

	guest_begins(&l);
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0);
	rrc_engine_kill(e);
	for (int i = 0; i < 2; i++) { /* the next guest's descriptors are to be the same */
		close(guest_pipe[i]);
		close(guest_back[i]);
	}
	return regs;
}

Test(engine, signals_come_as_recorded, .timeout = 30)
{
	struct user_regs_struct regs;
	struct rrc_rec_signal sig = { 0 };
	siginfo_t si = { .si_signo = SIGUSR1, .si_code = SI_USER };
	struct help_log l = { .len = 0 };
	struct rrc_rec *r;
	char buf[64];
	pid_t pid;

	set_handler();
	regs = first_call(waits_for_a_signal);
	pid = guest_start(waits_for_a_signal);
	guest_begins(&l);
	guest_call(&l, 1, RRC_NR_pause, -514, 0, 0, 0);
	si.si_pid = 4242;
	sig.ip = regs.rip;
	sig.sp = regs.rsp;
	sig.ax = -514;
	sig.orig_ax = RRC_NR_pause;
	memcpy(sig.info, &si, sizeof(sig.info));
	r = help_rec(&l, RRC_REC_SIGNAL, 1);
	r->ret = SIGUSR1;
	guest_seg(&l, r, 0, 0, &sig, sizeof(sig));
	guest_live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "4242");
}

static void signals_itself(void)
{
	syscall(SYS_kill, 1, SIGUSR1);
	while (!got)
		syscall(SYS_getppid);
	tell_who();
}

Test(engine, signals_that_nobody_got_come_at_golive, .timeout = 30)
{
	struct help_log l = { .len = 0 };
	char buf[64];
	pid_t pid;

	set_handler();
	pid = guest_start(signals_itself);
	guest_begins(&l);
	guest_call(&l, 1, RRC_NR_kill, 0, 1, SIGUSR1, 0);
	guest_live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "1");
}
