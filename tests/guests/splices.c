/* SPDX-License-Identifier: MIT */
/* Guest: splice between file, pipe and socket; tee. */
#include "guest.h"

int main(void)
{
	int f, o, p[2], q[2], s[2];
	char buf[8192];
	off_t off = 500;

	guest_begin();
	f = ok(open("in", O_RDWR | O_CREAT | O_TRUNC, 0600));
	o = ok(open("out", O_RDWR | O_CREAT | O_TRUNC, 0600));
	guest_fill(buf, sizeof(buf), 9);
	guest_write(f, buf, sizeof(buf));
	ok(pipe(p));
	ok(pipe(q));
	ok(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	say("file to pipe %zd, offset %ld\n", ok(splice(f, &off, p[1], NULL, 3000, 0)), (long)off);
	say("tee %zd\n", ok(tee(p[0], q[1], 3000, 0)));
	say("pipe to file %zd\n", ok(splice(p[0], NULL, o, NULL, 3000, SPLICE_F_MOVE)));
	say("written %zd %08x\n", ok(pread(o, buf, sizeof(buf), 0)), guest_sum(buf, 3000));
	memset(buf, 0, sizeof(buf));
	say("teed %zu %08x\n", guest_read(q[0], buf, 1000), guest_sum(buf, 1000));
	say("pipe to socket %zd\n", ok(splice(q[0], NULL, s[0], NULL, 2000, 0)));
	say("from socket %zu %08x\n", guest_read(s[1], buf, 2000), guest_sum(buf, 2000));
	say("empty %zd %d\n", splice(p[0], NULL, o, NULL, 10, SPLICE_F_NONBLOCK), errno);
	ok(unlink("in"));
	ok(unlink("out"));
	return 0;
}
