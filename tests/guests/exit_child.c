/* SPDX-License-Identifier: MIT */
/* Guest: how children end: normally, by signals, dumping core. */
#include <sys/resource.h>

#include "guest.h"

static void child(int i)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	switch (i) {
	case 0:
		exit(0);
	case 1:
		_exit(255);
	case 2:
		raise(SIGKILL);
		break;
	case 3:
		abort();
	case 4:
		*(volatile int *)8 = 1;
		break;
	case 5:
		signal(SIGINT, SIG_DFL);
		kill(getpid(), SIGINT);
		break;
	}
	_exit(98);
}

int main(void)
{
	int i;

	guest_begin();
	for (i = 0; i < 6; i++) {
		pid_t pid = ok(fork());

		if (!pid)
			child(i);
		guest_reap(pid, "child");
	}
	return 0;
}
