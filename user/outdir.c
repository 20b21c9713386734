/* SPDX-License-Identifier: MIT */
/* A recording in a directory, see outdir.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "outdir.h"
#include "util.h"
#include "wire.h"

struct rrc_outdir {
	char dir[PATH_MAX - 64];
	char path[PATH_MAX];
	int log;
};

static int is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n == 0;
}

struct rrc_outdir *rrc_outdir_open(const char *dir, struct rrc_error *err)
{
	struct rrc_outdir *o = calloc(1, sizeof(*o));
	int ret;

	if (!o) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	o->log = -1;
	if (mkdir(dir, 0700) && errno != EEXIST) {
		rrc_fail(err, errno, "cannot make %s: %s", dir, strerror(errno));
	} else if (strlen(dir) >= sizeof(o->dir) || !realpath(dir, o->path) ||
		   strlen(o->path) >= sizeof(o->dir)) {
		rrc_fail(err, errno ? errno : ENAMETOOLONG, "%s: %s", dir, strerror(errno));
	} else if ((ret = is_empty(dir)) <= 0) {
		rrc_fail(err, ret ? ret : ENOTEMPTY,
			 "%s is not empty: a recording goes into a new directory", dir);
	} else {
		snprintf(o->dir, sizeof(o->dir), "%s", o->path);
		return o;
	}
	free(o);
	return NULL;
}

void rrc_outdir_close(struct rrc_outdir *o)
{
	if (!o)
		return;
	if (o->log >= 0)
		close(o->log);
	free(o);
}

const char *rrc_outdir_checkpoint(struct rrc_outdir *o, uint64_t number)
{
	snprintf(o->path, sizeof(o->path), "%s/ckpt-%06llu", o->dir, (unsigned long long)number);
	return o->path;
}

int rrc_outdir_cut(struct rrc_outdir *o, uint64_t number, struct rrc_error *err)
{
	if (o->log >= 0 && close(o->log))
		return rrc_fail(err, errno, "%s: %s", o->path, strerror(errno));
	snprintf(o->path, sizeof(o->path), "%s/log-%06llu", o->dir, (unsigned long long)number);
	o->log = open(o->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (o->log < 0)
		return rrc_fail(err, errno, "%s: %s", o->path, strerror(errno));
	return 0;
}

int rrc_outdir_write(struct rrc_outdir *o, const void *frame, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(o->log, (const char *)frame + done, len - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

/* A frame of its own, so that it has a checksum. */
int rrc_outdir_end(struct rrc_outdir *o, uint64_t number, uint64_t pos, struct rrc_error *err)
{
	rrc_autoclose int fd = -1;
	struct rrc_frame f;

	rrc_frame_seal(&f, RRC_FRAME_BYE, 0, NULL, 0, 0, pos, number);
	snprintf(o->path, sizeof(o->path), "%s/end", o->dir);
	fd = open(o->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, &f, sizeof(f)) != sizeof(f))
		return rrc_fail(err, errno, "%s: %s", o->path, strerror(errno));
	return 0;
}
