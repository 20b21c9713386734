/* SPDX-License-Identifier: MIT */
/* Changes of the container's files between two checkpoints, see fsdelta.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fsdelta.h"
#include "tar.h"
#include "util.h"

/* What tells that a file is as it was. ctime sees every change of content, mode, owner and links. */
struct entry {
	char *name; /* relative to the layer */
	uint64_t hash;
	uint64_t ino, ctime_ns, size;
	unsigned int seen; /* in which walk */
};

struct rrc_fsdelta {
	char layer[PATH_MAX];
	struct entry *table; /* open addressing, size a power of two */
	size_t size, used;
	unsigned int walk;
};

struct walk {
	struct rrc_fsdelta *d;
	dev_t dev;
	FILE *list; /* changed names for tar */
	int changes;
	struct rrc_error *err;
};

struct rrc_fsdelta *rrc_fsdelta_new(const char *layer)
{
	struct rrc_fsdelta *d = calloc(1, sizeof(*d));

	if (d)
		snprintf(d->layer, sizeof(d->layer), "%s", layer);
	return d;
}

void rrc_fsdelta_reset(struct rrc_fsdelta *d)
{
	for (size_t i = 0; i < d->size; i++)
		free(d->table[i].name);
	free(d->table);
	d->table = NULL;
	d->size = d->used = 0;
}

void rrc_fsdelta_free(struct rrc_fsdelta *d)
{
	if (!d)
		return;
	rrc_fsdelta_reset(d);
	free(d);
}

static struct entry *slot(struct entry *table, size_t size, const char *name, uint64_t hash)
{
	size_t i = hash & (size - 1);

	while (table[i].name && (table[i].hash != hash || strcmp(table[i].name, name)))
		i = (i + 1) & (size - 1);
	return &table[i];
}

static int make_room(struct rrc_fsdelta *d)
{
	size_t size = d->size ? d->size * 2 : 1024;
	struct entry *bigger;

	if (d->used * 2 < d->size)
		return 0;
	bigger = calloc(size, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	for (size_t i = 0; i < d->size; i++)
		if (d->table[i].name)
			*slot(bigger, size, d->table[i].name, d->table[i].hash) = d->table[i];
	free(d->table);
	d->table = bigger;
	d->size = size;
	return 0;
}

static int note(struct walk *w, const char *name, const struct stat *st)
{
	struct rrc_fsdelta *d = w->d;
	struct entry now = {
		.hash = XXH3_64bits(name, strlen(name)),
		.ino = st->st_ino,
		.ctime_ns =
			(uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec,
		.size = (uint64_t)st->st_size,
		.seen = d->walk,
	};
	struct entry *e;

	if (make_room(d))
		return rrc_fail(w->err, ENOMEM, "no memory for the list of files");
	e = slot(d->table, d->size, name, now.hash);
	if (e->name && e->ino == now.ino && e->ctime_ns == now.ctime_ns && e->size == now.size) {
		e->seen = d->walk;
		return 0;
	}
	now.name = e->name ? e->name : strdup(name);
	if (!now.name)
		return rrc_fail(w->err, ENOMEM, "no memory for the list of files");
	d->used += !e->name;
	*e = now;
	w->changes++;
	/* A socket is made by bind, and restored by CRIU: a file of it would be in its way. */
	if (!S_ISSOCK(st->st_mode) &&
	    (fwrite(name, 1, strlen(name) + 1, w->list) != strlen(name) + 1))
		return rrc_fail(w->err, errno, "cannot list changed files: %s", strerror(errno));
	return 0;
}

static int walk_dir(struct walk *w, int fd, const char *prefix)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	int ret = 0;

	if (!dir) {
		close(fd);
		return rrc_fail(w->err, errno, "%s/%s: %s", w->d->layer, prefix, strerror(errno));
	}
	while (!ret && (e = readdir(dir))) {
		char name[PATH_MAX];
		struct stat st;
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || st.st_dev != w->dev)
			continue;
		if (snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "/" : "", e->d_name) >=
		    (int)sizeof(name))
			ret = rrc_fail(w->err, ENAMETOOLONG, "%s/%s: name too long", prefix,
				       e->d_name);
		if (!ret)
			ret = note(w, name, &st);
		if (ret || !S_ISDIR(st.st_mode))
			continue;
		sub = openat(dirfd(dir), e->d_name,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0)
			ret = walk_dir(w, sub, name);
	}
	closedir(dir);
	return ret;
}

/* Names that the last walk did not see. */
static int list_deleted(struct rrc_fsdelta *d, FILE *f)
{
	size_t kept = 0;
	struct entry *table;
	int gone = 0;

	for (size_t i = 0; i < d->size; i++) {
		struct entry *e = &d->table[i];

		if (!e->name)
			continue;
		if (e->seen == d->walk) {
			kept++;
			continue;
		}
		fwrite(e->name, 1, strlen(e->name) + 1, f);
		free(e->name);
		e->name = NULL;
		gone++;
	}
	if (!gone)
		return 0;
	/* Taking entries out of open addressing needs the others put in anew. */
	table = calloc(d->size, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < d->size; i++)
		if (d->table[i].name)
			*slot(table, d->size, d->table[i].name, d->table[i].hash) = d->table[i];
	free(d->table);
	d->table = table;
	d->used = kept;
	return gone;
}

int rrc_fsdelta_take(struct rrc_fsdelta *d, const char *dir, struct rrc_error *err)
{
	char list[PATH_MAX + 32], tar[PATH_MAX + 32], deleted[PATH_MAX + 32];
	int fd = open(d->layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret, gone;
	struct walk w = { .d = d, .err = err };
	rrc_autofclose FILE *del = NULL;
	struct stat st;

	snprintf(list, sizeof(list), "%s/fs.list", dir);
	snprintf(tar, sizeof(tar), "%s/" RRC_FS_TAR, dir);
	snprintf(deleted, sizeof(deleted), "%s/" RRC_FS_DELETED, dir);
	if (fd < 0 || fstat(fd, &st)) {
		ret = rrc_fail(err, errno, "%s: %s", d->layer, strerror(errno));
		if (fd >= 0)
			close(fd);
		return ret;
	}
	w.dev = st.st_dev;
	w.list = fopen(list, "we");
	if (!w.list) {
		close(fd);
		return rrc_fail(err, errno, "%s: %s", list, strerror(errno));
	}
	d->walk++;
	ret = walk_dir(&w, fd, "");
	if (fclose(w.list) && !ret)
		ret = rrc_fail(err, errno, "%s: %s", list, strerror(errno));
	if (!ret && w.changes)
		ret = rrc_tar_make(tar, d->layer, list, err);
	unlink(list);
	if (ret)
		return ret;
	del = fopen(deleted, "we");
	if (!del)
		return rrc_fail(err, errno, "%s: %s", deleted, strerror(errno));
	gone = list_deleted(d, del);
	if (gone < 0)
		return rrc_fail(err, gone, "no memory for the list of files");
	if (gone + w.changes == 0)
		unlink(deleted);
	return gone + w.changes;
}
