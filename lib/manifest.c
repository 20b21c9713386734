/* SPDX-License-Identifier: MIT */
/* The manifest of a checkpoint, see manifest.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "manifest.h"
#include "record.h"
#include "util.h"

#define RRC_MANIFEST_NAME "manifest"
#define RRC_NAME_MAX	  512

struct rrc_manifest {
	uint8_t *buf; /* head, then sections */
	size_t len;
	size_t size;
};

static uint8_t *reserve(struct rrc_manifest *m, size_t more)
{
	uint8_t *at;

	if (m->len + more > RRC_MANIFEST_MAX)
		return NULL;
	if (m->len + more > m->size) {
		size_t size = rrc_max(m->size * 2, m->len + more + 4096);
		uint8_t *bigger = realloc(m->buf, size);

		if (!bigger)
			return NULL;
		m->buf = bigger;
		m->size = size;
	}
	at = m->buf + m->len;
	memset(at, 0, more);
	m->len += more;
	return at;
}

int rrc_manifest_add(struct rrc_manifest *m, enum rrc_section_type type, const void *head,
		     size_t head_len, const void *tail, size_t tail_len)
{
	size_t body = head_len + tail_len;
	struct rrc_section s = { .type = (uint32_t)type, .length = (uint32_t)body };
	/* A NUL behind every body, so that text needs no copy. */
	uint8_t *at = reserve(m, RRC_ALIGN8(sizeof(s) + body + 1));

	if (!at)
		return -ENOMEM;
	memcpy(at, &s, sizeof(s));
	if (head_len)
		memcpy(at + sizeof(s), head, head_len);
	if (tail_len)
		memcpy(at + sizeof(s) + head_len, tail, tail_len);
	return 0;
}

int rrc_manifest_add_text(struct rrc_manifest *m, enum rrc_section_type type, const char *text)
{
	return rrc_manifest_add(m, type, text, strlen(text), NULL, 0);
}

struct rrc_manifest *rrc_manifest_new(const struct rrc_manifest_info *info)
{
	struct rrc_manifest *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	if (!reserve(m, sizeof(struct rrc_manifest_head)) ||
	    rrc_manifest_add(m, RRC_SECTION_INFO, info, sizeof(*info), NULL, 0)) {
		rrc_manifest_free(m);
		return NULL;
	}
	return m;
}

void rrc_manifest_free(struct rrc_manifest *m)
{
	if (!m)
		return;
	free(m->buf);
	free(m);
}

const void *rrc_manifest_bytes(struct rrc_manifest *m, size_t *len)
{
	size_t body = m->len - sizeof(struct rrc_manifest_head);
	struct rrc_manifest_head head = {
		.magic = RRC_MANIFEST_MAGIC,
		.version = RRC_FORMAT_VERSION,
		.length = body,
		.sum = XXH3_64bits(m->buf + sizeof(head), body),
	};

	memcpy(m->buf, &head, sizeof(head));
	*len = m->len;
	return m->buf;
}

int rrc_manifest_name_ok(const char *name, size_t len)
{
	size_t start = 0;

	if (len == 0 || len >= PATH_MAX || name[0] == '/' || memchr(name, 0, len))
		return -EINVAL;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && name[i] != '/')
			continue;
		if (i == start || (name[start] == '.' && i - start == 1) ||
		    (i - start == 2 && name[start] == '.' && name[start + 1] == '.'))
			return -EINVAL;
		start = i + 1;
	}
	return 0;
}

static const struct {
	uint32_t least;
	uint32_t most;
} section_size[] = {
	[RRC_SECTION_INFO] = { sizeof(struct rrc_manifest_info), sizeof(struct rrc_manifest_info) },
	[RRC_SECTION_FILE] = { sizeof(struct rrc_manifest_file) + 1,
			       sizeof(struct rrc_manifest_file) + RRC_NAME_MAX },
	[RRC_SECTION_SOCKET] = { sizeof(struct rrc_manifest_socket),
				 sizeof(struct rrc_manifest_socket) },
	[RRC_SECTION_INHERIT] = { 1, 256 },
	[RRC_SECTION_NETCFG] = { 0, 1 << 20 },
	[RRC_SECTION_ROOT] = { 0, 4096 },
	[RRC_SECTION_COMMAND] = { 0, 65536 },
	[RRC_SECTION_RESTART] = { sizeof(struct rrc_rec), 4096 },
};

