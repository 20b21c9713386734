/* SPDX-License-Identifier: MIT */
/* Guest: stdio: a temporary file, getline, seeks, formats. */
#include "guest.h"

int main(void)
{
	char *line = NULL, buf[64];
	size_t cap = 0;
	FILE *f;
	int i, n;

	guest_begin();
	f = fopen("text", "w+");
	must(f);
	for (i = 0; i < 2000; i++)
		fprintf(f, "line %d of many\n", i);
	say("at %ld\n", ftell(f));
	rewind(f);
	for (n = 0; getline(&line, &cap, f) > 0; n++)
		if (n % 700 == 0)
			say("%s", line);
	say("%d lines, end %d\n", n, feof(f) != 0);
	must(fseek(f, -20, SEEK_END) == 0);
	say("tail %zu\n", fread(buf, 1, sizeof(buf), f));
	fclose(f);
	f = fopen("text", "a");
	must(f);
	fputs("appended\n", f);
	fclose(f);
	f = fopen("text", "r");
	must(f);
	setvbuf(f, NULL, _IONBF, 0);
	say("unbuffered %c%c\n", getc(f), getc(f));
	fclose(f);
	f = tmpfile();
	must(f);
	fprintf(f, "%08.3f|%-6s|%x", 3.14159, "ab", 255);
	rewind(f);
	must(fgets(buf, sizeof(buf), f));
	say("%s\n", buf);
	fclose(f);
	free(line);
	ok(unlink("text"));
	return 0;
}
