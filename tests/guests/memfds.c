/* SPDX-License-Identifier: MIT */
/* Guest: memory files: seals, mappings, growth. */
#include <sys/mman.h>

#include "guest.h"

int main(void)
{
	char buf[100], *p;
	int fd;

	guest_begin();
	fd = ok(memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	ok(ftruncate(fd, 8192));
	p = ok(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	strcpy(p + 5000, "through the mapping");
	say("read %zd %s\n", ok(pread(fd, buf, sizeof(buf), 5000)), buf);
	ok(pwrite(fd, "through the file", 17, 100));
	say("mapped %s\n", p + 100);
	ok(munmap(p, 8192));
	ok(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE));
	say("seals %x\n", (unsigned int)ok(fcntl(fd, F_GET_SEALS)));
	say("write %zd %d\n", write(fd, "x", 1), errno);
	say("shrink %d %d\n", ftruncate(fd, 10), errno);
	say("grow %d\n", ftruncate(fd, 20000));
	say("end %ld\n", (long)ok(lseek(fd, 0, SEEK_END)));
	return 0;
}
