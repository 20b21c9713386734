// SPDX-License-Identifier: MIT
/* lib/stream.c against an array that knows every byte: puts and drops in an order that a seed gives. */
#include <errno.h>

#include "help.h"
#include "stream.h"
#include "util.h"

#define ALL 400000u

static unsigned int next(unsigned int *seed, unsigned int below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % below;
}

static void same(const struct rrc_stream *s, const uint8_t *model, const char *when)
{
	size_t n = (size_t)(s->end - s->start);

	if (n)
		cr_assert(!memcmp(rrc_stream_at(s, s->start), model + s->start, n), "%s", when);
}

Test(stream, is_what_was_put, .timeout = 30)
{
	uint8_t *model = malloc(ALL), *data = malloc(ALL);

	for (unsigned int round = 0; round < 50; round++) {
		struct rrc_stream s = { 0 };
		unsigned int seed = round;

		memset(model, 0, ALL);
		while (s.end < ALL - 20000) {
			uint64_t off = s.start + next(&seed, (unsigned int)(s.end - s.start) + 300);
			size_t len = next(&seed, round % 2 ? 200 : 9000);
			uint64_t end = s.end;

			for (size_t i = 0; i < len; i++)
				data[i] = model[off + i] = (uint8_t)next(&seed, 256);
			cr_assert_eq(rrc_stream_put(&s, off, data, len), 0);
			cr_assert_eq(s.end, len ? rrc_max(end, off + len) : end);
			same(&s, model, "after a put");
			if (!next(&seed, 3)) {
				off = s.start + next(&seed, (unsigned int)(s.end - s.start) + 2);
				rrc_stream_drop(&s, off);
				cr_assert_eq(s.start, off);
				cr_assert_geq(s.end, off);
				same(&s, model, "after a drop");
			}
		}
		rrc_stream_free(&s);
	}
	free(model);
	free(data);
}

Test(stream, nothing_before_its_start)
{
	struct rrc_stream s = { 0 };

	cr_assert_eq(rrc_stream_put(&s, 0, "abcdef", 6), 0);
	rrc_stream_drop(&s, 3);
	rrc_stream_drop(&s, 1); /* is dropped already */
	cr_assert(s.start == 3 && s.end == 6 && !memcmp(rrc_stream_at(&s, 3), "def", 3));
	cr_assert_eq(rrc_stream_put(&s, 2, "x", 1), -EINVAL);
	cr_assert_eq(rrc_stream_put(&s, UINT64_MAX, "xy", 2), -EINVAL, "wraps");
	cr_assert_eq(rrc_stream_put(&s, UINT64_MAX - 1, "x", 1), -ENOMEM, "nobody has so much");
	cr_assert(s.start == 3 && s.end == 6 && !memcmp(rrc_stream_at(&s, 3), "def", 3));
	rrc_stream_free(&s);
}

/* What an idle connection keeps is bounded. */
Test(stream, an_empty_one_holds_little)
{
	uint8_t *big = calloc(1, 10 << 20);
	struct rrc_stream s = { 0 };

	cr_assert_eq(rrc_stream_put(&s, 0, big, 10 << 20), 0);
	rrc_stream_drop(&s, 10 << 20);
	cr_assert_leq(s.cap, 64u << 10);
	/* A long one that is read as fast as it is written does not grow. */
	for (uint64_t off = s.start; off < 200u << 20; off += 65536) {
		cr_assert_eq(rrc_stream_put(&s, off, big, 65536), 0);
		rrc_stream_drop(&s, off > 100000 ? off - 100000 : 0);
	}
	cr_assert_leq(s.cap, 1u << 20);
	rrc_stream_free(&s);
	free(big);
}
