/* SPDX-License-Identifier: MIT */
/* Guest: chdir, fchdir, getcwd, and calls relative to a directory. */
#include "guest.h"

int main(void)
{
	char start[4096], now[4096];
	int dir, fd;

	guest_begin();
	must(getcwd(start, sizeof(start)));
	ok(mkdir("down", 0700));
	dir = ok(open(".", O_RDONLY | O_DIRECTORY));
	ok(chdir("down"));
	must(getcwd(now, sizeof(now)));
	say("went down %s\n", now + strlen(start));
	fd = ok(openat(dir, "down/file", O_CREAT | O_WRONLY, 0600));
	say("here %d\n", access("file", F_OK));
	ok(fchdir(dir));
	must(getcwd(now, sizeof(now)));
	say("back %d\n", !strcmp(start, now));
	say("too small %p %d\n", (void *)getcwd(now, 1), errno);
	ok(mkdirat(dir, "down/deeper", 0700));
	ok(renameat(dir, "down/file", dir, "up"));
	ok(unlinkat(dir, "up", 0));
	ok(unlinkat(dir, "down/deeper", AT_REMOVEDIR));
	ok(chdir("down"));
	ok(rmdir("../down"));
	say("gone %p %d\n", (void *)getcwd(now, sizeof(now)), errno);
	say("nothing made %d %d\n", open("x", O_CREAT | O_WRONLY, 0600), errno);
	ok(close(fd));
	ok(fchdir(dir));
	return 0;
}
