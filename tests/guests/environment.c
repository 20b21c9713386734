/* SPDX-License-Identifier: MIT */
/* Guest: environment, auxiliary vector, /proc/self. */
#include <dirent.h>
#include <sys/auxv.h>

#include "guest.h"

extern char **environ;

static void show(const char *path, const char *until)
{
	char line[512];
	FILE *f = fopen(path, "r");
	int n = 0;

	must(f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (n++ < 8)
			say("%s <%s>\n", until, line);
	}
	say("%s <%d lines>\n", until, n);
	fclose(f);
}

int main(int argc, char **argv)
{
	char buf[4096];
	ssize_t n;
	int i;

	guest_begin();
	for (i = 0; environ[i]; i++)
		;
	say("%d arguments, name <%s>, variables <%d>, PATH <%s>\n", argc, argv[0], i,
	    getenv("PATH"));
	ok(setenv("GUEST", "value", 1));
	say("set %s\n", getenv("GUEST"));
	say("page %lu user %lu random %d\n", getauxval(AT_PAGESZ), getauxval(AT_UID),
	    getauxval(AT_RANDOM) != 0);
	show("/proc/self/status", "status");
	show("/proc/self/maps", "maps");
	show("/proc/self/stat", "stat");
	show("/proc/meminfo", "meminfo");
	show("/proc/loadavg", "loadavg");
	n = ok(readlink("/proc/self/exe", buf, sizeof(buf) - 1));
	buf[n] = 0;
	say("exe <%s>\n", buf);
	n = ok(readlink("/proc/self/fd/1", buf, sizeof(buf) - 1));
	buf[n] = 0;
	say("output <%s>\n", buf);
	say("no such %p %d\n", (void *)fopen("/proc/self/nothing", "r"), errno);
	return 0;
}
