// SPDX-License-Identifier: MIT
/* The helper that sets the next id of a pid namespace, see nspid.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "nspid.h"
#include "util.h"

struct rrc_nspid {
	pid_t pid;
	int sock;
};

/* In the helper: an id comes in, 0 or a negative errno goes out. Ends when the engine does. */
static void __attribute__((noreturn)) serve(int sock)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	pid_t id;

	prctl(PR_SET_NAME, "rrc-ids");
	while (read(sock, &id, sizeof(id)) == sizeof(id)) {
		char text[16];
		int n = snprintf(text, sizeof(text), "%d", id - 1), r = 0;

		if (fd < 0 || pwrite(fd, text, (size_t)n, 0) != n)
			r = -errno;
		if (write(sock, &r, sizeof(r)) != sizeof(r))
			break;
	}
	_exit(0);
}

/* Highest id that the namespace can give. */
static pid_t id_limit(void)
{
	rrc_autofclose FILE *f = fopen("/proc/sys/kernel/pid_max", "re");
	int max = 32768;

	if (f && fscanf(f, "%d", &max) != 1)
		max = 32768;
	return rrc_max(max, 301) - 1;
}

/* A child of ours in the namespace that our children go to now, with an id from the top. */
static pid_t fork_high(void)
{
	pid_t id = id_limit();

	for (int tries = 0; tries < 64; tries++, id--) {
		struct clone_args args = {
			.exit_signal = SIGCHLD,
			.set_tid = (uintptr_t)&id,
			.set_tid_size = 1,
		};
		pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

		if (pid >= 0)
			return pid;
		if (errno != EEXIST && errno != EINVAL)
			break;
	}
	return -errno;
}

static pid_t start(pid_t init, int sock, int other)
{
	rrc_autoclose int target = -1, own = -1;
	char path[64];
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", init);
	target = open(path, O_RDONLY | O_CLOEXEC);
	own = open("/proc/self/ns/pid_for_children", O_RDONLY | O_CLOEXEC);
	if (target < 0 || own < 0 || setns(target, CLONE_NEWPID))
		return -errno;
	pid = fork_high();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(other);
		/* nothing of the engine's stays open in it but its end of the line */
		if (dup2(sock, 3) == 3) {
			close_range(4, ~0u, 0);
			serve(3);
		}
		_exit(1);
	}
	if (setns(own, CLONE_NEWPID)) {
		int r = -errno;

		if (pid > 0)
			kill(pid, SIGKILL);
		return r;
	}
	return pid;
}

struct rrc_nspid *rrc_nspid_new(pid_t init, struct rrc_error *err)
{
	struct rrc_nspid *h = calloc(1, sizeof(*h));
	int pair[2];

	if (!h || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		rrc_fail(err, -errno, "helper in the pid namespace: %s", strerror(errno));
		free(h);
		return NULL;
	}
	h->sock = pair[0];
	h->pid = start(init, pair[1], pair[0]);
	close(pair[1]);
	if (h->pid < 0) {
		rrc_fail(err, h->pid, "helper in the pid namespace of %d: %s", init,
			 strerror(-h->pid));
		close(h->sock);
		free(h);
		return NULL;
	}
	return h;
}

int rrc_nspid_next(struct rrc_nspid *h, pid_t id, struct rrc_error *err)
{
	int r = -EPIPE;

	if (send(h->sock, &id, sizeof(id), MSG_NOSIGNAL) != sizeof(id) ||
	    recv(h->sock, &r, sizeof(r), 0) != sizeof(r))
		return rrc_fail(err, -EPIPE, "the helper in the pid namespace is gone");
	if (r)
		return rrc_fail(err, r, "cannot set the next id of the pid namespace to %d: %s", id,
				strerror(-r));
	return 0;
}

void rrc_nspid_free(struct rrc_nspid *h)
{
	if (!h)
		return;
	close(h->sock);
	kill(h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0); /* -ECHILD if it was waited for with all others */
	free(h);
}
