/* SPDX-License-Identifier: MIT */
/* Guest: flock and open file description locks between processes. */
#include <sys/file.h>

#include "guest.h"

int main(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };
	int fd, other, p[2], q[2];
	pid_t pid;
	char c;

	guest_begin();
	fd = ok(open("lock", O_CREAT | O_RDWR, 0600));
	other = ok(open("lock", O_RDWR));
	ok(flock(fd, LOCK_EX));
	say("held %d %d\n", flock(other, LOCK_SH | LOCK_NB), errno);
	ok(flock(fd, LOCK_UN));
	say("free %d\n", flock(other, LOCK_SH | LOCK_NB));
	ok(flock(other, LOCK_UN));
	ok(fcntl(fd, F_OFD_SETLK, &l));
	say("held %d %d\n", fcntl(other, F_OFD_SETLK, &l), errno);
	ok(pipe(p));
	ok(pipe(q));
	pid = ok(fork());
	if (!pid) {
		other = ok(open("lock", O_RDWR));
		guest_write(p[1], "w", 1);
		ok(flock(other, LOCK_EX));
		guest_write(q[1], "h", 1);
		_exit(2);
	}
	guest_read(p[0], &c, 1);
	guest_read(q[0], &c, 1);
	say("child holds %c\n", c);
	guest_reap(pid, "child");
	ok(unlink("lock"));
	return 0;
}
