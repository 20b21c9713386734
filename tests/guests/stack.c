/* SPDX-License-Identifier: MIT */
/* Guest: a deep recursion that grows the stack; a large array on it. */
#include <alloca.h>

#include "guest.h"

static unsigned int down(unsigned int n)
{
	volatile char frame[512];

	memset((char *)frame, (int)n, sizeof(frame));
	return n ? down(n - 1) + (unsigned int)frame[511] : 1;
}

static unsigned int wide(size_t size)
{
	char *p = alloca(size);

	guest_fill(p, size, 4);
	return guest_sum(p, size);
}

int main(void)
{
	guest_begin();
	say("deep %u\n", down(6000));
	say("wide %08x\n", wide(3 << 20));
	say("deep %u\n", down(10));
	return 0;
}
