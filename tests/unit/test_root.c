// SPDX-License-Identifier: MIT
/* The backup's layer of files: changes of one checkpoint over those of the last. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "root.h"

static void sh(const char *dir, const char *cmd)
{
	char full[1024];

	snprintf(full, sizeof(full), "cd %s && { %s; }", dir, cmd);
	cr_assert_eq(system(full), 0, "%s", full);
}

Test(root, changes_go_over_what_is_there)
{
	char dir[] = "/tmp/rrc-root-XXXXXX", ckpt[64], layer[64];
	struct rrc_error err = { 0 };

	cr_assert(mkdtemp(dir));
	snprintf(ckpt, sizeof(ckpt), "%s/ckpt", dir);
	snprintf(layer, sizeof(layer), "%s/layer", dir);
	/* new: d/f and l as they are below; gone: d/old. There already: other files in d, l as a directory */
	sh(dir,
	   "mkdir -p ckpt src/d layer/d layer/l && echo new >src/d/f && ln -s d/f src/l &&"
	   " chmod 750 src/d && echo keep >layer/d/keep && echo old >layer/d/f && ln layer/d/f layer/hard &&"
	   " echo old >layer/d/old && printf 'd/old\\0' >ckpt/fs.deleted &&"
	   " tar -C src -cf ckpt/fs.tar --no-recursion d d/f l");
	cr_assert_eq(rrc_root_apply(ckpt, layer, &err), 0, "%s", err.msg);
	sh(layer, "test \"$(cat d/f d/keep hard l)\" = \"$(printf 'new\\nkeep\\nold\\nnew')\" &&"
		  " test ! -e d/old && test \"$(stat -c %a d)\" = 750");
	rrc_root_remove(dir);
	cr_assert(access(dir, F_OK));
}

Test(root, knows_what_is_mounted_below)
{
	char dir[] = "/tmp/rrc-root-XXXXXX";

	cr_assert(mkdtemp(dir));
	cr_assert_eq(rrc_root_in_use(dir), 0);
	cr_assert_eq(rrc_root_in_use("/dev"), 1); /* /dev/pts at least */
	cr_assert_eq(rrc_root_in_use("/proc/self/fd"), 0);
	cr_assert_eq(rmdir(dir), 0);
	cr_assert_eq(rrc_root_in_use(dir), 0); /* not there at all */
}
