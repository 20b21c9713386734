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
	return snprintf(buf, size, "%s/ckpt-%06llu", dir, (unsigned long long)number) >= (int)size
		       ? -ENAMETOOLONG
		       : 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Numbers of what is called `what`-NNNNNN in dir, ascending. Returns how many, or negative. */
static int list(const char *dir, const char *what, uint64_t **numbers, struct rrc_error *err)
{
	DIR *d = opendir(dir);
	size_t n = 0, len = strlen(what);
	struct dirent *e;

	*numbers = NULL;
	if (!d)
		return rrc_fail(err, errno, "%s: %s", dir, strerror(errno));
	while ((e = readdir(d))) {
		unsigned long long number;
		char rest;
		void *bigger;

		if (strncmp(e->d_name, what, len) ||
		    sscanf(e->d_name + len, "-%llu%c", &number, &rest) != 1 || n > 1000000)
			continue;
		bigger = realloc(*numbers, (n + 1) * sizeof(**numbers));
		if (!bigger)
			break;
		*numbers = bigger;
		(*numbers)[n++] = number;
	}
	closedir(d);
	if (n)
		qsort(*numbers, n, sizeof(**numbers), by_number);
	return (int)n;
}

int rrc_recording_list(const char *dir, uint64_t **numbers, struct rrc_error *err)
{
	int n = list(dir, "ckpt", numbers, err);

	return n ? n : rrc_fail(err, ENOENT, "%s is no recording: it has no checkpoint", dir);
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
		if (!ret && at == 0 && cut_pos && f.pos != cut_pos)
			ret = rrc_fail(err, EBADMSG,
				       "the log does not begin at its checkpoint's cut");
		if (!ret)
			ret = rrc_epoch_log_add(log, &f, map + at + sizeof(f), err);
		if (ret)
			return ret;
		at += sizeof(f) + f.stored;
	}
	return at ? 0 : rrc_fail(err, EBADMSG, "the log is empty: not even the cut is there");
}

/* Appends one log file; `cut_pos` is where it begins, 0 if it only goes on. */
static int add_file(struct rrc_epoch_log *log, const char *dir, uint64_t number, uint64_t cut_pos,
		    struct rrc_error *err)
{
	char path[PATH_MAX];
	rrc_autoclose int fd = -1;
	struct stat st;
	uint8_t *map;
	int ret;

	if (snprintf(path, sizeof(path), "%s/log-%06llu", dir, (unsigned long long)number) >=
	    (int)sizeof(path))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || st.st_size == 0)
		return rrc_fail(err, fd < 0 ? errno : EBADMSG, "%s: %s", path,
				fd < 0 ? strerror(errno) : "empty");
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	ret = add_frames(log, map, (size_t)st.st_size, cut_pos, err);
	munmap(map, (size_t)st.st_size);
	return ret ? rrc_wrap(err, "%s", path) : 0;
}

/* The frame in the file `end`: 1, 0 if there is no such file, or negative. */
static int read_end(const char *dir, struct rrc_frame *f, struct rrc_error *err)
{
	char path[PATH_MAX];
	rrc_autoclose int fd = -1;
	int ret;

	if (snprintf(path, sizeof(path), "%s/end", dir) >= (int)sizeof(path))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	if (read(fd, f, sizeof(*f)) != sizeof(*f))
		return rrc_fail(err, EBADMSG, "%s is cut off", path);
	ret = rrc_frame_check(f, err);
	if (!ret && (f->type != RRC_FRAME_BYE || f->stored))
		ret = rrc_fail(err, EBADMSG, "not the end of a recording");
	if (!ret)
		ret = rrc_frame_verify(f, "", err);
	return ret ? rrc_wrap(err, "%s", path) : 1;
}

int rrc_recording_ended(const char *dir, struct rrc_error *err)
{
	rrc_autofree uint64_t *numbers = NULL;
	struct rrc_frame end;
	int n, ret = read_end(dir, &end, err);

	if (ret <= 0)
		return ret;
	n = rrc_recording_list(dir, &numbers, err);
	if (n < 0)
		return n;
	if (numbers[n - 1] != end.aux)
		return rrc_fail(err, EBADMSG, "%s: its newest checkpoint is %llu, not %llu", dir,
				(unsigned long long)numbers[n - 1], (unsigned long long)end.aux);
	return 1;
}

static int cut_of(const char *dir, uint64_t number, uint64_t *pos, struct rrc_error *err)
{
	char ckpt[PATH_MAX];
	struct rrc_manifest *m;

	if (rrc_recording_path(dir, number, ckpt, sizeof(ckpt)))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
	m = rrc_manifest_load_dir(ckpt, err);
	if (!m)
		return -EBADMSG;
	*pos = rrc_manifest_info(m)->cut_pos;
	rrc_manifest_free(m);
	return 0;
}

/* Where the log behind `number` ends, as the checkpoint behind it or the end of the recording says. */
static int check_end(const char *dir, uint64_t number, uint64_t next,
		     const struct rrc_epoch_log *log, struct rrc_error *err)
{
	struct rrc_frame end;
	uint64_t pos;
	int ret;

	if (next) {
		ret = cut_of(dir, next, &pos, err);
		if (ret)
			return ret;
	} else {
		ret = read_end(dir, &end, err);
		if (ret <= 0)
			return ret;
		pos = end.pos;
	}
	if (log->pos + log->len == pos)
		return 0;
	return rrc_fail(err, EBADMSG, "%s: the log behind checkpoint %llu ends at %llu, not %llu",
			dir, (unsigned long long)number, (unsigned long long)(log->pos + log->len),
			(unsigned long long)pos);
}

int rrc_recording_log(const char *dir, uint64_t number, struct rrc_epoch_log *log,
		      struct rrc_error *err)
{
	rrc_autofree uint64_t *ckpts = NULL;
	rrc_autofree uint64_t *logs = NULL;
	uint64_t cut_pos = 0, next = 0;
	int nckpts, nlogs, ret;

	memset(log, 0, sizeof(*log));
	nckpts = rrc_recording_list(dir, &ckpts, err);
	nlogs = nckpts < 0 ? nckpts : list(dir, "log", &logs, err);
	if (nlogs < 0)
		return nlogs;
	for (int i = nckpts - 1; i >= 0 && ckpts[i] > number; i--)
		next = ckpts[i];
	ret = cut_of(dir, number, &cut_pos, err);
	if (!ret)
		ret = add_file(log, dir, number, cut_pos, err);
	/* A checkpoint that failed behind its cut left a log of its own, which goes on with ours. */
	for (int i = 0; i < nlogs && !ret; i++)
		if (logs[i] > number && (!next || logs[i] < next))
			ret = add_file(log, dir, logs[i], 0, err);
	if (!ret)
		ret = check_end(dir, number, next, log, err);
	if (ret)
		rrc_epoch_log_free(log);
	return ret;
}

void rrc_epoch_log_free(struct rrc_epoch_log *log)
{
	free(log->buf);
	memset(log, 0, sizeof(*log));
}
