/* SPDX-License-Identifier: MIT */
/* Guest: sendfile from a file into a socket, a pipe and a file. */
#include <netinet/in.h>
#include <sys/sendfile.h>

#include "guest.h"

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	char buf[20000];
	off_t off = 1000;
	int f, l, c, s, p[2], o;

	guest_begin();
	f = ok(open("src", O_RDWR | O_CREAT | O_TRUNC, 0600));
	guest_fill(buf, sizeof(buf), 3);
	guest_write(f, buf, sizeof(buf));
	l = ok(socket(AF_INET, SOCK_STREAM, 0));
	ok(bind(l, (void *)&a, sizeof(a)));
	ok(listen(l, 1));
	ok(getsockname(l, (void *)&a, &len));
	c = ok(socket(AF_INET, SOCK_STREAM, 0));
	ok(connect(c, (void *)&a, sizeof(a)));
	s = ok(accept(l, NULL, NULL));
	say("to a socket %zd, offset now %ld\n", ok(sendfile(s, f, &off, 9000)), (long)off);
	say("received %zu %08x\n", guest_read(c, buf, 9000), guest_sum(buf, 9000));
	ok(pipe(p));
	ok(lseek(f, 100, SEEK_SET));
	say("to a pipe %zd, file at %ld\n", ok(sendfile(p[1], f, NULL, 5000)),
	    (long)ok(lseek(f, 0, SEEK_CUR)));
	say("read %zu %08x\n", guest_read(p[0], buf, 5000), guest_sum(buf, 5000));
	o = ok(open("dst", O_RDWR | O_CREAT | O_TRUNC, 0600));
	ok(lseek(f, 19000, SEEK_SET));
	say("to a file %zd of 5000 asked\n", ok(sendfile(o, f, NULL, 5000)));
	say("read %zd %08x\n", ok(pread(o, buf, sizeof(buf), 0)), guest_sum(buf, 1000));
	ok(unlink("src"));
	ok(unlink("dst"));
	return 0;
}
