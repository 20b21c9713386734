/* SPDX-License-Identifier: MIT */
/* Checkpoints and logs from a directory, see recording.h. What is read here is not trusted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "recording.h"
#include "reclog.h"
#include "util.h"
#include "wire.h"

int rrc_recording_path(const char *dir, uint64_t number, char *buf, size_t size)
{
	return snprintf(buf, size, "%s/ckpt-%06llu", dir, (unsigned long long)number) >= (int)size ?
	       -ENAMETOOLONG : 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int rrc_recording_list(const char *dir, uint64_t **numbers, struct rrc_error *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;

	*numbers = NULL;
	if (!d)
		return rrc_fail(err, errno, "%s: %s", dir, strerror(errno));
	while ((e = readdir(d))) {
		unsigned long long number;
		char rest;
		void *bigger;

		if (sscanf(e->d_name, "ckpt-%llu%c", &number, &rest) != 1 || n > 1000000)
			continue;
		bigger = realloc(*numbers, (n + 1) * sizeof(**numbers));
		if (!bigger)
			break;
		*numbers = bigger;
		(*numbers)[n++] = number;
	}
	closedir(d);
	if (!n) {
		free(*numbers);
		*numbers = NULL;
		return rrc_fail(err, ENOENT, "%s is no recording: it has no checkpoint", dir);
	}
	qsort(*numbers, n, sizeof(**numbers), by_number);
	return (int)n;
}

struct rrc_manifest *rrc_recording_manifest(const char *dir, uint64_t number, struct rrc_error *err)
{
	char path[PATH_MAX];
	struct rrc_manifest *m;

	if (rrc_recording_path(dir, number, path, sizeof(path))) {
		rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
		return NULL;
	}
	m = rrc_manifest_load_dir(path, err);
	if (m && rrc_manifest_info(m)->number != number)
		rrc_fail(err, EBADMSG, "%s holds another checkpoint (%llu)", path,
			 (unsigned long long)rrc_manifest_info(m)->number);
	else if (!m || !rrc_manifest_verify_dir(m, path, err))
		return m;
	rrc_manifest_free(m);
	return NULL;
}

static int check_records(const uint8_t *buf, size_t len, int *skip, uint64_t *last_ns,
			 struct rrc_error *err)
{
	size_t off = 0;
	const struct rrc_rec *rec;
	struct rrc_error inner = { 0 };
	int first = *skip;

	while ((rec = rrc_reclog_next(buf, len, &off, &inner))) {
		if (first) {
			if (rec->kind != RRC_REC_CUT)
				return rrc_fail(err, EBADMSG, "the log does not begin with a cut");
			*skip = (int)rec->size;
			first = 0;
		}
		*last_ns = rrc_max(*last_ns, (uint64_t)rec->exit_ns);
	}
	if (inner.code) {
		if (err)
			*err = inner;
		return inner.code;
	}
	return 0;
}

int rrc_epoch_log_add(struct rrc_epoch_log *log, const struct rrc_frame *f, const uint8_t *payload,
		      struct rrc_error *err)
{
	int skip = log->pos == 0, ret;

	if (f->type != RRC_FRAME_LOG || !f->raw)
		return rrc_fail(err, EBADMSG, "a frame of type %u in the log", f->type);
	if (log->pos && f->pos != log->pos + log->len)
		return rrc_fail(err, EBADMSG, "the log has a gap at position %llu",
				(unsigned long long)(log->pos + log->len));
	if (log->len + f->raw > log->size) {
		size_t size = rrc_max(log->size * 2, log->len + f->raw);
		uint8_t *bigger = realloc(log->buf, size);

		if (!bigger)
			return rrc_fail(err, ENOMEM, "no memory for the log");
		log->buf = bigger;
		log->size = size;
	}
	ret = rrc_frame_open(f, payload, log->buf + log->len, err);
	if (!ret)
		ret = check_records(log->buf + log->len, f->raw, &skip, &log->last_ns, err);
	if (ret)
		return rrc_wrap(err, "log at position %llu", (unsigned long long)f->pos);
	if (!log->pos) {
		log->pos = f->pos + (uint64_t)skip;
		log->len = f->raw - (size_t)skip;
		memmove(log->buf, log->buf + skip, log->len);
		return 0;
	}
	log->len += f->raw;
	return 0;
}

static int add_frames(struct rrc_epoch_log *log, const uint8_t *map, size_t size, uint64_t cut_pos,
		      struct rrc_error *err)
{
	size_t at = 0;

	while (at < size) {
		struct rrc_frame f;
		int ret;

		if (size - at < sizeof(f))
			return rrc_fail(err, EBADMSG, "the log is cut off inside a frame");
		memcpy(&f, map + at, sizeof(f));
		ret = rrc_frame_check(&f, err);
		if (ret)
			return ret;
		if (size - at - sizeof(f) < f.stored)
			return rrc_fail(err, EBADMSG, "the log is cut off inside a frame");
		ret = rrc_frame_verify(&f, map + at + sizeof(f), err);
		if (!ret && at == 0 && f.pos != cut_pos)
			ret = rrc_fail(err, EBADMSG, "the log does not begin at its checkpoint's cut");
		if (!ret)
			ret = rrc_epoch_log_add(log, &f, map + at + sizeof(f), err);
		if (ret)
			return ret;
		at += sizeof(f) + f.stored;
	}
	return at ? 0 : rrc_fail(err, EBADMSG, "the log is empty: not even the cut is there");
}

int rrc_recording_log(const char *dir, uint64_t number, struct rrc_epoch_log *log,
		      struct rrc_error *err)
{
	char path[PATH_MAX], ckpt[PATH_MAX];
	rrc_autoclose int fd = -1;
	struct rrc_manifest *m;
	struct stat st;
	uint8_t *map;
	int ret;

	memset(log, 0, sizeof(*log));
	if (rrc_recording_path(dir, number, ckpt, sizeof(ckpt)) ||
	    snprintf(path, sizeof(path), "%s/log-%06llu", dir, (unsigned long long)number) >=
	    (int)sizeof(path))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
	m = rrc_manifest_load_dir(ckpt, err);
	if (!m)
		return err ? err->code : -EBADMSG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || st.st_size == 0) {
		ret = rrc_fail(err, fd < 0 ? errno : EBADMSG, "%s: %s", path,
			       fd < 0 ? strerror(errno) : "empty");
		rrc_manifest_free(m);
		return ret;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED) {
		ret = rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	} else {
		ret = add_frames(log, map, (size_t)st.st_size, rrc_manifest_info(m)->cut_pos, err);
		munmap(map, (size_t)st.st_size);
		if (ret)
			rrc_wrap(err, "%s", path);
	}
	rrc_manifest_free(m);
	if (ret)
		rrc_epoch_log_free(log);
	return ret;
}

void rrc_epoch_log_free(struct rrc_epoch_log *log)
{
	free(log->buf);
	memset(log, 0, sizeof(*log));
}
