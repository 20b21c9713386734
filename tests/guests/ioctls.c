/* SPDX-License-Identifier: MIT */
/* Guest: FIONREAD, FIONBIO, terminal requests on what is no terminal. */
#include <sys/ioctl.h>
#include <termios.h>

#include "guest.h"

int main(void)
{
	struct winsize ws;
	struct termios tio;
	int p[2], s[2], n = -1, on = 1;
	char c;

	guest_begin();
	ok(pipe(p));
	ok(ioctl(p[0], FIONREAD, &n));
	say("pipe holds %d\n", n);
	ok(write(p[1], "abcdef", 6));
	ok(ioctl(p[0], FIONREAD, &n));
	say("pipe holds %d\n", n);
	ok(ioctl(p[0], FIONBIO, &on));
	ok(read(p[0], &c, 1));
	ok(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	ok(write(s[0], "xyz", 3));
	ok(ioctl(s[1], FIONREAD, &n));
	say("socket holds %d\n", n);
	ok(ioctl(s[0], FIONBIO, &on));
	say("nothing there %zd %d\n", read(s[0], &c, 1), errno);
	ok(ioctl(s[0], FIOCLEX));
	say("close on exec %d\n", ok(fcntl(s[0], F_GETFD)));
	say("window size %d %d\n", ioctl(p[0], TIOCGWINSZ, &ws), errno);
	say("tcgetattr %d %d\n", tcgetattr(p[0], &tio), errno);
	say("a terminal %d\n", isatty(0));
	return 0;
}
