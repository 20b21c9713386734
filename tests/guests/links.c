/* SPDX-License-Identifier: MIT */
/* Guest: link, symlink, readlink, rename and renameat2. */
#include "guest.h"

int main(void)
{
	char buf[64] = "";
	struct stat st;
	int fd;

	guest_begin();
	fd = ok(open("a", O_RDWR | O_CREAT | O_TRUNC, 0600));
	ok(write(fd, "a", 1));
	ok(link("a", "b"));
	ok(stat("b", &st));
	say("links %lu\n", (unsigned long)st.st_nlink);
	ok(symlink("where/ever", "c"));
	say("readlink %zd %s\n", ok(readlink("c", buf, sizeof(buf))), buf);
	memset(buf, 0, sizeof(buf));
	say("cut readlink %zd %s\n", ok(readlink("c", buf, 5)), buf);
	ok(rename("a", "d"));
	say("old name %d %d\n", access("a", F_OK), errno);
	say("no replace %d %d\n", renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_NOREPLACE), errno);
	ok(renameat2(AT_FDCWD, "c", AT_FDCWD, "d", RENAME_EXCHANGE));
	memset(buf, 0, sizeof(buf));
	say("exchanged %zd %s\n", ok(readlink("d", buf, sizeof(buf))), buf);
	ok(linkat(AT_FDCWD, "c", AT_FDCWD, "e", 0));
	ok(fstat(fd, &st));
	say("links %lu\n", (unsigned long)st.st_nlink);
	say("loop %d", symlink("loop", "loop"));
	say(" %d %d\n", open("loop", O_RDONLY), errno);
	ok(unlink("loop"));
	ok(unlink("b"));
	ok(unlink("c"));
	ok(unlink("d"));
	ok(unlink("e"));
	ok(fstat(fd, &st));
	say("links %lu, still readable %zd\n", (unsigned long)st.st_nlink,
	    ok(pread(fd, buf, 9, 0)));
	return 0;
}
