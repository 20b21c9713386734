// SPDX-License-Identifier: MIT
/* Events are told by whoever has one, also by a process that was forked while another thread told one. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

#define FORKS 300

static atomic_int over;

static void *tells(void *arg)
{
	(void)arg;
	while (!over)
		rrc_event("committed", "\"epoch\":1");
	return NULL;
}

/* A failover begins while the checkpoint before it is told of. */
Test(events, a_fork_in_the_middle_of_an_event, .timeout = 60)
{
	int null = open("/dev/null", O_WRONLY), out = dup(STDOUT_FILENO), ended = 0;
	pthread_t other;

	cr_assert(null >= 0 && out >= 0);
	rrc_log_setup("test", RRC_LOG_INFO, 1);
	fflush(stdout);
	dup2(null, STDOUT_FILENO);
	pthread_create(&other, NULL, tells, NULL);
	for (int i = 0; i < FORKS; i++) {
		int status;
		pid_t pid = fork();

		if (!pid) {
			alarm(20);
			rrc_event("live", "\"pid\":1");
			_exit(0);
		}
		ended += waitpid(pid, &status, 0) == pid && WIFEXITED(status);
		if (ended <= i)
			break;
	}
	over = 1;
	pthread_join(other, NULL);
	dup2(out, STDOUT_FILENO);
	cr_assert_eq(ended, FORKS, "fork %d could not tell", ended + 1);
}

/* One line, one write: those of several threads do not mix. */
Test(events, an_event_is_one_line)
{
	char text[128];
	int p[2], out = dup(STDOUT_FILENO);
	ssize_t n;

	cr_assert_eq(pipe(p), 0);
	rrc_log_setup("test", RRC_LOG_INFO, 1);
	fflush(stdout);
	dup2(p[1], STDOUT_FILENO);
	rrc_event("a", "\"n\":%d", 1);
	rrc_event("b", "%s", "");
	dup2(out, STDOUT_FILENO);
	n = read(p[0], text, sizeof(text) - 1);
	cr_assert(n > 0);
	text[n] = 0;
	cr_assert_str_eq(text, "{\"event\":\"a\",\"n\":1}\n{\"event\":\"b\"}\n");
}
