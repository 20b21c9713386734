/* SPDX-License-Identifier: MIT */
/* The delta, made and read; see delta.h. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zstd.h>

#include "delta.h"
#include "record.h"
#include "util.h"

#define PACK_LEVEL 1
#define USER_END   (1ull << 47) /* addresses of a program lie below */
#define PAGE_BITS  (~(uint64_t)(RRC_DELTA_PAGE - 1)) /* of an address: which page */

struct rrc_delta {
	uint8_t *buf;
	size_t len, size;
	ZSTD_CCtx *pack;
	uint8_t *raw; /* pages of one section, side by side */
};

/* ---- making ---- */

static int grow(struct rrc_delta *d, size_t more)
{
	size_t size = d->size ? d->size : 65536;
	uint8_t *bigger;

	while (size < d->len + more)
		size *= 2;
	if (size == d->size)
		return 0;
	bigger = realloc(d->buf, size);
	if (!bigger)
		return -ENOMEM;
	d->buf = bigger;
	d->size = size;
	return 0;
}

static void put(struct rrc_delta *d, const void *bytes, size_t len)
{
	memcpy(d->buf + d->len, bytes, len);
	d->len += len;
}

struct rrc_delta *rrc_delta_new(uint64_t number, uint64_t after)
{
	struct rrc_delta_head h = { .magic = RRC_DELTA_MAGIC,
				    .version = RRC_FORMAT_VERSION,
				    .number = number,
				    .after = after };
	struct rrc_delta *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->pack = ZSTD_createCCtx();
	d->raw = malloc((size_t)RRC_DELTA_BATCH * RRC_DELTA_PAGE);
	if (!d->pack || !d->raw || grow(d, sizeof(h))) {
		rrc_delta_free(d);
		return NULL;
	}
	put(d, &h, sizeof(h));
	return d;
}

void rrc_delta_free(struct rrc_delta *d)
{
	if (!d)
		return;
	ZSTD_freeCCtx(d->pack);
	free(d->raw);
	free(d->buf);
	free(d);
}

/* Room for a section's whole body; what is put behind it must be as long, then end_section(). */
static int begin_section(struct rrc_delta *d, enum rrc_delta_sec_type type, size_t body)
{
	struct rrc_delta_sec s = { type, (uint32_t)body };

	if (grow(d, sizeof(s) + RRC_ALIGN8(body)))
		return -ENOMEM;
	put(d, &s, sizeof(s));
	return 0;
}

static int end_section(struct rrc_delta *d)
{
	while (d->len & 7)
		d->buf[d->len++] = 0;
	return 0;
}

int rrc_delta_add_thread(struct rrc_delta *d, const struct rrc_delta_thread *t, const void *xsave)
{
	if (begin_section(d, RRC_DELTA_THREAD, sizeof(*t) + t->xsave_len))
		return -ENOMEM;
	put(d, t, sizeof(*t));
	put(d, xsave, t->xsave_len);
	return end_section(d);
}

int rrc_delta_add_stack(struct rrc_delta *d, const struct rrc_delta_stack *s)
{
	if (begin_section(d, RRC_DELTA_STACK, sizeof(*s)))
		return -ENOMEM;
	put(d, s, sizeof(*s));
	return end_section(d);
}

static bool all_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, RRC_DELTA_PAGE - 1);
}

static size_t bound_of(uint32_t count)
{
	return ZSTD_compressBound((size_t)count * RRC_DELTA_PAGE);
}

/* A section of pages is begun, and its table is behind d->len + sizeof(*p): the bytes in d->raw go behind that. */
static int end_pages(struct rrc_delta *d, size_t at, struct rrc_delta_pages *p, size_t table)
{
	uint8_t *out = d->buf + d->len + sizeof(*p) + table;
	size_t packed =
		ZSTD_compressCCtx(d->pack, out, bound_of(p->count), d->raw, p->raw, PACK_LEVEL);

	if (ZSTD_isError(packed) || packed >= p->raw) {
		memcpy(out, d->raw, p->raw);
		packed = p->raw;
	}
	p->stored = (uint32_t)packed;
	put(d, p, sizeof(*p));
	d->len += table + packed;
	((struct rrc_delta_sec *)(d->buf + at))->length = (uint32_t)(sizeof(*p) + table + packed);
	return end_section(d);
}

static int add_batch(struct rrc_delta *d, uint32_t pid, const uint64_t *addr,
		     const uint8_t *const *pages, uint32_t count)
{
	struct rrc_delta_pages p = { .pid = pid, .count = count };
	size_t table = count * sizeof(*addr), at = d->len;
	uint64_t *out;

	/* as many bytes as it can need: the section's head is put right afterwards */
	if (begin_section(d, RRC_DELTA_PAGES, sizeof(p) + table + bound_of(count)))
		return -ENOMEM;
	out = (uint64_t *)(d->buf + d->len + sizeof(p));
	for (uint32_t i = 0; i < count; i++) {
		bool zero = all_zero(pages[i]);

		out[i] = addr[i] | (zero ? RRC_DELTA_ZERO : 0);
		if (zero)
			continue;
		memcpy(d->raw + p.raw, pages[i], RRC_DELTA_PAGE);
		p.raw += RRC_DELTA_PAGE;
	}
	return end_pages(d, at, &p, table);
}

