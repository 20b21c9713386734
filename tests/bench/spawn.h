/* SPDX-License-Identifier: MIT */
/* Starts a command in a pid namespace of its own, stopped before its first instruction. */
#ifndef RRC_TEST_SPAWN_H
#define RRC_TEST_SPAWN_H

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static inline pid_t spawn_in_pidns(char **cmd)
{
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWPID)) {
		perror("unshare");
		exit(1);
	}
	pid = fork();
	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		personality(ADDR_NO_RANDOMIZE);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execvp(*cmd, cmd);
		perror(*cmd);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
		fprintf(stderr, "%s does not start\n", *cmd);
		exit(1);
	}
	return pid;
}

/* Inode number of a namespace of pid; 0: no such process. */
static inline uint64_t ns_ino(pid_t pid, const char *which)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, which);
	return stat(path, &st) ? 0 : st.st_ino;
}

#endif
