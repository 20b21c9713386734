/* SPDX-License-Identifier: MIT */
/* Guest: directories made, listed in the kernel's order, removed. */
#include <dirent.h>

#include "guest.h"

int main(void)
{
	char name[32];
	struct dirent *d;
	int i, fd, n = 0;
	DIR *dir;

	guest_begin();
	ok(mkdir("d", 0755));
	say("again: %d %d\n", mkdir("d", 0755), errno);
	ok(mkdir("d/sub", 0700));
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/file-%03d", i);
		fd = ok(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600));
		ok(close(fd));
	}
	dir = opendir("d");
	must(dir);
	while ((d = readdir(dir))) {
		if (n < 20)
			say("entry <%s %lu %d>\n", d->d_name, (unsigned long)d->d_ino, d->d_type);
		n++;
	}
	say("%d entries\n", n);
	rewinddir(dir);
	say("first again <%s>\n", readdir(dir)->d_name);
	closedir(dir);
	say("not empty: %d %d\n", rmdir("d"), errno);
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/file-%03d", i);
		ok(unlink(name));
	}
	ok(rmdir("d/sub"));
	ok(rmdir("d"));
	say("gone: %p %d\n", (void *)opendir("d"), errno);
	return 0;
}
