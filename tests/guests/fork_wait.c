/* SPDX-License-Identifier: MIT */
/* Guest: children: exit codes, wait4, waitid, no more children. */
#include <sys/resource.h>

#include "guest.h"

int main(void)
{
	struct rusage ru;
	siginfo_t si = { 0 };
	pid_t pid[4];
	int i, st;

	guest_begin();
	for (i = 0; i < 4; i++) {
		pid[i] = ok(fork());
		if (!pid[i])
			_exit(10 + i);
	}
	for (i = 3; i >= 0; i--) {
		say("waited %d", ok(waitpid(pid[i], &st, 0)) == pid[i]);
		say(" code %d\n", WEXITSTATUS(st));
	}
	say("none left %d %d\n", wait(&st), errno);
	pid[0] = ok(fork());
	if (!pid[0]) {
		pid[1] = ok(fork());
		if (!pid[1])
			_exit(5);
		guest_reap(pid[1], "grandchild");
		_exit(6);
	}
	ok(waitid(P_PID, (id_t)pid[0], &si, WEXITED | WNOWAIT));
	say("waitid code %d status %d mine %d\n", si.si_code, si.si_status, si.si_pid == pid[0]);
	ok(wait4(pid[0], &st, 0, &ru));
	say("wait4 %d faults <%ld>\n", WEXITSTATUS(st), ru.ru_minflt);
	pid[0] = ok(fork());
	if (!pid[0]) {
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	guest_reap(pid[0], "aborting child");
	say("pid <%d> parent <%d>\n", getpid(), getppid());
	return 0;
}
