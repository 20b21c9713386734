// SPDX-License-Identifier: MIT
/* Archives of a container's files, see tar.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host.h"
#include "tar.h"

/* The end of what it printed is what matters. */
static int run(const char *const *argv, const char *what, const char *name, struct rrc_error *err)
{
	char said[512];
	int ret = rrc_host_run((char *const *)argv, said, sizeof(said));

	if (!ret)
		return 0;
	if (ret == -ENOENT)
		return rrc_fail_exit(err, RRC_EXIT_HOST, ENOENT,
				     "there is no tar: apt-get install tar");
	if (ret < 0)
		return rrc_fail(err, ret, "cannot start tar: %s", strerror(-ret));
	said[strcspn(said, "\n")] = 0;
	return rrc_fail(err, EIO, "tar could not %s %s: %s", what, name, said);
}

int rrc_tar_make(const char *tar, const char *dir, const char *list, struct rrc_error *err)
{
	const char *const argv[] = {
		"tar",
		"-C",
		dir,
		"-cf",
		tar,
		"--null",
		"--no-recursion",
		"--xattrs",
		"--xattrs-include=*",
		"--sparse",
		"--numeric-owner",
		"--verbatim-files-from",
		"-T",
		list,
		NULL,
	};

	return run(argv, "read the container's files in", dir, err);
}

int rrc_tar_unpack(const char *tar, const char *dir, struct rrc_error *err)
{
	const char *const argv[] = {
		"tar",
		"-C",
		dir,
		"-xpf",
		tar,
		"--xattrs",
		"--xattrs-include=*",
		"--numeric-owner",
		"--same-owner",
		NULL,
	};

	return run(argv, "unpack", tar, err);
}
