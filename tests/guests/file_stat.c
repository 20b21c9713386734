/* SPDX-License-Identifier: MIT */
/* Guest: the stat family. */
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "guest.h"

static void show(const char *what, const struct stat *st)
{
	say("%s: mode %o links %lu size %ld inode <%lu> mtime <%ld.%09ld>\n", what, st->st_mode,
	    (unsigned long)st->st_nlink, (long)st->st_size, (unsigned long)st->st_ino,
	    (long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

int main(void)
{
	struct statx stx;
	struct statfs fs;
	struct stat st;
	int fd, dir;

	guest_begin();
	fd = ok(open("s.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644));
	ok(write(fd, "12345", 5));
	ok(symlink("s.txt", "s.link"));
	ok(stat("s.link", &st));
	show("stat", &st);
	ok(lstat("s.link", &st));
	show("lstat", &st);
	ok(fstat(fd, &st));
	show("fstat", &st);
	dir = ok(open(".", O_RDONLY | O_DIRECTORY));
	ok(fstatat(dir, "s.txt", &st, 0));
	show("fstatat", &st);
	ok(statx(dir, "s.txt", 0, STATX_ALL, &stx));
	say("statx: size %llu inode <%llu> birth <%lld>\n", stx.stx_size, stx.stx_ino,
	    (long long)stx.stx_btime.tv_sec);
	ok(fstat(1, &st));
	say("output is a pipe: %d\n", S_ISFIFO(st.st_mode));
	ok(stat("/dev/null", &st));
	say("null %u:%u\n", major(st.st_rdev), minor(st.st_rdev));
	say("access %d %d\n", access("s.txt", R_OK), access("none", F_OK));
	say("faccessat %d\n", faccessat(dir, "s.txt", W_OK, AT_EACCESS));
	say("none: %d %d\n", stat("none", &st), errno);
	ok(statfs(".", &fs));
	say("statfs: type <%lx> block <%ld> free <%lu>\n", (long)fs.f_type, (long)fs.f_bsize,
	    (unsigned long)fs.f_bfree);
	ok(fstatfs(fd, &fs));
	say("fstatfs: free <%lu>\n", (unsigned long)fs.f_bfree);
	ok(unlink("s.link"));
	ok(unlink("s.txt"));
	return 0;
}
