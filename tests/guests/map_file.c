/* SPDX-License-Identifier: MIT */
/* Guest: mapped files: private and shared, msync, past the end. */
#include <sys/mman.h>

#include "guest.h"

int main(void)
{
	char buf[10000], *p, *s;
	int fd;

	guest_begin();
	fd = ok(open("m.bin", O_RDWR | O_CREAT | O_TRUNC, 0600));
	guest_fill(buf, sizeof(buf), 2);
	guest_write(fd, buf, sizeof(buf));
	p = ok(mmap(NULL, sizeof(buf), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	s = ok(mmap(NULL, sizeof(buf), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	say("private %08x shared %08x tail %d\n", guest_sum(p, sizeof(buf)),
	    guest_sum(s, sizeof(buf)), p[11000]);
	memset(p, 'p', 100);
	memset(s + 5000, 's', 100);
	ok(msync(s, sizeof(buf), MS_SYNC));
	ok(pread(fd, buf, sizeof(buf), 0));
	say("file %08x\n", guest_sum(buf, sizeof(buf)));
	ok(pwrite(fd, "WWWW", 4, 8000));
	say("seen %.4s %.4s\n", s + 8000, p + 8000);
	ok(munmap(p, sizeof(buf)));
	ok(close(fd));
	s[0] = '!';
	ok(munmap(s, sizeof(buf)));
	fd = ok(open("m.bin", O_RDONLY));
	say("read %zd first %c\n", ok(read(fd, buf, 100)), buf[0]);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say("not allowed %d %d\n", p == MAP_FAILED, errno);
	ok(unlink("m.bin"));
	return 0;
}
