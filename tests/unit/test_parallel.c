// SPDX-License-Identifier: MIT
/* Many things at once: each is done, and once. */
#include <criterion/criterion.h>
#include <string.h>

#include "parallel.h"

#define N 5003

static void count(void *ctx, uint32_t i)
{
	uint32_t *done = ctx;

	__atomic_fetch_add(&done[i], 1, __ATOMIC_RELAXED);
}

Test(parallel, each_once)
{
	static const uint32_t sizes[] = { 0, 1, 15, 16, 17, 255, 256, 257, N };
	static uint32_t done[N + 1];

	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		memset(done, 0, sizeof(done));
		rrc_parallel(sizes[s], count, done);
		for (uint32_t i = 0; i <= N; i++)
			cr_assert_eq(done[i], i < sizes[s], "%u of %u", i, sizes[s]);
	}
}
