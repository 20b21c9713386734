/* SPDX-License-Identifier: MIT */
/* Call frame information, see unwind.h. Formats: DWARF 4 section 6.4 and the LSB's .eh_frame; of both what
 * compilers make of C for x86-64: a frame address by rsp or rbp, registers saved at offsets of it. */
#include <errno.h>
#include <string.h>

#include "ptrace.h"
#include "unwind.h"
#include "util.h"

#define ENTRY_MAX 4096 /* of one description, in bytes */
#define REG_BP	  6
#define REG_SP	  7
#define STATES	  8 /* remembered within each other */

#define HDR_FRAME 0x1b /* encodings that every linker uses: 32 bits, relative to here … */
#define HDR_COUNT 0x03
#define HDR_TABLE 0x3b /* … to the header */

/* Bytes of a description, read with bounds. */
struct cursor {
	const uint8_t *at, *end;
	uint64_t addr; /* of `at` in the process */
	int bad;
};

static uint64_t fixed(struct cursor *c, unsigned int n)
{
	uint64_t v = 0;

	if (c->bad || (size_t)(c->end - c->at) < n) {
		c->bad = 1;
		return 0;
	}
	memcpy(&v, c->at, n);
	c->at += n;
	c->addr += n;
	return v;
}

static uint64_t uleb(struct cursor *c)
{
	unsigned int shift = 0;
	uint64_t v = 0, b;

	do {
		b = fixed(c, 1);
		if (shift < 64)
			v |= (b & 0x7f) << shift;
		shift += 7;
	} while (b & 0x80 && !c->bad);
	return v;
}

static int64_t sleb(struct cursor *c)
{
	unsigned int shift = 0;
	uint64_t v = 0, b;

	do {
		b = fixed(c, 1);
		if (shift < 64)
			v |= (b & 0x7f) << shift;
		shift += 7;
	} while (b & 0x80 && !c->bad);
	if (shift < 64 && b & 0x40)
		v |= ~0ull << shift;
	return (int64_t)v;
}

static void skip(struct cursor *c, uint64_t n)
{
	if (c->bad || (uint64_t)(c->end - c->at) < n) {
		c->bad = 1;
		return;
	}
	c->at += n;
	c->addr += n;
}

static unsigned int width(uint8_t encoding)
{
	static const uint8_t widths[16] = { 8, 0, 2, 4, 8, 0, 0, 0, 8, 0, 2, 4, 8 };

	return widths[encoding & 15];
}

static uint64_t encoded(struct cursor *c, uint8_t encoding)
{
	unsigned int n = width(encoding);
	uint64_t here = c->addr, v;

	if (!n || encoding & 0x80 || (encoding & 0x70 && (encoding & 0x70) != 0x10)) {
		c->bad = 1;
		return 0;
	}
	v = fixed(c, n);
	if (encoding & 8 && n < 8 && v >> (n * 8 - 1))
		v |= ~0ull << (n * 8);
	return encoding & 0x70 ? v + here : v;
}

/* What is common to many functions. */
struct common {
	uint64_t code_align;
	int64_t data_align;
	uint8_t encoding; /* of addresses in descriptions of functions */
	int augmented;
	struct cursor program;
};

struct rules {
	int cfa_reg;
	int64_t cfa_off;
	int bp_saved;
	int64_t bp_off;
};

struct entry {
	uint8_t bytes[ENTRY_MAX];
	struct cursor c;
};

/* A description without its length word. */
static int read_entry(pid_t pid, uint64_t addr, struct entry *e)
{
	uint32_t len;

	if (rrc_mem_read(pid, addr, &len, sizeof(len)))
		return -EFAULT;
	if (!len || len > ENTRY_MAX)
		return -ENOTSUP;
	if (rrc_mem_read(pid, addr + 4, e->bytes, len))
		return -EFAULT;
	e->c = (struct cursor){ e->bytes, e->bytes + len, addr + 4, 0 };
	return 0;
}

static int parse_common(struct entry *e, struct common *k)
{
	struct cursor *c = &e->c;
	char text[8] = "";
	size_t n = 0;

	if (fixed(c, 4) != 0 || fixed(c, 1) != 1)
		return -ENOTSUP;
	while (n < sizeof(text) - 1 && (text[n] = (char)fixed(c, 1)))
		n++;
	k->code_align = uleb(c);
	k->data_align = sleb(c);
	fixed(c, 1); /* the return address's column */
	k->augmented = text[0] == 'z';
	k->encoding = 0;
	if (k->augmented)
		uleb(c);
	for (const char *t = text; *t; t++) {
		if (*t == 'R')
			k->encoding = (uint8_t)fixed(c, 1);
		else if (*t == 'L')
			fixed(c, 1);
		else if (*t == 'P')
			skip(c, width((uint8_t)fixed(c, 1)));
		else if (*t != 'z')
			return -ENOTSUP; /* 'S': a signal's frame */
	}
	k->program = *c;
	return c->bad ? -ENOTSUP : 0;
}

/* A program of rules that is being run. */
struct running {
	struct cursor c;
	const struct common *k;
	uint64_t at; /* what the rules are of now */
	struct rules *r;
	const struct rules *initial;
	struct rules saved[STATES];
	unsigned int depth;
};

static void is_saved(struct running *p, uint64_t reg, int64_t off)
{
	if (reg != REG_BP)
		return;
	p->r->bp_saved = 1;
	p->r->bp_off = off;
}

static void is_restored(struct running *p, uint64_t reg)
{
	if (reg != REG_BP)
		return;
	p->r->bp_saved = p->initial->bp_saved;
	p->r->bp_off = p->initial->bp_off;
}

