/* SPDX-License-Identifier: MIT */
/* The fork module's device, see forkdev.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "forkdev.h"
#include "util.h"

#define TRY_US	10000 /* threads wait so long for the last one, */
#define TRIES	3 /* so often; then the next checkpoint tries again */
#define HOLD_MS 5000 /* when we are stuck the container is not */

static int call(const struct rrc_forkdev *d, unsigned long cmd, void *arg)
{
	int ret;

	do
		ret = ioctl(d->fd, cmd, arg);
	while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int failed(int ret, const char *what, struct rrc_error *err)
{
	return rrc_fail(err, ret, "%s: %s: %s", RRC_FORK_DEVICE, what, strerror(-ret));
}

int rrc_forkdev_probe(struct rrc_error *err)
{
	rrc_autoclose int fd = open(RRC_FORK_DEVICE, O_RDWR | O_CLOEXEC);
	/* A module of our version gets as far as the descriptor, which is none. */
	struct rrc_fork_park p = { .version = RRC_FORK_VERSION, .by = RRC_FORK_BY_PIDNS, .fd = -1 };

	if (fd < 0)
		return rrc_fail(err, errno, "the fork module is not loaded (%s: %s): make kmod",
				RRC_FORK_DEVICE, strerror(errno));
	if (!ioctl(fd, RRC_FORK_PARK, &p) || errno != EBADF)
		return rrc_fail(err, EPROTO,
				"the fork module that is loaded is another version's: make kmod");
	return 0;
}

int rrc_forkdev_open(struct rrc_forkdev *d, int pidns, struct rrc_error *err)
{
	*d = (struct rrc_forkdev){ .fd = open(RRC_FORK_DEVICE, O_RDWR | O_CLOEXEC),
				   .pidns = pidns };
	return d->fd < 0 ? failed(-errno, "open", err) : 0;
}

void rrc_forkdev_close(struct rrc_forkdev *d)
{
	if (d->fd >= 0) {
		rrc_forkdev_drop(d);
		close(d->fd);
	}
	free(d->procs);
	free(d->state);
	*d = (struct rrc_forkdev){ .fd = -1 };
}

int rrc_forkdev_park(struct rrc_forkdev *d, struct rrc_error *err)
{
	struct rrc_fork_park p = {
		.version = RRC_FORK_VERSION,
		.by = RRC_FORK_BY_PIDNS,
		.fd = d->pidns,
		.try_us = TRY_US,
		.tries = TRIES,
		.hold_ms = HOLD_MS,
	};
	int ret = call(d, RRC_FORK_PARK, &p);

	d->park_ns = p.park_ns;
	if (ret == -EAGAIN)
		return rrc_fail(err, EBUSY, "thread %d of the container cannot be parked",
				p.blocker);
	d->parked = !ret;
	return ret ? failed(ret, "park", err) : 0;
}

static int list(struct rrc_forkdev *d, size_t n)
{
	struct rrc_fork_process *more = realloc(d->procs, n * sizeof(*more));
	struct rrc_fork_list l;
	int ret;

	if (!more)
		return -ENOMEM;
	d->procs = more;
	l = (struct rrc_fork_list){ .processes = (uint64_t)more, .room = (uint32_t)n };
	ret = call(d, RRC_FORK_LIST, &l);
	d->n = ret ? 0 : l.n;
	return ret;
}

static int read_state(struct rrc_forkdev *d, size_t bytes)
{
	struct rrc_fork_state s;
	int ret;

	if (bytes > d->state_room) {
		uint8_t *more = realloc(d->state, bytes * 2);

		if (!more)
			return -ENOMEM;
		d->state = more;
		d->state_room = bytes * 2;
	}
	s = (struct rrc_fork_state){ .buf = (uint64_t)d->state, .room = d->state_room };
	ret = call(d, RRC_FORK_STATE, &s);
	d->state_size = ret ? 0 : s.size;
	return ret;
}

int rrc_forkdev_fork(struct rrc_forkdev *d, struct rrc_error *err)
{
	struct rrc_fork_fork f = { .version = RRC_FORK_VERSION,
				   .flags = RRC_FORK_WANT_MEMBERS | RRC_FORK_NO_FILES };
	int ret = call(d, RRC_FORK_FORK, &f);

	d->forked = 1;
	d->copy_ns = f.tree_ns;
	if (!ret)
		ret = list(d, f.processes);
	if (!ret)
		ret = read_state(d, f.state_bytes);
	return ret ? failed(ret, "fork", err) : 0;
}

int rrc_forkdev_release(struct rrc_forkdev *d, struct rrc_error *err)
{
	struct rrc_fork_release r = { 0 };
	int ret = call(d, RRC_FORK_RELEASE, &r);

	d->parked = 0;
	d->pause_ns = r.pause_ns;
	return ret ? failed(ret, "release", err) : 0;
}

int rrc_forkdev_wait(struct rrc_forkdev *d, struct rrc_error *err)
{
	struct rrc_fork_wait w = { 0 };
	int ret = call(d, RRC_FORK_WAIT, &w);

	return ret ? failed(ret, "wait", err) : 0;
}

void rrc_forkdev_drop(struct rrc_forkdev *d)
{
	if (d->parked || d->forked)
		call(d, RRC_FORK_DROP, NULL);
	d->parked = d->forked = 0;
	d->n = d->state_size = 0;
}

const struct rrc_fork_rec *rrc_forkdev_next(const struct rrc_forkdev *d,
					    const struct rrc_fork_rec *after,
					    enum rrc_fork_kind kind)
{
	size_t at = after ? (size_t)((const uint8_t *)after - d->state) + after->size : 0;

	while (d->state_size - at >= sizeof(struct rrc_fork_rec)) {
		const struct rrc_fork_rec *r = (const struct rrc_fork_rec *)(d->state + at);

		if (r->size < sizeof(*r) || r->size % 8 || r->size > d->state_size - at)
			break;
		if (r->kind == kind)
			return r;
		at += r->size;
	}
	return NULL;
}
