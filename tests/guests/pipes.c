/* SPDX-License-Identifier: MIT */
/* Guest: pipes: blocking, non-blocking, the writer's end, the reader's end. */
#include "guest.h"

int main(void)
{
	char buf[70000];
	int p[2], q[2], i;
	ssize_t n;
	pid_t pid;

	guest_begin();
	signal(SIGPIPE, SIG_IGN);
	ok(pipe(p));
	ok(pipe2(q, O_NONBLOCK | O_CLOEXEC));
	say("empty %zd %d\n", read(q[0], buf, 1), errno);
	for (i = 0; (n = write(q[1], buf, 4096)) > 0; i++)
		;
	say("full after %d: %zd %d\n", i, n, errno);
	pid = ok(fork());
	if (!pid) {
		close(p[0]);
		for (i = 0; i < 20; i++)
			guest_write(p[1], "0123456789", 10);
		_exit(0);
	}
	close(p[1]);
	guest_fill(buf, sizeof(buf), 0);
	say("got %zu %08x\n", guest_read(p[0], buf, sizeof(buf)), guest_sum(buf, 200));
	guest_reap(pid, "writer");
	close(q[0]);
	say("broken %zd %d\n", write(q[1], "x", 1), errno);
	return 0;
}