/* One of those that have no operand in their first byte. 0 or -ENOTSUP. */
static int run_long(struct running *p, uint8_t op)
{
	struct cursor *c = &p->c;
	uint64_t reg;

	switch (op) {
	case 0x00:
		return 0;
	case 0x02: /* advance */
	case 0x03:
	case 0x04:
		p->at += fixed(c, 1u << (op - 2)) * p->k->code_align;
		return 0;
	case 0x05: /* saved at an offset */
		reg = uleb(c);
		is_saved(p, reg, (int64_t)uleb(c) * p->k->data_align);
		return 0;
	case 0x06:
		is_restored(p, uleb(c));
		return 0;
	case 0x07: /* undefined, same value */
	case 0x08:
		if (uleb(c) == REG_BP)
			p->r->bp_saved = 0;
		return 0;
	case 0x0a: /* remember, restore */
		if (p->depth == STATES)
			return -ENOTSUP;
		p->saved[p->depth++] = *p->r;
		return 0;
	case 0x0b:
		if (!p->depth)
			return -ENOTSUP;
		*p->r = p->saved[--p->depth];
		return 0;
	case 0x0c: /* where the frame is: register and offset, register, offset */
		p->r->cfa_reg = (int)uleb(c);
		p->r->cfa_off = (int64_t)uleb(c);
		return 0;
	case 0x0d:
		p->r->cfa_reg = (int)uleb(c);
		return 0;
	case 0x0e:
		p->r->cfa_off = (int64_t)uleb(c);
		return 0;
	case 0x2e: /* size of the arguments */
		uleb(c);
		return 0;
	default:
		return -ENOTSUP;
	}
}

/* Runs a program of rules up to pc. */
static int run(struct cursor c, const struct common *k, uint64_t from, uint64_t pc, struct rules *r,
	       const struct rules *initial)
{
	struct running p = { .c = c, .k = k, .at = from, .r = r, .initial = initial };

	while (!p.c.bad && p.c.at < p.c.end && p.at <= pc) {
		uint8_t op = (uint8_t)fixed(&p.c, 1), low = op & 0x3f;
		int ret = 0;

		switch (op & 0xc0) {
		case 0x40: /* advance */
			p.at += low * k->code_align;
			break;
		case 0x80: /* saved at an offset */
			is_saved(&p, low, (int64_t)uleb(&p.c) * k->data_align);
			break;
		case 0xc0:
			is_restored(&p, low);
			break;
		default:
			ret = run_long(&p, low);
		}
		if (ret)
			return ret;
	}
	return p.c.bad && p.at <= pc ? -ENOTSUP : 0;
}

/* Address of the description of the function around pc. */
static int search(pid_t pid, uint64_t hdr, uint64_t pc, uint64_t *fde)
{
	uint8_t head[12];
	uint32_t n, lo = 0, hi;
	int32_t pair[2];

	if (rrc_mem_read(pid, hdr, head, sizeof(head)))
		return -EFAULT;
	memcpy(&n, head + 8, sizeof(n));
	if (head[0] != 1 || head[1] != HDR_FRAME || head[2] != HDR_COUNT || head[3] != HDR_TABLE ||
	    !n)
		return -ENOTSUP;
	for (hi = n; hi - lo > 1;) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (rrc_mem_read(pid, hdr + 12 + 8ull * mid, pair, sizeof(pair)))
			return -EFAULT;
		if (hdr + (uint64_t)(int64_t)pair[0] <= pc)
			lo = mid;
		else
			hi = mid;
	}
	if (rrc_mem_read(pid, hdr + 12 + 8ull * lo, pair, sizeof(pair)))
		return -EFAULT;
	*fde = hdr + (uint64_t)(int64_t)pair[1];
	return 0;
}

static int find_rules(pid_t pid, uint64_t hdr, uint64_t pc, struct rules *r)
{
	struct entry function, shared;
	struct rules initial;
	struct cursor *c = &function.c;
	uint64_t fde, back, from, len;
	struct common k;
	int ret = search(pid, hdr, pc, &fde);

	if (!ret)
		ret = read_entry(pid, fde, &function);
	if (ret)
		return ret;
	back = fixed(c, 4);
	ret = read_entry(pid, fde + 4 - back, &shared);
	if (!ret)
		ret = parse_common(&shared, &k);
	if (ret)
		return ret;
	from = encoded(c, k.encoding);
	len = encoded(c, k.encoding & 0x0f);
	if (k.augmented)
		skip(c, uleb(c));
	if (c->bad || pc < from || pc - from >= len)
		return -ENOTSUP;
	memset(r, 0, sizeof(*r));
	ret = run(k.program, &k, from, UINT64_MAX, r, r);
	initial = *r;
	return ret ? ret : run(*c, &k, from, pc, r, &initial);
}

int rrc_unwind(pid_t pid, uint64_t hdr, int inner, struct rrc_frame *f)
{
	uint64_t cfa, ret, bp = f->bp;
	struct rules r;
	int e = find_rules(pid, hdr, inner ? f->pc : f->pc - 1, &r);

	if (e)
		return e;
	if (r.cfa_reg != REG_SP && r.cfa_reg != REG_BP)
		return -ENOTSUP;
	cfa = (r.cfa_reg == REG_SP ? f->sp : f->bp) + (uint64_t)r.cfa_off;
	if (rrc_mem_read(pid, cfa - 8, &ret, sizeof(ret)) ||
	    (r.bp_saved && rrc_mem_read(pid, cfa + (uint64_t)r.bp_off, &bp, sizeof(bp))))
		return -EFAULT;
	*f = (struct rrc_frame){ .pc = ret, .sp = cfa, .bp = bp, .slot = cfa - 8 };
	return 0;
}
