/* SPDX-License-Identifier: MIT */
/* The delta: what was put in comes out, zero pages cost nothing, damage is found before anything is used. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "delta.h"
#include "record.h"
#include "util.h"

#define PAGES 2500u /* more than two sections hold */

struct seen {
	unsigned int threads, stacks, pages, zeros, lines, wrong;
};

static uint8_t content(uint64_t addr)
{
	return (addr / RRC_DELTA_PAGE) % 3 ? (uint8_t)(addr / RRC_DELTA_PAGE * 7 % 255 + 1) : 0;
}

static int on_thread(void *ctx, const struct rrc_delta_thread *t, const uint8_t *xsave,
		     struct rrc_error *err)
{
	struct seen *s = ctx;

	(void)err;
	s->threads++;
	s->wrong += t->pid != 1 || t->tid != 7 || t->mask != 5 || t->regs.rip != 0x1234 ||
		    t->xsave_len != 3 || memcmp(xsave, "abc", 3);
	return 0;
}

static int on_stack(void *ctx, const struct rrc_delta_stack *st, struct rrc_error *err)
{
	struct seen *s = ctx;

	(void)err;
	s->stacks++;
	s->wrong += st->pid != 1 || st->start != 0x7000 || st->end != 0x9000;
	return 0;
}

static int on_page(void *ctx, uint32_t pid, uint64_t addr, const uint8_t *data,
		   struct rrc_error *err)
{
	struct seen *s = ctx;
	uint8_t want = content(addr);

	(void)err;
	s->pages++;
	s->zeros += !data;
	s->wrong += pid != 1 || addr != (uint64_t)s->pages * RRC_DELTA_PAGE || (!data) != (!want);
	for (size_t i = 0; data && i < RRC_DELTA_PAGE; i++)
		s->wrong += data[i] != want;
	return 0;
}

/* Line i of a page is all i, in those that are sent. */
static int on_lines(void *ctx, uint32_t pid, const struct rrc_delta_changed *c, const uint8_t *data,
		    struct rrc_error *err)
{
	struct seen *s = ctx;
	uint8_t page[RRC_DELTA_PAGE];

	(void)err;
	s->lines++;
	s->wrong += pid != 1 || c->lines != (c->addr / RRC_DELTA_PAGE | 1ull << 63);
	memset(page, 255, sizeof(page));
	rrc_delta_put_lines(page, c->lines, data);
	for (unsigned int i = 0; i < RRC_DELTA_PAGE; i++)
		s->wrong +=
			page[i] != (c->lines >> i / RRC_DELTA_LINE & 1 ? i / RRC_DELTA_LINE : 255);
	return 0;
}

static void add_lines(struct rrc_delta *d)
{
	static uint8_t page[RRC_DELTA_PAGE];
	static struct rrc_delta_changed list[PAGES];
	const uint8_t *pages[PAGES];

	for (unsigned int i = 0; i < RRC_DELTA_PAGE; i++)
		page[i] = (uint8_t)(i / RRC_DELTA_LINE);
	for (uint64_t i = 0; i < PAGES; i++) {
		list[i] = (struct rrc_delta_changed){ (i + 1) * RRC_DELTA_PAGE,
						      (i + 1) | 1ull << 63 };
		pages[i] = page;
	}
	cr_assert_eq(rrc_delta_add_lines(d, 1, list, pages, PAGES), 0);
}

static struct rrc_delta *sample(void)
{
	struct rrc_delta_thread t = { .pid = 1, .tid = 7, .mask = 5, .xsave_len = 3 };
	struct rrc_delta_stack st = { .pid = 1, .start = 0x7000, .end = 0x9000 };
	struct rrc_delta *d = rrc_delta_new(9, 8);
	uint64_t addr[PAGES];
	const uint8_t *pages[PAGES];
	uint8_t *bytes = malloc(PAGES * RRC_DELTA_PAGE);

	cr_assert(d && bytes);
	t.regs.rip = 0x1234;
	for (size_t i = 0; i < PAGES; i++) {
		addr[i] = (i + 1) * RRC_DELTA_PAGE;
		pages[i] = bytes + i * RRC_DELTA_PAGE;
		memset(bytes + i * RRC_DELTA_PAGE, content(addr[i]), RRC_DELTA_PAGE);
	}
	cr_assert_eq(rrc_delta_add_thread(d, &t, "abc"), 0);
	cr_assert_eq(rrc_delta_add_stack(d, &st), 0);
	cr_assert_eq(rrc_delta_add_pages(d, 1, addr, pages, PAGES), 0);
	add_lines(d);
	free(bytes);
	return d;
}

