/* SPDX-License-Identifier: MIT */
/* Guest: prctl and arch_prctl. */
#include <asm/prctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "guest.h"

int main(void)
{
	unsigned long fs = 0;
	char name[17] = "";
	int sig = -1, sub = -1;

	guest_begin();
	ok(prctl(PR_GET_NAME, name));
	say("name %s\n", name);
	ok(prctl(PR_SET_NAME, "another name that is long"));
	memset(name, 0, sizeof(name));
	ok(prctl(PR_GET_NAME, name));
	say("name %s\n", name);
	say("dumpable %d\n", ok(prctl(PR_GET_DUMPABLE)));
	ok(prctl(PR_SET_PDEATHSIG, SIGUSR1));
	ok(prctl(PR_GET_PDEATHSIG, &sig));
	say("parent's death %d\n", sig);
	ok(prctl(PR_SET_PDEATHSIG, 0));
	ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
	ok(prctl(PR_GET_CHILD_SUBREAPER, &sub));
	say("reaper %d\n", sub);
	say("new privileges %d\n", ok(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	ok(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	say("new privileges %d\n", ok(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
	say("keep capabilities %d, seccomp %d, slack %d\n", ok(prctl(PR_GET_KEEPCAPS)),
	    ok(prctl(PR_GET_SECCOMP)), prctl(PR_GET_TIMERSLACK) > 0);
	say("bounding %d\n", ok(prctl(PR_CAPBSET_READ, 0)));
	say("unknown %d %d\n", prctl(12345, 0, 0, 0, 0), errno);
	ok(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
	say("thread pointer %d\n", fs != 0);
	return 0;
}
