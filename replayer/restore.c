/* SPDX-License-Identifier: MIT */
/* Restores a checkpoint, see restore.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "criu.h"
#include "ptrace.h"
#include "reclog.h"
#include "restore.h"
#include "util.h"

#define RRC_CLOCK_IMAGE "timens-0.img"
#define RRC_MAX_INHERIT 32

static int copy_file(const char *from, const char *to, struct rrc_error *err)
{
	rrc_autoclose int in = open(from, O_RDONLY | O_CLOEXEC);
	rrc_autoclose int out = -1;
	struct stat st;

	if (in < 0 || fstat(in, &st))
		return rrc_fail(err, errno, "%s: %s", from, strerror(errno));
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		return rrc_fail(err, errno, "%s: %s", to, strerror(errno));
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(out, in, NULL, (size_t)left); /* 2 GiB at most */

		if (n <= 0)
			return rrc_fail(err, n ? errno : EIO, "%s: %s", to, strerror(errno));
		left -= n;
	}
	return 0;
}

/* CRIU's images as hard links, but for the one that is changed: the checkpoint stays as it is, for the
 * next attempt. Not symbolic ones: CRIU opens some after it has changed its root. */
static int link_images(const struct rrc_restore_opts *o, char *images, size_t size,
		       struct rrc_error *err)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct dirent *e;
	DIR *d;
	int ret = 0;

	snprintf(images, size, "%s/img", o->work);
	snprintf(from, sizeof(from), "%s/img", o->dir);
	if (mkdir(images, 0700) && errno != EEXIST)
		return rrc_fail(err, errno, "%s: %s", images, strerror(errno));
	d = opendir(from);
	if (!d)
		return rrc_fail(err, errno, "%s: %s", from, strerror(errno));
	while (!ret && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (snprintf(from, sizeof(from), "%s/img/%s", o->dir, e->d_name) >=
			    (int)sizeof(from) ||
		    snprintf(to, sizeof(to), "%s/%s", images, e->d_name) >= (int)sizeof(to))
			ret = rrc_fail(err, ENAMETOOLONG, "%s: name too long", e->d_name);
		else if (!strcmp(e->d_name, RRC_CLOCK_IMAGE))
			ret = copy_file(from, to, err);
		else if (link(from, to))
			ret = copy_file(from, to, err);
	}
	closedir(d);
	return ret;
}

/* CRIU tells every process to stop, and goes. Who takes a thread in hand before it has come to that finds it not
 * stopped. */
static int await_stop(pid_t init, struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(rrc_pidns_ino(init), &pids), ret = 0;

	if (n <= 0)
		return rrc_fail(err, n ? n : -ESRCH, "what was restored is gone");
	for (int i = 0; i < n && !ret; i++)
		ret = rrc_await_stop(pids[i], err);
	return ret;
}

pid_t rrc_restore(const struct rrc_restore_opts *o, struct rrc_error *err)
{
	const struct rrc_manifest_info *info = rrc_manifest_info(o->manifest);
	uint64_t now = rrc_max(o->now_ns, (uint64_t)info->mono_ns);
	const char *keys[RRC_MAX_INHERIT];
	int fds[RRC_MAX_INHERIT];
	rrc_autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char images[PATH_MAX];
	struct rrc_criu_restore r = {
		.criu = o->criu,
		.images = images,
		.log_dir = o->work,
		.root = o->root,
		.netns = o->netns,
		.inherit_key = keys,
		.inherit_fd = fds,
		.own_mounts = !!(info->flags & RRC_MANIFEST_OWN_ROOT),
	};
	size_t iter = 0, len;
	pid_t init;
	int ret;

	ret = link_images(o, images, sizeof(images), err);
	/* The log's last reading must not lie ahead of what the restored program reads. */
	if (!ret)
		ret = rrc_criu_set_clock(images, now + (uint64_t)info->timens_mono_ns,
					 info->boot_ns + (now - info->mono_ns) +
						 (uint64_t)info->timens_boot_ns,
					 err);
	if (ret)
		return ret;
	/* What led outside leads nowhere now. */
	while (r.inherits < RRC_MAX_INHERIT &&
	       (keys[r.inherits] =
			rrc_manifest_next(o->manifest, RRC_SECTION_INHERIT, &iter, &len)))
		fds[r.inherits++] = null;
	init = rrc_criu_restore(&r, err);
	ret = init > 0 ? await_stop(init, err) : init;
	if (ret && init > 0)
		kill(init, SIGKILL);
	return ret ? ret : init;
}

int rrc_restore_engine_opts(const struct rrc_manifest *m, struct rrc_engine_opts *eo,
			    struct rrc_engine_held **held, const struct rrc_rec ***restarts,
			    struct rrc_error *err)
{
	const struct rrc_manifest_socket *s;
	const struct rrc_rec *rec;
	size_t iter = 0, len;

	*held = NULL;
	*restarts = NULL;
	eo->mono_ns = rrc_manifest_info(m)->timens_mono_ns;
	eo->real_ns = (int64_t)(rrc_manifest_info(m)->real_ns - rrc_manifest_info(m)->mono_ns);
	while ((s = rrc_manifest_next(m, RRC_SECTION_SOCKET, &iter, &len))) {
		void *bigger = realloc(*held, (eo->nheld + 1) * sizeof(**held));

		if (!bigger)
			return rrc_fail(err, ENOMEM, "no memory");
		*held = bigger;
		(*held)[eo->nheld++] = (struct rrc_engine_held){ s->pid, s->fd, s->cookie };
	}
	iter = 0;
	while ((rec = rrc_manifest_next(m, RRC_SECTION_RESTART, &iter, &len))) {
		void *bigger = realloc(*restarts, (eo->nrestarts + 1) * sizeof(**restarts));

		if (!bigger)
			return rrc_fail(err, ENOMEM, "no memory");
		*restarts = bigger;
		if (rrc_rec_check(rec, len, err))
			return rrc_wrap(err, "manifest: a call that was waiting");
		(*restarts)[eo->nrestarts++] = rec;
	}
	eo->held = *held;
	eo->restarts = *restarts;
	return 0;
}