Test(delta, comes_back)
{
	struct rrc_delta *d = sample();
	struct seen s = { 0 };
	struct rrc_delta_reader r = { on_thread, on_stack, on_page, on_lines, &s };
	struct rrc_error err = { 0 };
	size_t len;
	const void *bytes = rrc_delta_bytes(d, &len);

	cr_assert_eq(rrc_delta_read(bytes, len, &r, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_delta_head(bytes)->number, 9u);
	cr_assert_eq(rrc_delta_head(bytes)->after, 8u);
	cr_assert_eq(s.threads, 1u);
	cr_assert_eq(s.stacks, 1u);
	cr_assert_eq(s.pages, PAGES);
	cr_assert_eq(s.zeros, PAGES / 3);
	cr_assert_eq(s.lines, PAGES);
	cr_assert_eq(s.wrong, 0u);
	cr_assert_lt(len, PAGES * RRC_DELTA_PAGE / 20, "pages of one byte each pack well");
	rrc_delta_free(d);
}

Test(delta, lines_that_differ)
{
	uint8_t a[RRC_DELTA_PAGE] = "", b[RRC_DELTA_PAGE] = "";

	cr_assert_eq(rrc_delta_differ(a, b), 0u);
	b[0] = b[64 * 5 + 63] = b[RRC_DELTA_PAGE - 1] = 1;
	cr_assert_eq(rrc_delta_differ(a, b), 1ull | 1ull << 5 | 1ull << 63);
}

Test(delta, cuts_are_found)
{
	struct rrc_delta *d = sample();
	struct rrc_error err = { 0 };
	size_t len;
	const void *bytes = rrc_delta_bytes(d, &len);

	for (size_t cut = 0; cut < len; cut += 1 + cut / 64) {
		void *copy = malloc(cut + 1); /* so that reading too far is seen */

		memcpy(copy, bytes, cut);
		cr_assert_lt(rrc_delta_check(copy, cut, &err), 0, "cut at %zu", cut);
		free(copy);
	}
	rrc_delta_free(d);
}

static void spoil(size_t at, uint64_t value, size_t size, const char *what)
{
	struct rrc_delta *d = sample();
	struct rrc_error err = { 0 };
	size_t len;
	uint8_t *bytes = (uint8_t *)(uintptr_t)rrc_delta_bytes(d, &len);

	memcpy(bytes + at, &value, size);
	cr_assert_lt(rrc_delta_check(bytes, len, &err), 0, "%s", what);
	rrc_delta_free(d);
}

Test(delta, what_does_not_fit_is_refused)
{
	size_t first = sizeof(struct rrc_delta_head), body = first + sizeof(struct rrc_delta_sec);
	size_t stack = body + RRC_ALIGN8(sizeof(struct rrc_delta_thread) + 3) +
		       sizeof(struct rrc_delta_sec);
	size_t pages = stack + sizeof(struct rrc_delta_stack) + sizeof(struct rrc_delta_sec);

	spoil(0, 1, 4, "another magic");
	spoil(4, RRC_FORMAT_VERSION + 1, 4, "another version");
	spoil(16, 9, 8, "on top of itself");
	spoil(24, 1, 8, "another length");
	spoil(first, RRC_DELTA_TYPES, 4, "an unknown section");
	spoil(first + 4, UINT32_MAX, 4, "a section longer than all");
	spoil(body, 0, 4, "a thread of no process");
	spoil(body + offsetof(struct rrc_delta_thread, xsave_len), 1u << 20, 4, "too long a state");
	spoil(stack + 8, 0xa000, 8, "a stack that ends before it starts");
	spoil(pages + 4, RRC_DELTA_BATCH + 1, 4, "too many pages");
	spoil(pages + 8, RRC_DELTA_PAGE, 4, "another number of bytes");
	spoil(pages + sizeof(struct rrc_delta_pages), 1ull << 47, 8, "an address of the kernel");
	spoil(pages + sizeof(struct rrc_delta_pages), 0x1008, 8, "half a page");
}