static int add_lines_batch(struct rrc_delta *d, uint32_t pid, const struct rrc_delta_changed *list,
			   const uint8_t *const *pages, uint32_t count)
{
	struct rrc_delta_pages p = { .pid = pid, .count = count };
	size_t table = count * sizeof(*list), at = d->len;

	if (begin_section(d, RRC_DELTA_LINES, sizeof(p) + table + bound_of(count)))
		return -ENOMEM;
	memcpy(d->buf + d->len + sizeof(p), list, table);
	for (uint32_t i = 0; i < count; i++)
		for (uint64_t left = list[i].lines; left; left &= left - 1) {
			memcpy(d->raw + p.raw, pages[i] + __builtin_ctzll(left) * RRC_DELTA_LINE,
			       RRC_DELTA_LINE);
			p.raw += RRC_DELTA_LINE;
		}
	return end_pages(d, at, &p, table);
}

int rrc_delta_add_pages(struct rrc_delta *d, uint32_t pid, const uint64_t *addr,
			const uint8_t *const *pages, size_t count)
{
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i += RRC_DELTA_BATCH)
		ret = add_batch(d, pid, addr + i, pages + i,
				(uint32_t)rrc_min(count - i, (size_t)RRC_DELTA_BATCH));
	return ret;
}

int rrc_delta_add_lines(struct rrc_delta *d, uint32_t pid, const struct rrc_delta_changed *list,
			const uint8_t *const *pages, size_t count)
{
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i += RRC_DELTA_BATCH)
		ret = add_lines_batch(d, pid, list + i, pages + i,
				      (uint32_t)rrc_min(count - i, (size_t)RRC_DELTA_BATCH));
	return ret;
}

uint64_t rrc_delta_differ(const uint8_t *a, const uint8_t *b)
{
	uint64_t lines = 0;

	for (unsigned int i = 0; i < RRC_DELTA_PAGE / RRC_DELTA_LINE; i++)
		if (memcmp(a + i * RRC_DELTA_LINE, b + i * RRC_DELTA_LINE, RRC_DELTA_LINE))
			lines |= 1ull << i;
	return lines;
}

void rrc_delta_put_lines(uint8_t *page, uint64_t lines, const uint8_t *data)
{
	for (; lines; lines &= lines - 1, data += RRC_DELTA_LINE)
		memcpy(page + __builtin_ctzll(lines) * RRC_DELTA_LINE, data, RRC_DELTA_LINE);
}

const void *rrc_delta_bytes(struct rrc_delta *d, size_t *len)
{
	((struct rrc_delta_head *)d->buf)->length = d->len - sizeof(struct rrc_delta_head);
	*len = d->len;
	return d->buf;
}

/* ---- reading ---- */

static int damaged(struct rrc_error *err, size_t at, const char *what)
{
	return rrc_fail(err, EBADMSG, "the delta is damaged at byte %zu: %s", at, what);
}

static int check_thread(const uint8_t *body, uint32_t len)
{
	const struct rrc_delta_thread *t = (const void *)body;

	return len >= sizeof(*t) && t->pid && t->tid && t->xsave_len <= RRC_DELTA_MAX_XSAVE &&
	       len == sizeof(*t) + t->xsave_len;
}

static int check_stack(const uint8_t *body, uint32_t len)
{
	const struct rrc_delta_stack *s = (const void *)body;

	return len == sizeof(*s) && s->pid && s->start < s->end && s->end <= USER_END &&
	       !((s->start | s->end) & ~PAGE_BITS);
}

static int check_pages(const uint8_t *body, uint32_t len)
{
	const struct rrc_delta_pages *p = (const void *)body;
	const uint64_t *addr = (const uint64_t *)(p + 1);
	uint64_t bytes = 0;

	if (len < sizeof(*p) || !p->pid || !p->count || p->count > RRC_DELTA_BATCH ||
	    p->stored > p->raw ||
	    len != sizeof(*p) + (uint64_t)p->count * sizeof(*addr) + p->stored)
		return 0;
	for (uint32_t i = 0; i < p->count; i++) {
		if ((addr[i] & ~PAGE_BITS) > RRC_DELTA_ZERO || addr[i] >= USER_END)
			return 0;
		bytes += addr[i] & RRC_DELTA_ZERO ? 0 : RRC_DELTA_PAGE;
	}
	return bytes == p->raw;
}

static int check_lines(const uint8_t *body, uint32_t len)
{
	const struct rrc_delta_pages *p = (const void *)body;
	const struct rrc_delta_changed *c = (const void *)(p + 1);
	uint64_t bytes = 0;

	if (len < sizeof(*p) || !p->pid || !p->count || p->count > RRC_DELTA_BATCH ||
	    p->stored > p->raw || len != sizeof(*p) + (uint64_t)p->count * sizeof(*c) + p->stored)
		return 0;
	for (uint32_t i = 0; i < p->count; i++) {
		if (c[i].addr & ~PAGE_BITS || c[i].addr >= USER_END || !c[i].lines)
			return 0;
		bytes += (uint64_t)__builtin_popcountll(c[i].lines) * RRC_DELTA_LINE;
	}
	return bytes == p->raw;
}