static int check_section(const struct rrc_section *s, const uint8_t *body, size_t at,
			 struct rrc_error *err)
{
	if (s->type == 0 || s->type >= RRC_ARRAY_SIZE(section_size))
		return rrc_fail(err, EBADMSG, "manifest has a section of unknown type %u", s->type);
	if (s->length < section_size[s->type].least || s->length > section_size[s->type].most)
		return rrc_fail(err, EBADMSG, "manifest has a section of type %u with %u bytes",
				s->type, s->length);
	if ((at == sizeof(struct rrc_manifest_head)) != (s->type == RRC_SECTION_INFO))
		return rrc_fail(err, EBADMSG, "manifest does not begin with its numbers");
	if (s->type == RRC_SECTION_FILE &&
	    rrc_manifest_name_ok((const char *)body + sizeof(struct rrc_manifest_file),
				 s->length - sizeof(struct rrc_manifest_file)))
		return rrc_fail(err, EBADMSG, "manifest names a file outside of the checkpoint");
	return 0;
}

static int check(const uint8_t *buf, size_t len, struct rrc_error *err)
{
	size_t at = sizeof(struct rrc_manifest_head);
	struct rrc_manifest_head head;

	if (len < sizeof(head) || len > RRC_MANIFEST_MAX)
		return rrc_fail(err, EBADMSG, "manifest is cut off or too long (%zu bytes)", len);
	memcpy(&head, buf, sizeof(head));
	if (head.magic != RRC_MANIFEST_MAGIC)
		return rrc_fail(err, EBADMSG, "not a manifest of ours");
	if (head.version != RRC_FORMAT_VERSION)
		return rrc_fail(err, EPROTO,
				"manifest has format version %u, this release reads %u",
				head.version, RRC_FORMAT_VERSION);
	if (head.length != len - sizeof(head) ||
	    head.sum != XXH3_64bits(buf + sizeof(head), len - sizeof(head)))
		return rrc_fail(err, EBADMSG, "manifest is damaged: its checksum does not match");
	if (at == len)
		return rrc_fail(err, EBADMSG, "manifest is empty");
	while (at < len) {
		struct rrc_section s;
		size_t whole;
		int ret;

		if (len - at < sizeof(s))
			return rrc_fail(err, EBADMSG, "manifest is cut off");
		memcpy(&s, buf + at, sizeof(s));
		whole = RRC_ALIGN8(sizeof(s) + (size_t)s.length + 1);
		if (whole > len - at || buf[at + sizeof(s) + s.length])
			return rrc_fail(err, EBADMSG, "manifest is cut off");
		ret = check_section(&s, buf + at + sizeof(s), at, err);
		if (ret)
			return ret;
		at += whole;
	}
	return 0;
}

struct rrc_manifest *rrc_manifest_load(const void *buf, size_t len, struct rrc_error *err)
{
	struct rrc_manifest *m;

	if (check(buf, len, err))
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m || !reserve(m, len)) {
		rrc_manifest_free(m);
		rrc_fail(err, ENOMEM, "no memory for a manifest");
		return NULL;
	}
	memcpy(m->buf, buf, len);
	return m;
}

const struct rrc_manifest_info *rrc_manifest_info(const struct rrc_manifest *m)
{
	return (const void *)(m->buf + sizeof(struct rrc_manifest_head) +
			      sizeof(struct rrc_section));
}

const void *rrc_manifest_next(const struct rrc_manifest *m, enum rrc_section_type type,
			      size_t *iter, size_t *len)
{
	if (*iter == 0)
		*iter = sizeof(struct rrc_manifest_head);
	while (*iter < m->len) {
		const struct rrc_section *s = (const void *)(m->buf + *iter);

		*iter += RRC_ALIGN8(sizeof(*s) + (size_t)s->length + 1);
		if (s->type == (uint32_t)type) {
			*len = s->length;
			return s + 1;
		}
	}
	return NULL;
}

const char *rrc_manifest_text(const struct rrc_manifest *m, enum rrc_section_type type)
{
	size_t iter = 0, len;
	const char *text = rrc_manifest_next(m, type, &iter, &len);

	return text ? text : "";
}

/* Size and checksum of one file. */
static int sum_file(int dir, const char *name, struct rrc_manifest_file *f, struct rrc_error *err)
{
	rrc_autoclose int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st))
		return rrc_fail(err, errno, "%s: %s", name, strerror(errno));
	f->size = (uint64_t)st.st_size;
	f->sum = XXH3_64bits(NULL, 0);
	if (!st.st_size)
		return 0;
	map = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return rrc_fail(err, errno, "%s: %s", name, strerror(errno));
	f->sum = XXH3_64bits(map, f->size);
	munmap(map, f->size);
	return 0;
}

