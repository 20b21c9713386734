/* SPDX-License-Identifier: MIT */
/* Guest: inotify. */
#include <sys/inotify.h>

#include "guest.h"

static void show(int fd)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n = ok(read(fd, buf, sizeof(buf)));
	char *p;

	for (p = buf; p < buf + n;) {
		struct inotify_event *e = (void *)p;

		say("watch %d mask %x cookie %d name %s\n", e->wd, e->mask, e->cookie != 0,
		    e->len ? e->name : "-");
		p += sizeof(*e) + e->len;
	}
}

int main(void)
{
	char c;
	int n, w, fd;

	guest_begin();
	ok(mkdir("watched", 0700));
	n = ok(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	w = ok(inotify_add_watch(n, "watched",
				 IN_CREATE | IN_MOVE | IN_DELETE | IN_CLOSE_WRITE | IN_MODIFY));
	say("watch %d, nothing %zd %d\n", w, read(n, &c, 1), errno);
	fd = ok(open("watched/a", O_CREAT | O_WRONLY, 0600));
	show(n);
	ok(write(fd, "x", 1));
	ok(close(fd));
	show(n);
	ok(rename("watched/a", "watched/b"));
	show(n);
	ok(unlink("watched/b"));
	show(n);
	ok(inotify_rm_watch(n, w));
	show(n);
	ok(rmdir("watched"));
	return 0;
}
