/* SPDX-License-Identifier: MIT */
/* Guest: random bytes: getrandom, /dev/urandom, the kernel's uuid. */
#include <sys/auxv.h>
#include <sys/random.h>

#include "guest.h"

static void show(const char *what, const unsigned char *p, size_t n)
{
	say("%s <", what);
	while (n--)
		say("%02x", *p++);
	say(">\n");
}

int main(void)
{
	unsigned char buf[512];
	uint64_t at_random[2];
	int fd, i;

	guest_begin();
	for (i = 0; i < 3; i++) {
		say("got %zd ", ok(getrandom(buf, 16, 0)));
		show("getrandom", buf, 16);
	}
	ok(getrandom(buf, sizeof(buf), GRND_NONBLOCK));
	say("sum <%08x>\n", guest_sum(buf, sizeof(buf)));
	ok(getentropy(buf, 20));
	show("getentropy", buf, 20);
	fd = ok(open("/dev/urandom", O_RDONLY));
	say("read %zd ", ok(read(fd, buf, 24)));
	show("urandom", buf, 24);
	fd = ok(open("/proc/sys/kernel/random/uuid", O_RDONLY));
	say("read %zd ", ok(read(fd, buf, 37)));
	say("uuid <%.36s>\n", buf);
	memcpy(at_random, (void *)getauxval(AT_RANDOM), sizeof(at_random));
	show("at exec", (void *)at_random, sizeof(at_random));
	fd = ok(open("/dev/zero", O_RDONLY));
	say("zero %zd %d\n", ok(read(fd, buf, 100)), buf[99]);
	return 0;
}
