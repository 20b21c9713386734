/* SPDX-License-Identifier: MIT */
/* A container's directory below /run, see rundir.h. */
#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rundir.h"

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void rrc_rundir_drop(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

int rrc_rundir_make(char *path, size_t size, const char *name, struct rrc_error *err)
{
	snprintf(path, size, "%s/%s", RRC_RUN_DIR, name);
	if ((mkdir(RRC_RUN_DIR, 0755) && errno != EEXIST) || (mkdir(path, 0700) && errno != EEXIST))
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

static void drop_all(const char *path, const char *pattern)
{
	char full[PATH_MAX];
	glob_t g = { 0 };

	if (snprintf(full, sizeof(full), "%s/%s", path, pattern) >= (int)sizeof(full))
		return;
	if (!glob(full, GLOB_NOSORT, NULL, &g))
		for (size_t i = 0; i < g.gl_pathc; i++)
			rrc_rundir_drop(g.gl_pathv[i]);
	globfree(&g);
}

void rrc_rundir_clear(const char *path)
{
	drop_all(path, "ckpt-*");
	drop_all(path, "criu-*");
}

void rrc_rundir_end(const char *path, int failed)
{
	rrc_rundir_clear(path);
	if (!failed)
		drop_all(path, "*.log");
	rmdir(path);
}
