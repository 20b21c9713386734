/* SPDX-License-Identifier: MIT */
/* Guest: 8 MB through a pipe, and one large read and write of a file. */
#include "guest.h"

#define SIZE (8 << 20)

int main(void)
{
	uint8_t *buf = malloc(SIZE);
	int p[2], fd, reads = 0;
	size_t have = 0;
	pid_t pid;

	guest_begin();
	must(buf);
	ok(pipe(p));
	pid = ok(fork());
	if (!pid) {
		close(p[0]);
		guest_fill(buf, SIZE, 11);
		guest_write(p[1], buf, SIZE);
		_exit(0);
	}
	close(p[1]);
	while (have < SIZE) {
		ssize_t n = ok(read(p[0], buf + have, SIZE - have));

		if (!n)
			break;
		have += (size_t)n;
		reads++;
	}
	say("%zu bytes %08x in <%d> reads\n", have, guest_sum(buf, have), reads);
	guest_reap(pid, "writer");
	fd = ok(open("big", O_CREAT | O_RDWR | O_TRUNC, 0600));
	say("written %zd\n", ok(write(fd, buf, SIZE)));
	memset(buf, 0, SIZE);
	say("read %zd %08x\n", ok(pread(fd, buf, SIZE, 0)), guest_sum(buf, SIZE));
	ok(unlink("big"));
	return 0;
}
