/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: promises that abort, numbers taken from the input, a directory. */
#ifndef FUZZ_H
#define FUZZ_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(int what)
{
	if (!what)
		abort();
}

/* What is left of the input; zeros behind its end. */
struct input {
	const uint8_t *p;
	size_t len;
};

static inline uint32_t take_num(struct input *in, uint32_t below)
{
	uint32_t v = 0;

	for (uint32_t most = below - 1; most; most >>= 8) {
		v = v << 8 | (in->len ? *in->p : 0);
		in->p += in->len > 0;
		in->len -= in->len > 0;
	}
	return v % below;
}

/* Up to n bytes of it; *n becomes how many there are. */
static inline const uint8_t *take_bytes(struct input *in, size_t *n)
{
	const uint8_t *p = in->p;

	*n = *n < in->len ? *n : in->len;
	in->p += *n;
	in->len -= *n;
	return p;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void remove_all(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static inline void write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && close(fd) == 0);
}

/* How many names are in a directory. */
static inline int count_names(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	must(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
