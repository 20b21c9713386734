/* SPDX-License-Identifier: MIT */
/* What several unit tests need: a directory of their own, files by one line, logs of few records. */
#ifndef HELP_H
#define HELP_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"

#define HELP_PATH 600

/* "DIR/rest" in one of a few buffers that are used in turn. */
static inline __attribute__((format(printf, 1, 2))) const char *help_path(const char *fmt, ...)
{
	static char bufs[8][HELP_PATH];
	static unsigned int next;
	char *buf = bufs[next++ % 8];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, HELP_PATH, fmt, ap);
	va_end(ap);
	return buf;
}

static inline int help_remove_one(const char *path, const struct stat *st, int type,
				  struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void help_remove(const char *dir)
{
	nftw(dir, help_remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A new directory; free it and remove it with help_remove. */
static inline char *help_dir(void)
{
	char *dir = strdup("/tmp/rrc-unit-XXXXXX");

	cr_assert(dir && mkdtemp(dir));
	return dir;
}

static inline void help_write(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	cr_assert(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, "%s", path);
}

/* The whole file; *len may be NULL. A NUL is behind it. */
static inline char *help_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	char *buf;

	cr_assert(f && fstat(fileno(f), &st) == 0, "%s", path);
	buf = calloc(1, (size_t)st.st_size + 1);
	cr_assert(buf && fread(buf, 1, (size_t)st.st_size, f) == (size_t)st.st_size, "%s", path);
	if (len)
		*len = (size_t)st.st_size;
	fclose(f);
	return buf;
}

/* Does what a shell says, in a directory. */
static inline void help_sh(const char *dir, const char *cmd)
{
	char full[2048];

	cr_assert(snprintf(full, sizeof(full), "cd %s && { %s; }", dir, cmd) < (int)sizeof(full));
	cr_assert_eq(system(full), 0, "%s", full);
}

/* Records one behind the other. */
struct help_log {
	uint8_t bytes[65536] __attribute__((aligned(8)));
	size_t len;
};

static inline struct rrc_rec *help_rec(struct help_log *l, int kind, uint32_t tid)
{
	struct rrc_rec *r = (struct rrc_rec *)(l->bytes + l->len);

	cr_assert(l->len + sizeof(*r) <= sizeof(l->bytes));
	memset(r, 0, sizeof(*r));
	r->size = sizeof(*r);
	r->kind = (uint8_t)kind;
	r->tid = r->pid = tid;
	l->len += sizeof(*r);
	return r;
}

#endif
