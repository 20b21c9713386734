/* SPDX-License-Identifier: MIT */
/* Guest: process descriptors. */
#include <poll.h>
#include <sys/syscall.h>

#include "guest.h"

int main(void)
{
	struct pollfd p;
	siginfo_t si = { 0 };
	pid_t pid;
	int fd;

	guest_begin();
	pid = ok(fork());
	if (!pid) {
		pause();
		_exit(0);
	}
	fd = ok((int)syscall(SYS_pidfd_open, pid, 0));
	p = (struct pollfd){ fd, POLLIN, 0 };
	say("alive %d\n", ok(poll(&p, 1, 0)));
	ok((int)syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
	say("ended %d\n", ok(poll(&p, 1, 1000)));
	ok(waitid(P_PIDFD, (id_t)fd, &si, WEXITED));
	say("code %d status %d\n", si.si_code, si.si_status);
	say("nobody %d %d\n", (int)syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), errno);
	return 0;
}
