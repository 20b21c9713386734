/* SPDX-License-Identifier: MIT */
/*
 * rrc-init: process 1 of the pid namespace that a recorded command runs in. A program of its own,
 * without libc, because it is part of every checkpoint: a few pages, no clock, no allocator, and a
 * file that does not change when rrc-trace does. The command is process 2, so signals mean to it
 * what they always mean (the kernel ignores a process 1's default actions).
 *
 *	rrc-init PATH ARGV0 [ARG…]	descriptor 3: closed when the command waits for its start
 *
 * The command's process waits in rt_sigtimedwait for a blocked SIGCONT: a wait that a checkpoint can
 * be taken in, that needs no descriptor, and that replay answers from the log like any other call.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define READY_FD    3
#define SIGCONT_SET (1ul << (SIGCONT - 1))

static long call4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

static void die(int code)
{
	for (;;)
		call4(SYS_exit_group, code, 0, 0, 0);
}

static void command(char **argv, char **envp)
{
	static const char shell[] = "/bin/sh";
	unsigned long set = SIGCONT_SET;
	char *path = argv[1];
	long ret;

	call4(SYS_setpgid, 0, 0, 0, 0);
	call4(SYS_close, READY_FD, 0, 0, 0);
	while (call4(SYS_rt_sigtimedwait, (long)&set, 0, 0, sizeof(set)) != SIGCONT)
		;
	call4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&set, 0, sizeof(set));
	ret = call4(SYS_execve, (long)path, (long)(argv + 2), (long)envp, 0);
	if (ret == -ENOEXEC) { /* a script without #!, as execvp(3) treats it */
		argv[1] = (char *)shell;
		argv[2] = path;
		ret = call4(SYS_execve, (long)shell, (long)(argv + 1), (long)envp, 0);
	}
	die(ret == -ENOENT ? 127 : 126);
}

static void reap(long child)
{
	int status = 0;
	long pid;

	/* Orphans of the namespace end up here as well; the command's end is the end of all. */
	do {
		pid = call4(SYS_wait4, -1, (long)&status, 0, 0);
	} while (pid != child && (pid > 0 || pid == -EINTR));
	if (pid != child)
		die(126);
	die(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

void rrc_init_main(long *stack);
void rrc_init_main(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	char **envp = argv + argc + 1;
	unsigned long set = SIGCONT_SET;
	long child;

	if (argc < 3)
		die(2);
	call4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&set, 0, sizeof(set));
	child = call4(SYS_clone, SIGCHLD, 0, 0, 0);
	if (child < 0)
		die(126);
	if (child == 0)
		command(argv, envp);
	call4(SYS_close, READY_FD, 0, 0, 0);
	reap(child);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp,%ebp\n"
	"	mov %rsp,%rdi\n"
	"	and $-16,%rsp\n"
	"	call rrc_init_main\n"
	"	hlt\n");