static int (*const checks[RRC_DELTA_TYPES])(const uint8_t *body, uint32_t len) = {
	[RRC_DELTA_THREAD] = check_thread,
	[RRC_DELTA_PAGES] = check_pages,
	[RRC_DELTA_STACK] = check_stack,
	[RRC_DELTA_LINES] = check_lines,
};

int rrc_delta_check(const void *buf, size_t len, struct rrc_error *err)
{
	const struct rrc_delta_head *h = buf;
	size_t at = sizeof(*h);

	if (len < sizeof(*h) || h->magic != RRC_DELTA_MAGIC)
		return damaged(err, 0, "it does not begin like one");
	if (h->version != RRC_FORMAT_VERSION)
		return rrc_fail(err, EPROTO, "a delta of version %u, we know %u", h->version,
				RRC_FORMAT_VERSION);
	if (h->length != len - sizeof(*h) || h->after >= h->number)
		return damaged(err, 0, "its head does not fit it");
	while (at < len) {
		const struct rrc_delta_sec *s = (const void *)((const uint8_t *)buf + at);

		if (len - at < sizeof(*s) ||
		    RRC_ALIGN8((uint64_t)s->length) > len - at - sizeof(*s))
			return damaged(err, at, "a section is cut off");
		if (!s->type || s->type >= RRC_DELTA_TYPES ||
		    !checks[s->type]((const uint8_t *)(s + 1), s->length))
			return damaged(err, at, "a section that is none");
		at += sizeof(*s) + RRC_ALIGN8((uint64_t)s->length);
	}
	return 0;
}

const struct rrc_delta_head *rrc_delta_head(const void *buf)
{
	return buf;
}

/* The bytes of a section of pages; NULL: they cannot be unpacked. */
static const uint8_t *unpack(const struct rrc_delta_pages *p, size_t table, uint8_t *raw,
			     struct rrc_error *err)
{
	const uint8_t *data = (const uint8_t *)(p + 1) + table;

	if (p->stored == p->raw)
		return data;
	if (ZSTD_decompress(raw, p->raw, data, p->stored) == p->raw)
		return raw;
	rrc_fail(err, EBADMSG, "the delta's pages cannot be unpacked");
	return NULL;
}

static int read_pages(const struct rrc_delta_pages *p, uint8_t *raw,
		      const struct rrc_delta_reader *r, struct rrc_error *err)
{
	const uint64_t *addr = (const uint64_t *)(p + 1);
	const uint8_t *data = unpack(p, p->count * sizeof(*addr), raw, err);
	int ret = data ? 0 : err->code;

	for (uint32_t i = 0; i < p->count && !ret; i++) {
		bool zero = addr[i] & RRC_DELTA_ZERO;

		ret = r->page(r->ctx, p->pid, addr[i] & PAGE_BITS, zero ? NULL : data, err);
		data += zero ? 0 : RRC_DELTA_PAGE;
	}
	return ret;
}

static int read_lines(const struct rrc_delta_pages *p, uint8_t *raw,
		      const struct rrc_delta_reader *r, struct rrc_error *err)
{
	const struct rrc_delta_changed *c = (const void *)(p + 1);
	const uint8_t *data = unpack(p, p->count * sizeof(*c), raw, err);
	int ret = data ? 0 : err->code;

	for (uint32_t i = 0; i < p->count && !ret; i++) {
		ret = r->lines(r->ctx, p->pid, &c[i], data, err);
		data += (size_t)__builtin_popcountll(c[i].lines) * RRC_DELTA_LINE;
	}
	return ret;
}

int rrc_delta_read(const void *buf, size_t len, const struct rrc_delta_reader *r,
		   struct rrc_error *err)
{
	rrc_autofree uint8_t *raw = malloc((size_t)RRC_DELTA_BATCH * RRC_DELTA_PAGE);
	size_t at = sizeof(struct rrc_delta_head);
	int ret = rrc_delta_check(buf, len, err);

	if (!raw)
		return rrc_fail(err, ENOMEM, "no memory to unpack a delta");
	while (!ret && at < len) {
		const struct rrc_delta_sec *s = (const void *)((const uint8_t *)buf + at);
		const void *body = s + 1;

		if (s->type == RRC_DELTA_THREAD && r->thread)
			ret = r->thread(r->ctx, body,
					(const uint8_t *)body + sizeof(struct rrc_delta_thread),
					err);
		else if (s->type == RRC_DELTA_STACK && r->stack)
			ret = r->stack(r->ctx, body, err);
		else if (s->type == RRC_DELTA_PAGES && r->page)
			ret = read_pages(body, raw, r, err);
		else if (s->type == RRC_DELTA_LINES && r->lines)
			ret = read_lines(body, raw, r, err);
		at += sizeof(*s) + RRC_ALIGN8((uint64_t)s->length);
	}
	return ret;
}
