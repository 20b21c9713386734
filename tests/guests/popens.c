/* SPDX-License-Identifier: MIT */
/* Guest: popen in both directions. */
#include "guest.h"

int main(void)
{
	char line[128];
	FILE *f;
	int st;

	guest_begin();
	f = popen("echo one; echo two | tr a-z A-Z; exit 6", "r");
	must(f);
	while (fgets(line, sizeof(line), f))
		say("line %s", line);
	st = pclose(f);
	say("closed %d\n", WEXITSTATUS(st));
	fflush(stdout);
	f = popen("sort -r", "w");
	must(f);
	fprintf(f, "a\nc\nb\n");
	st = pclose(f);
	say("closed %d\n", WEXITSTATUS(st));
	return 0;
}