static int add_below(struct rrc_manifest *m, int root, const char *prefix, struct rrc_error *err)
{
	int fd = openat(root, prefix[0] ? prefix : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int ret = 0;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return rrc_fail(err, errno, "%s: %s", prefix, strerror(errno));
	}
	while (!ret && (e = readdir(d))) {
		char name[RRC_NAME_MAX + 1];
		struct rrc_manifest_file f;
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    (!prefix[0] && !strcmp(e->d_name, RRC_MANIFEST_NAME)))
			continue;
		if (snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] ? "/" : "",
			     e->d_name) >= (int)sizeof(name)) {
			ret = rrc_fail(err, ENAMETOOLONG, "%s/%s: name too long", prefix,
				       e->d_name);
		} else if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW)) {
			ret = rrc_fail(err, errno, "%s: %s", name, strerror(errno));
		} else if (S_ISDIR(st.st_mode)) {
			ret = add_below(m, root, name, err);
		} else if (S_ISREG(st.st_mode)) {
			ret = sum_file(root, name, &f, err);
			if (!ret && rrc_manifest_add(m, RRC_SECTION_FILE, &f, sizeof(f), name,
						     strlen(name)))
				ret = rrc_fail(err, ENOMEM, "no memory for a manifest");
		}
	}
	closedir(d);
	return ret;
}

int rrc_manifest_add_files(struct rrc_manifest *m, const char *dir, struct rrc_error *err)
{
	rrc_autoclose int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (root < 0)
		return rrc_fail(err, errno, "%s: %s", dir, strerror(errno));
	ret = add_below(m, root, "", err);
	return ret ? rrc_wrap(err, "checkpoint %s", dir) : 0;
}

int rrc_manifest_verify_dir(const struct rrc_manifest *m, const char *dir, struct rrc_error *err)
{
	rrc_autoclose int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct rrc_manifest_file *want;
	size_t iter = 0, len;
	int ret;

	if (root < 0)
		return rrc_fail(err, errno, "%s: %s", dir, strerror(errno));
	while ((want = rrc_manifest_next(m, RRC_SECTION_FILE, &iter, &len))) {
		const char *name = (const char *)(want + 1);
		struct rrc_manifest_file have;

		ret = sum_file(root, name, &have, err);
		if (ret)
			return rrc_wrap(err, "checkpoint %s", dir);
		if (have.size != want->size || have.sum != want->sum)
			return rrc_fail(err, EBADMSG, "%s/%s is damaged: its %s does not match",
					dir, name, have.size != want->size ? "size" : "checksum");
	}
	return 0;
}

int rrc_manifest_save_dir(struct rrc_manifest *m, const char *dir, struct rrc_error *err)
{
	char tmp[4200], path[4200];
	rrc_autoclose int fd = -1;
	const uint8_t *bytes;
	size_t len, done = 0;

	snprintf(tmp, sizeof(tmp), "%s/.%s", dir, RRC_MANIFEST_NAME);
	snprintf(path, sizeof(path), "%s/%s", dir, RRC_MANIFEST_NAME);
	bytes = rrc_manifest_bytes(m, &len);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return rrc_fail(err, errno, "%s: %s", tmp, strerror(errno));
	while (done < len) {
		ssize_t n = write(fd, bytes + done, len - done);

		if (n < 0)
			return rrc_fail(err, errno, "%s: %s", tmp, strerror(errno));
		done += (size_t)n;
	}
	/* Rule 3: the manifest makes the checkpoint exist, so it appears whole and last. */
	if (rename(tmp, path))
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

struct rrc_manifest *rrc_manifest_load_dir(const char *dir, struct rrc_error *err)
{
	char path[4200];
	rrc_autoclose int fd = -1;
	struct rrc_manifest *m;
	struct stat st;
	void *map;

	snprintf(path, sizeof(path), "%s/%s", dir, RRC_MANIFEST_NAME);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		rrc_fail(err, errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (st.st_size < (off_t)sizeof(struct rrc_manifest_head) || st.st_size > RRC_MANIFEST_MAX) {
		rrc_fail(err, EBADMSG, "%s is cut off or too long", path);
		return NULL;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED) {
		rrc_fail(err, errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	m = rrc_manifest_load(map, (size_t)st.st_size, err);
	munmap(map, (size_t)st.st_size);
	if (!m)
		rrc_wrap(err, "%s", path);
	return m;
}
