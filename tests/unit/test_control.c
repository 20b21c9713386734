// SPDX-License-Identifier: MIT
/* The control socket: one protector a container, an end that is asked for and answered. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control.h"
#include "help.h"

struct asker {
	const char *dir;
	struct rrc_error err;
	int ret;
};

static void *ask(void *arg)
{
	struct asker *a = arg;

	a->ret = rrc_control_detach(a->dir, &a->err);
	return NULL;
}

/* Asks; the answer is text, or none at all if NULL. */
static struct asker asked(struct rrc_control *c, const char *dir, const char *text)
{
	struct asker a = { .dir = dir };
	struct pollfd p = { rrc_control_fd(c), POLLIN, 0 };
	pthread_t t;

	cr_assert_eq(rrc_control_read(c), 0, "nobody asked yet");
	cr_assert_eq(pthread_create(&t, NULL, ask, &a), 0);
	cr_assert_eq(poll(&p, 1, 5000), 1);
	cr_assert_eq(rrc_control_read(c), 1);
	if (text)
		rrc_control_answer(c, text);
	else
		rrc_control_close(c);
	pthread_join(t, NULL);
	return a;
}

Test(control, asked_and_answered, .timeout = 30)
{
	struct rrc_error err = { 0 };
	char *dir = help_dir();
	struct rrc_control *c = rrc_control_open(dir, &err);
	struct asker a;

	cr_assert(c, "%s", err.msg);
	a = asked(c, dir, "");
	cr_assert_eq(a.ret, 0, "%s", a.err.msg);
	a = asked(c, dir, "a rule could not be removed");
	cr_assert(a.ret < 0 && strstr(a.err.msg, "a rule could not"), "%d %s", a.ret, a.err.msg);
	a = asked(c, dir, NULL);
	cr_assert_eq(a.ret, -EIO, "an end without an answer is no success");
	cr_assert_eq(rrc_control_detach(dir, &err), -ENOENT);
	help_remove(dir);
	free(dir);
}

Test(control, one_protector)
{
	struct rrc_error err = { 0 };
	char *dir = help_dir();
	struct rrc_control *c = rrc_control_open(dir, &err);

	cr_assert(c, "%s", err.msg);
	cr_assert_null(rrc_control_open(dir, &err));
	cr_assert_eq(err.code, -EBUSY);
	rrc_control_close(c);
	cr_assert(access(help_path("%s/control", dir), F_OK));
	help_remove(dir);
	free(dir);
}

/* One that was killed leaves its socket's name behind. */
Test(control, a_name_left_behind_is_taken_over)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct rrc_error err = { 0 };
	char *dir = help_dir();
	struct rrc_control *c;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", dir);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	cr_assert_eq(rrc_control_detach(dir, &err), -ENOENT);
	c = rrc_control_open(dir, &err);
	cr_assert(c, "%s", err.msg);
	rrc_control_close(c);
	help_remove(dir);
	free(dir);
}

Test(control, a_name_that_is_too_long)
{
	struct rrc_error err = { 0 };
	char dir[300];

	memset(dir, 'x', sizeof(dir) - 1);
	dir[sizeof(dir) - 1] = 0;
	cr_assert_null(rrc_control_open(dir, &err));
	cr_assert_eq(err.code, -ENAMETOOLONG);
	cr_assert_eq(rrc_control_detach(dir, &err), -ENAMETOOLONG);
}
