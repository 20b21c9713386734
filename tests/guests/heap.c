/* SPDX-License-Identifier: MIT */
/* Guest: malloc, free and brk, a lot. */
#include <malloc.h>

#include "guest.h"

#define N 500

int main(void)
{
	void *block[N] = { 0 };
	char *before, *after;
	unsigned int x = 12345, sum = 0;
	int i;

	guest_begin();
	before = sbrk(0);
	for (i = 0; i < 20000; i++) {
		unsigned int k = (x = x * 1103515245u + 12345u) >> 16;
		size_t size = k % 7 ? k % 900 : k * 4u;

		free(block[k % N]);
		block[k % N] = malloc(size + 1);
		must(block[k % N]);
		memset(block[k % N], (int)k, size + 1);
		sum += ((unsigned char *)block[k % N])[size];
	}
	say("sum %u first <%p>\n", sum, block[0]);
	for (i = 0; i < N; i++)
		free(block[i]);
	malloc_trim(0);
	after = sbrk(0);
	say("break <%p> moved <%ld>\n", (void *)before, (long)(after - before));
	say("grown %d\n", sbrk(1 << 20) == after);
	memset(after, 1, 1 << 20);
	say("brk back %d\n", brk(after));
	block[0] = calloc(1000, 1000);
	block[0] = realloc(block[0], 3000000);
	must(block[0]);
	say("zero %d\n", ((char *)block[0])[999999]);
	free(block[0]);
	return 0;
}
