/* SPDX-License-Identifier: MIT */
/* Guest: pread, pwrite, readv, writev, preadv, pwritev, preadv2. */
#include <sys/uio.h>

#include "guest.h"

int main(void)
{
	char a[5], b[40], c[3];
	struct iovec out[] = { { "one", 3 }, { "", 0 }, { "two", 3 }, { "three", 5 } };
	struct iovec in[] = { { a, sizeof(a) }, { b, sizeof(b) }, { c, sizeof(c) } };
	int fd;

	guest_begin();
	fd = ok(open("v.bin", O_RDWR | O_CREAT | O_TRUNC, 0600));
	say("writev %zd\n", ok(writev(fd, out, 4)));
	say("pwrite %zd\n", ok(pwrite(fd, "PAST", 4, 20)));
	say("pwritev %zd\n", ok(pwritev(fd, out, 2, 30)));
	say("offset %ld\n", (long)ok(lseek(fd, 0, SEEK_CUR)));
	memset(b, '.', sizeof(b));
	say("pread %zd %.8s\n", ok(pread(fd, b, 8, 3)), b);
	ok(lseek(fd, 0, SEEK_SET));
	memset(b, '.', sizeof(b));
	say("readv %zd\n", ok(readv(fd, in, 3)));
	say("%.5s %08x\n", a, guest_sum(b, sizeof(b)));
	memset(b, '.', sizeof(b));
	say("preadv %zd %.5s %.10s\n", ok(preadv(fd, in, 2, 1)), a, b);
	say("preadv2 %zd %.5s\n", ok(preadv2(fd, in, 1, 6, 0)), a);
	say("past the end %zd\n", ok(preadv(fd, in, 3, 100)));
	ok(unlink("v.bin"));
	return 0;
}
