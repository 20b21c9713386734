/* SPDX-License-Identifier: MIT */
/* Guest: named pipes between two processes. */
#include "guest.h"

int main(void)
{
	char buf[32] = "";
	struct stat st;
	pid_t pid;
	int fd;

	guest_begin();
	ok(mkfifo("there", 0600));
	ok(mkfifo("back", 0600));
	ok(stat("there", &st));
	say("a fifo %d\n", S_ISFIFO(st.st_mode));
	say("no reader yet %d %d\n", open("there", O_WRONLY | O_NONBLOCK), errno);
	pid = ok(fork());
	if (!pid) {
		int in = ok(open("there", O_RDONLY)), out = ok(open("back", O_WRONLY));
		size_t n = guest_read(in, buf, 4), i;

		for (i = 0; i < n; i++)
			buf[i] = (char)(buf[i] - 32);
		guest_write(out, buf, n);
		_exit(0);
	}
	fd = ok(open("there", O_WRONLY));
	guest_write(fd, "ping", 4);
	fd = ok(open("back", O_RDONLY));
	say("got %zu %s\n", guest_read(fd, buf, sizeof(buf) - 1), buf);
	guest_reap(pid, "other");
	ok(unlink("there"));
	ok(unlink("back"));
	return 0;
}
