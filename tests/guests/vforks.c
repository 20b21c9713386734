/* SPDX-License-Identifier: MIT */
/* Guest: vfork, posix_spawn, system. */
#include <spawn.h>

#include "guest.h"

extern char **environ;

int main(void)
{
	char *argv[] = { "sh", "-c", "echo spawned; exit 4", NULL };
	posix_spawn_file_actions_t fa;
	char buf[64] = "";
	pid_t pid;
	int p[2], st;

	guest_begin();
	pid = vfork();
	if (!pid)
		_exit(8);
	guest_reap(pid, "vforked");
	pid = vfork();
	if (!pid) {
		execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
		_exit(99);
	}
	guest_reap(pid, "vforked shell");
	ok(pipe(p));
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	posix_spawn_file_actions_addclose(&fa, p[0]);
	must(posix_spawn(&pid, "/bin/sh", &fa, NULL, argv, environ) == 0);
	posix_spawn_file_actions_destroy(&fa);
	close(p[1]);
	say("read %zu %s", guest_read(p[0], buf, sizeof(buf) - 1), buf);
	guest_reap(pid, "spawned");
	st = system("exit 3");
	say("system %d\n", WEXITSTATUS(st));
	return 0;
}
