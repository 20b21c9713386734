/* SPDX-License-Identifier: MIT */
/* The control socket, see control.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control.h"
#include "util.h"

struct rrc_control {
	struct sockaddr_un addr;
	int fd, peer;
};

static int address(struct sockaddr_un *a, const char *run_dir)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	return snprintf(a->sun_path, sizeof(a->sun_path), "%s/control", run_dir) >=
			       (int)sizeof(a->sun_path)
		       ? -ENAMETOOLONG
		       : 0;
}

static int connect_to(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a))) {
		close(fd);
		return -ENOENT;
	}
	return fd < 0 ? -errno : fd;
}

struct rrc_control *rrc_control_open(const char *run_dir, struct rrc_error *err)
{
	struct rrc_control *c = calloc(1, sizeof(*c));
	int other;

	if (!c || address(&c->addr, run_dir)) {
		rrc_fail(err, ENAMETOOLONG, "%s/control: name too long", run_dir);
		free(c);
		return NULL;
	}
	c->peer = -1;
	other = connect_to(&c->addr);
	if (other >= 0) {
		close(other);
		rrc_fail(
			err, EBUSY,
			"another rrc-trace protects this container: end it first (rrc-trace --detach)");
		free(c);
		return NULL;
	}
	unlink(c->addr.sun_path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&c->addr, sizeof(c->addr)) ||
	    listen(c->fd, 4)) {
		rrc_fail(err, errno, "%s: %s", c->addr.sun_path, strerror(errno));
		if (c->fd >= 0)
			close(c->fd);
		free(c);
		return NULL;
	}
	return c;
}

void rrc_control_close(struct rrc_control *c)
{
	if (!c)
		return;
	if (c->peer >= 0)
		close(c->peer);
	close(c->fd);
	unlink(c->addr.sun_path);
	free(c);
}

int rrc_control_fd(const struct rrc_control *c)
{
	return c->fd;
}

int rrc_control_read(struct rrc_control *c)
{
	int peer = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);

	if (peer < 0)
		return 0;
	if (c->peer >= 0)
		close(c->peer);
	c->peer = peer;
	return 1;
}

void rrc_control_answer(struct rrc_control *c, const char *text)
{
	if (!c || c->peer < 0)
		return;
	if (send(c->peer, text, strlen(text) + 1, MSG_NOSIGNAL) < 0)
		text = NULL; /* whoever asked has gone */
	close(c->peer);
	c->peer = -1;
}

int rrc_control_detach(const char *run_dir, struct rrc_error *err)
{
	struct sockaddr_un a;
	char text[512] = "";
	rrc_autoclose int fd = -1;
	ssize_t n;

	if (address(&a, run_dir))
		return rrc_fail(err, ENAMETOOLONG, "%s/control: name too long", run_dir);
	fd = connect_to(&a);
	if (fd < 0)
		return -ENOENT;
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return rrc_fail(err, EIO, "rrc-trace ended without an answer");
	return text[0] ? rrc_fail(err, EIO, "%s", text) : 0;
}
