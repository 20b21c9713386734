/* SPDX-License-Identifier: MIT */
/* The owner of a dump, see criu_guard.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "criu_guard.h"
#include "fds.h"
#include "util.h"

void rrc_criu_questions_close(struct rrc_criu_questions *q)
{
	rrc_closep(&q->ask);
	rrc_closep(&q->answer);
	q->ask = q->answer = -1;
	unlink(q->script);
	unlink(q->ask_path);
	unlink(q->answer_path);
}

static void refuse(int answer)
{
	(void)!write(answer, "no\n", 3);
}

static int ended(pid_t pid)
{
	int st;

	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return 128;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128;
}

/* Until CRIU has ended. As long as we live, it is we who are asked. */
static int stand_by(struct rrc_criu_questions *q, int alive, pid_t criu)
{
	int fds[4] = { q->ask, q->answer, alive, (int)syscall(SYS_pidfd_open, criu, 0) };
	struct pollfd p[3];
	char word[64];

	rrc_fds_keep(fds, RRC_ARRAY_SIZE(fds));
	p[0] = (struct pollfd){ fds[3], POLLIN, 0 };
	p[1] = (struct pollfd){ fds[2], POLLIN, 0 };
	p[2] = (struct pollfd){ -1, POLLIN, 0 };
	for (;;) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return 128;
		if (p[0].revents)
			break;
		if (p[1].revents) {
			/* A question that we had read and not answered; else the next one finds this answer. */
			p[1].fd = -1;
			p[2].fd = fds[0];
			refuse(fds[1]);
		}
		if (p[2].revents && read(fds[0], word, sizeof(word)) > 0)
			refuse(fds[1]);
	}
	if (p[1].fd < 0) {
		unlink(q->script);
		unlink(q->ask_path);
		unlink(q->answer_path);
	}
	return ended(criu);
}

static int own(struct rrc_criu_questions *q, int alive, pid_t (*start)(const void *ctx),
	       const void *ctx)
{
	pid_t criu;

	setsid();
	prctl(PR_SET_NAME, "rrc-dump-guard");
	criu = start(ctx);
	return criu < 0 ? 127 : stand_by(q, alive, criu);
}

pid_t rrc_criu_guard(struct rrc_criu_questions *q, pid_t (*start)(const void *ctx), const void *ctx,
		     int *alive)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		_exit(own(q, fds[0], start, ctx));
	}
	close(fds[0]);
	*alive = fds[1];
	if (pid > 0)
		return pid;
	close(fds[1]);
	*alive = -1;
	return -errno;
}
