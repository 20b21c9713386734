/* SPDX-License-Identifier: MIT */
/* Guest: umask, chmod, chown, times. */
#include <sys/time.h>

#include "guest.h"

static void show(const char *what)
{
	struct stat st;

	ok(stat("p", &st));
	say("%s: %o user %u group %u\n", what, st.st_mode & 07777, st.st_uid, st.st_gid);
}

int main(void)
{
	struct timespec ts[2] = { { 1000, 5 }, { 2000, 7 } };
	struct timeval tv[2] = { { 3000, 1 }, { 4000, 2 } };
	struct stat st;
	int fd;

	guest_begin();
	umask(027);
	say("mask %o\n", umask(022));
	fd = ok(open("p", O_CREAT | O_RDWR | O_TRUNC, 0666));
	show("made");
	ok(chmod("p", 0600));
	show("chmod");
	ok(fchmod(fd, 04755));
	show("fchmod");
	ok(fchmodat(AT_FDCWD, "p", 0640, 0));
	show("fchmodat");
	ok(fchown(fd, (uid_t)-1, getgid()));
	ok(chown("p", getuid(), (gid_t)-1));
	ok(lchown("p", getuid(), getgid()));
	ok(futimens(fd, ts));
	ok(stat("p", &st));
	say("times %ld.%ld %ld.%ld\n", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
	    (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	ok(utimes("p", tv));
	ok(stat("p", &st));
	say("times %ld %ld changed <%ld>\n", (long)st.st_atim.tv_sec, (long)st.st_mtim.tv_sec,
	    (long)st.st_ctim.tv_sec);
	ts[1].tv_nsec = UTIME_NOW;
	ts[0].tv_nsec = UTIME_OMIT;
	ok(utimensat(AT_FDCWD, "p", ts, 0));
	ok(stat("p", &st));
	say("kept %ld now <%ld>\n", (long)st.st_atim.tv_sec, (long)st.st_mtim.tv_sec);
	ok(unlink("p"));
	return 0;
}
