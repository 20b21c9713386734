// SPDX-License-Identifier: MIT
/* The backup's layer of files: changes of one checkpoint over those of the last. */
#include <errno.h>

#include "help.h"
#include "root.h"

Test(root, changes_go_over_what_is_there)
{
	struct rrc_error err = { 0 };
	char *dir = help_dir();
	const char *layer = help_path("%s/layer", dir);

	/* new: d/f and l as they are below; gone: d/old. There already: other files in d, l as a directory */
	help_sh(dir,
		"mkdir -p ckpt src/d layer/d layer/l && echo new >src/d/f && ln -s d/f src/l &&"
		" chmod 750 src/d && echo keep >layer/d/keep && echo old >layer/d/f && ln layer/d/f layer/hard &&"
		" echo old >layer/d/old && printf 'd/old\\0' >ckpt/fs.deleted &&"
		" tar -C src -cf ckpt/fs.tar --no-recursion d d/f l");
	cr_assert_eq(rrc_root_apply(help_path("%s/ckpt", dir), layer, &err), 0, "%s", err.msg);
	help_sh(layer,
		"test \"$(cat d/f d/keep hard l)\" = \"$(printf 'new\\nkeep\\nold\\nnew')\" &&"
		" test ! -e d/old && test \"$(stat -c %a d)\" = 750");
	rrc_root_remove(dir);
	cr_assert(access(dir, F_OK));
	free(dir);
}

/* The names come from outside: none leads out of the layer, not through a link in it either. */
Test(root, deletes_nothing_outside)
{
	static const char *const out[] = { "../out/f", "/out/f", "link/f", "d/link/f",
					   "d/../../out/f" };
	struct rrc_error err = { 0 };
	char *dir = help_dir();

	help_sh(dir, "mkdir -p ckpt layer/d out && echo >out/f && ln -s ../out layer/link &&"
		     " ln -s ../../out layer/d/link");
	for (size_t i = 0; i < sizeof(out) / sizeof(*out); i++) {
		help_write(help_path("%s/ckpt/fs.deleted", dir), out[i], strlen(out[i]) + 1);
		rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err);
		cr_assert_eq(access(help_path("%s/out/f", dir), F_OK), 0, "%s", out[i]);
	}
	/* Not what a link stands for inside of it either: that has a name of its own. */
	help_sh(dir, "mkdir layer/e && echo >layer/e/f && ln -s e layer/in");
	help_write(help_path("%s/ckpt/fs.deleted", dir), "in/f", 5);
	cr_assert_eq(rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err),
		     0);
	cr_assert_eq(access(help_path("%s/layer/e/f", dir), F_OK), 0);
	/* A link itself goes, what it leads to does not; what is gone already is no error. */
	help_write(help_path("%s/ckpt/fs.deleted", dir), "link\0d\0d/link\0nowhere/f", 24);
	cr_assert_eq(rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err), 0,
		     "%s", err.msg);
	help_sh(dir, "test -e out/f && test ! -L layer/link && test ! -e layer/d");
	/* The last name is cut off. */
	help_write(help_path("%s/ckpt/fs.deleted", dir), "a\0b", 3);
	cr_assert_eq(rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err),
		     -EBADMSG);
	help_remove(dir);
	free(dir);
}

Test(root, unpacks_nothing_outside)
{
	struct rrc_error err = { 0 };
	char *dir = help_dir();

	/* A link that leads out, and then a file through it. */
	help_sh(dir, "mkdir -p ckpt layer out a b/l && ln -s ../out a/l && echo x >b/l/f &&"
		     " tar -C a -cf ckpt/fs.tar l && tar -C b -rf ckpt/fs.tar l/f");
	rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err);
	cr_assert(access(help_path("%s/out/f", dir), F_OK));
	help_sh(dir,
		"rm -r layer && echo x >f && tar -P -cf ckpt/fs.tar $PWD/f ../${PWD##*/}/f && rm f");
	rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err);
	cr_assert(access(help_path("%s/f", dir), F_OK));
	help_remove(dir);
	free(dir);
}

Test(root, a_damaged_archive_is_an_error)
{
	struct rrc_error err = { 0 };
	char *dir = help_dir();

	help_sh(dir,
		"mkdir -p ckpt src && head -c 20000 /dev/urandom >src/f && tar -C src -cf ckpt/fs.tar f &&"
		" truncate -s 15000 ckpt/fs.tar");
	cr_assert_lt(rrc_root_apply(help_path("%s/ckpt", dir), help_path("%s/layer", dir), &err),
		     0);
	cr_assert(strstr(err.msg, "fs.tar"), "%s", err.msg);
	help_remove(dir);
	free(dir);
}

Test(root, knows_what_is_mounted_below)
{
	char *dir = help_dir();

	cr_assert_eq(rrc_root_in_use(dir), 0);
	cr_assert_eq(rrc_root_in_use("/dev"), 1); /* /dev/pts at least */
	cr_assert_eq(rrc_root_in_use("/proc/self/fd"), 0);
	cr_assert_eq(rmdir(dir), 0);
	cr_assert_eq(rrc_root_in_use(dir), 0); /* not there at all */
	free(dir);
}
