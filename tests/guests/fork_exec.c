/* SPDX-License-Identifier: MIT */
/* Guest: fork, execve of itself and of others, wait. */
#include "guest.h"

int main(int argc, char **argv)
{
	char *again[] = { argv[0], "again", "two words", "", NULL }, *env[] = { "ONLY=this", NULL };
	char *no[] = { "/no/such/program", NULL };
	pid_t pid;
	int i;

	guest_begin();
	if (argc > 1) {
		for (i = 1; i < argc; i++)
			say("argument %d [%s]\n", i, argv[i]);
		say("environment %s, descriptor %d\n", getenv("ONLY"), fcntl(30, F_GETFD));
		return 21;
	}
	pid = ok(fork());
	if (!pid) {
		ok(dup3(1, 30, O_CLOEXEC));
		execve("/proc/self/exe", again, env);
		_exit(99);
	}
	guest_reap(pid, "itself");
	pid = ok(fork());
	if (!pid) {
		execlp("sh", "sh", "-c", "echo $0 $((6 * 7)); exit 12", "shell", (char *)NULL);
		_exit(99);
	}
	guest_reap(pid, "shell");
	say("failed %d %d\n", execv(no[0], no), errno);
	return 0;
}
