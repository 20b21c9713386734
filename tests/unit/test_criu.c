// SPDX-License-Identifier: MIT
/* The image of the time namespace that CRIU restores from: written here, read by its format. */
#include "criu.h"
#include "help.h"

struct reader {
	const uint8_t *p, *end;
};

static uint64_t varint(struct reader *r)
{
	uint64_t v = 0;

	for (int shift = 0; r->p < r->end; shift += 7) {
		v |= (uint64_t)(*r->p & 0x7f) << shift;
		if (!(*r->p++ & 0x80))
			return v;
	}
	cr_assert(0, "a number without an end");
	return 0;
}

/* A field that is a timespec: { uint64 tv_sec = 1; uint64 tv_nsec = 2; }. */
static uint64_t timespec(struct reader *r, unsigned int field)
{
	uint64_t len, sec, nsec;
	struct reader in;

	cr_assert_eq(varint(r), field << 3 | 2);
	len = varint(r);
	cr_assert_leq(len, (uint64_t)(r->end - r->p));
	in = (struct reader){ r->p, r->p + len };
	r->p += len;
	cr_assert_eq(varint(&in), 1 << 3);
	sec = varint(&in);
	cr_assert_eq(varint(&in), 2 << 3);
	nsec = varint(&in);
	cr_assert(in.p == in.end && nsec < 1000000000u);
	return sec * 1000000000u + nsec;
}

Test(criu, clock_image)
{
	static const uint32_t magics[2] = { 0x54564319, 0x43114433 };
	static const uint64_t times[] = { 0,
					  1,
					  999999999,
					  1000000000,
					  127999999999,
					  128000000000,
					  123456789012345678,
					  UINT64_MAX / 2 };
	struct rrc_error err = { 0 };
	char *dir = help_dir();
	const char *path = help_path("%s/timens-0.img", dir);
	uint8_t old[200] = { 0 };

	memcpy(old, magics, sizeof(magics));
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		uint64_t boot = times[sizeof(times) / sizeof(*times) - 1 - i];
		struct reader r;
		uint32_t head[3];
		size_t len;
		char *img;

		help_write(path, old, sizeof(old)); /* longer than what replaces it */
		cr_assert_eq(rrc_criu_set_clock(dir, times[i], boot, &err), 0, "%s", err.msg);
		img = help_read(path, &len);
		memcpy(head, img, sizeof(head));
		cr_assert(!memcmp(head, magics, sizeof(magics)), "whose image it is stays");
		cr_assert_eq(head[2], len - sizeof(head));
		r = (struct reader){ (uint8_t *)img + sizeof(head), (uint8_t *)img + len };
		cr_assert_eq(timespec(&r, 1), times[i]);
		cr_assert_eq(timespec(&r, 2), boot);
		cr_assert_eq(r.p, r.end);
		free(img);
	}
	help_write(path, old, 5);
	cr_assert_lt(rrc_criu_set_clock(dir, 1, 1, &err), 0);
	cr_assert(strstr(err.msg, "timens-0.img"), "%s", err.msg);
	/* An image of a CRIU that knows no time namespaces: nothing to set. */
	unlink(path);
	cr_assert_eq(rrc_criu_set_clock(dir, 1, 1, &err), 0);
	help_remove(dir);
	free(dir);
}
