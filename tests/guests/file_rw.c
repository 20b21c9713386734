/* SPDX-License-Identifier: MIT */
/* Guest: a file written, read, sought, appended to, truncated. */
#include "guest.h"

int main(void)
{
	char buf[64] = "";
	struct stat st;
	int fd;

	guest_begin();
	fd = ok(open("rw.txt", O_RDWR | O_CREAT | O_EXCL, 0640));
	say("wrote %zd\n", ok(write(fd, "hello, file\n", 12)));
	say("at %ld\n", (long)ok(lseek(fd, 0, SEEK_CUR)));
	say("back to %ld\n", (long)ok(lseek(fd, 7, SEEK_SET)));
	say("read %zd: %s", ok(read(fd, buf, sizeof(buf))), buf);
	say("at the end %zd\n", ok(read(fd, buf, sizeof(buf))));
	ok(close(fd));
	fd = ok(open("rw.txt", O_WRONLY | O_APPEND));
	ok(write(fd, "more\n", 5));
	say("end %ld\n", (long)ok(lseek(fd, 0, SEEK_END)));
	ok(ftruncate(fd, 9));
	ok(fstat(fd, &st));
	say("size %ld mode %o\n", (long)st.st_size, st.st_mode);
	ok(fsync(fd));
	ok(close(fd));
	ok(truncate("rw.txt", 20));
	fd = ok(open("rw.txt", O_RDONLY));
	memset(buf, 'x', sizeof(buf));
	say("read %zd sum %08x\n", ok(read(fd, buf, sizeof(buf))), guest_sum(buf, 20));
	say("a hole at %ld\n", (long)ok(lseek(fd, 0, SEEK_HOLE)));
	ok(close(fd));
	ok(unlink("rw.txt"));
	say("gone: %d %d\n", open("rw.txt", O_RDONLY), errno);
	say("bad descriptor: %zd %d\n", read(77, buf, 1), errno);
	return 0;
}
