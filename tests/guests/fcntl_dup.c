/* SPDX-License-Identifier: MIT */
/* Guest: descriptors: dup, dup2, dup3, flags, record locks, pipe size. */
#include "guest.h"

int main(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5 };
	int fd, p[2];
	pid_t pid;

	guest_begin();
	fd = ok(open("f.txt", O_RDWR | O_CREAT | O_TRUNC, 0600));
	say("descriptor %d\n", fd);
	say("dup %d dup2 %d dup3 %d F_DUPFD %d\n", ok(dup(fd)), ok(dup2(fd, 40)),
	    ok(dup3(fd, 41, O_CLOEXEC)), ok(fcntl(fd, F_DUPFD_CLOEXEC, 50)));
	say("flags %d %d\n", ok(fcntl(40, F_GETFD)), ok(fcntl(41, F_GETFD)));
	ok(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
	say("status %x shared %x\n", ok(fcntl(fd, F_GETFL)), ok(fcntl(40, F_GETFL)));
	ok(write(fd, "abc", 3));
	ok(write(41, "def", 3));
	say("one offset %ld\n", (long)ok(lseek(40, 0, SEEK_CUR)));
	ok(fcntl(fd, F_SETLK, &lock));
	pid = ok(fork());
	if (!pid) {
		struct flock ask = lock;

		ok(fcntl(fd, F_GETLK, &ask));
		say("child: locked by its parent %d, type %d, at %ld\n", ask.l_pid == getppid(),
		    ask.l_type, (long)ask.l_start);
		say("child: set %d %d\n", fcntl(fd, F_SETLK, &lock), errno);
		_exit(4);
	}
	guest_reap(pid, "child");
	ok(pipe(p));
	say("pipe %d %d size %d\n", p[0], p[1], ok(fcntl(p[0], F_GETPIPE_SZ)));
	say("close twice %d %d\n", close(p[0]), close(p[0]));
	say("closed range %d: %d\n", close_range(40, 60, 0), fcntl(41, F_GETFD));
	ok(unlink("f.txt"));
	return 0;
}
