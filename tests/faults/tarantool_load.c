// SPDX-License-Identifier: MIT
/*
 * Load for tarantool by a client that knows what every reply must be: its binary protocol (iproto),
 * REPLACE, SELECT, UPDATE and DELETE on one space. Each connection owns its keys, and without a
 * write-ahead log no request of a connection overtakes another.
 */
#include "client_loop.h"

#include <endian.h>

#define SPACE	 512
#define GREETING 128

enum op {
	OP_REPLACE,
	OP_SELECT,
	OP_ADD, /* UPDATE: adds to a counter */
	OP_DELETE,
	OPS
};

/* Of iproto: types of requests and the keys of header and body. */
enum {
	SELECT = 1,
	REPLACE = 3,
	UPDATE = 4,
	DELETE = 5
};
enum {
	IPROTO_TYPE = 0x00,
	IPROTO_SYNC = 0x01,
	IPROTO_SPACE = 0x10,
	IPROTO_INDEX = 0x11,
	IPROTO_LIMIT = 0x12,
	IPROTO_OFFSET = 0x13,
	IPROTO_ITERATOR = 0x14,
	IPROTO_KEY = 0x20,
	IPROTO_TUPLE = 0x21,
	IPROTO_DATA = 0x30
};

/* A tuple is {key, version of the last write, counter, text by both}. */
struct state {
	bool there;
	uint64_t version, counter;
};

struct value {
	uint64_t sent, acked; /* number of writes; 0: none yet */
	uint64_t room;
	struct state *state; /* [write]: what it led to */
	bool lost;
};

struct model {
	struct value *keys;
	uint32_t next_key, next_tag;
};

static void start_model(struct load *l, struct conn *c)
{
	uint32_t i;

	c->m = must(calloc(1, sizeof(*c->m)));
	c->m->keys = must(calloc(l->keys, sizeof(*c->m->keys)));
	for (i = 0; i < l->keys; i++) {
		c->m->keys[i].room = 4;
		c->m->keys[i].state = must(calloc(4, sizeof(struct state)));
	}
}

static struct value *value_of(const struct request *r)
{
	return &r->owner->m->keys[r->key];
}

static void add_state(struct value *v, struct state s)
{
	if (++v->sent >= v->room) {
		v->room *= 2;
		v->state = must(realloc(v->state, v->room * sizeof(*v->state)));
	}
	v->state[v->sent] = s;
}

static void make_request(struct load *l, struct conn *c, struct request *r)
{
	struct value *v;
	struct state s;

	r->key = r->op == OP_REPLACE ? c->m->next_key++ % l->keys
				     : (uint32_t)(rnd(&l->seed) % l->keys);
	r->tag = ++c->m->next_tag;
	v = value_of(r);
	s = v->state[v->sent];
	if (r->op == OP_REPLACE)
		s = (struct state){ true, v->sent + 1, 0 };
	else if (r->op == OP_ADD)
		s.counter++;
	else
		s.there = false;
	/* A deletion answers with what it has taken away. */
	r->several[0] = v->sent;
	if (r->op == OP_REPLACE || (r->op != OP_SELECT && v->state[v->sent].there))
		add_state(v, s);
	r->expect = v->sent;
	if (r->op != OP_DELETE)
		r->several[0] = v->sent;
}

static bool make_read(struct load *l, struct conn *reader, struct conn *owner, struct request *r)
{
	uint32_t i;

	while ((i = reader->cursor++) < l->keys) {
		*r = (struct request){ .owner = owner, .op = OP_SELECT, .key = i };
		r->tag = ++reader->m->next_tag;
		if (value_of(r)->sent)
			return true;
	}
	return false;
}

/* --- msgpack: what is needed of it ----------------------------------------------------------- */

static void pack_u(struct conn *c, uint64_t n)
{
	char buf[9] = { (char)0xcf };
	uint64_t be = htobe64(n);

	if (n < 128) {
		buf[0] = (char)n;
		append(c, buf, 1);
		return;
	}
	memcpy(buf + 1, &be, 8);
	append(c, buf, 9);
}

static void pack_head(struct conn *c, unsigned int kind, unsigned int n)
{
	char byte = (char)(kind | n);

	append(c, &byte, 1);
}
#define PACK_MAP(c, n)	 pack_head(c, 0x80, n)
#define PACK_ARRAY(c, n) pack_head(c, 0x90, n)

static void pack_str(struct conn *c, const char *s, size_t len)
{
	char head[5] = { (char)0xdb };
	uint32_t be = htobe32((uint32_t)len);

	memcpy(head + 1, &be, 4);
	append(c, head, 5);
	append(c, s, len);
}

struct reader {
	const unsigned char *p, *end;
	bool bad;
};

static uint64_t take_be(struct reader *r, size_t n)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->p) < n) {
		r->bad = true;
		return 0;
	}
	while (n--)
		v = v << 8 | *r->p++;
	return v;
}

/* An unsigned number; *r is bad if there is something else. */
static uint64_t take_u(struct reader *r)
{
	uint64_t b = take_be(r, 1);

	if (b < 0x80)
		return b;
	if (b >= 0xcc && b <= 0xcf)
		return take_be(r, 1u << (b - 0xcc));
	r->bad = true;
	return 0;
}

/* How many elements follow; small: bits of the short form, long_: its 16-bit form (32: the next). */
static uint64_t take_count(struct reader *r, unsigned int small, unsigned int long_)
{
	uint64_t b = take_be(r, 1);

	if ((b & 0xf0) == small)
		return b & 15;
	if (b == long_ || b == long_ + 1)
		return take_be(r, b == long_ ? 2 : 4);
	r->bad = true;
	return 0;
}

static const char *take_str(struct reader *r, size_t *len)
{
	uint64_t b = take_be(r, 1);
	const char *s;

	*len = 0;
	if ((b & 0xe0) == 0xa0)
		*len = b & 31;
	else if (b >= 0xd9 && b <= 0xdb)
		*len = take_be(r, 1u << (b - 0xd9));
	else
		r->bad = true;
	if (*len > (size_t)(r->end - r->p))
		r->bad = true;
	if (r->bad)
		return NULL;
	s = (const char *)r->p;
	r->p += *len;
	return s;
}

/* --- the wire -------------------------------------------------------------------------------- */

static size_t key_name(const struct load *l, const struct request *r, char buf[64])
{
	return (size_t)snprintf(buf, 64, "%s:%d:%u", l->tag, r->owner->id, r->key);
}

#define TEXT_ROOM(l) ((l)->pad + 80)

/* Unique in the whole run: whose, which key, which write. The filler is for size alone. */
static size_t text_of(const struct load *l, const struct request *r, uint64_t version, char buf[])
{
	size_t len = (size_t)snprintf(buf, 80, "%d.%u.%llu", r->owner->id, r->key,
				      (unsigned long long)version);

	if (l->pad > len) {
		memcpy(buf + len, l->filler, l->pad - len);
		len = l->pad;
	}
	return len;
}

static void pack_header(struct conn *c, const struct request *r)
{
	static const uint8_t type[] = {
		[OP_REPLACE] = REPLACE,
		[OP_SELECT] = SELECT,
		[OP_ADD] = UPDATE,
		[OP_DELETE] = DELETE,
	};

	PACK_MAP(c, 2);
	pack_u(c, IPROTO_TYPE);
	pack_u(c, type[r->op]);
	pack_u(c, IPROTO_SYNC);
	pack_u(c, r->tag);
}

static void pack_key(struct load *l, struct conn *c, const struct request *r)
{
	char key[64];

	pack_u(c, IPROTO_KEY);
	PACK_ARRAY(c, 1);
	pack_str(c, key, key_name(l, r, key));
}

static void pack_tuple(struct load *l, struct conn *c, const struct request *r)
{
	char key[64], text[TEXT_ROOM(l)];
	uint64_t version = value_of(r)->state[r->expect].version;

	pack_u(c, IPROTO_TUPLE);
	PACK_ARRAY(c, 4);
	pack_str(c, key, key_name(l, r, key));
	pack_u(c, version);
	pack_u(c, 0);
	pack_str(c, text, text_of(l, r, version, text));
}

static void pack_body(struct load *l, struct conn *c, const struct request *r)
{
	static const uint8_t fields[] = {
		[OP_REPLACE] = 2, [OP_SELECT] = 6, [OP_ADD] = 4, [OP_DELETE] = 3
	};

	PACK_MAP(c, fields[r->op]);
	pack_u(c, IPROTO_SPACE);
	pack_u(c, SPACE);
	if (r->op == OP_REPLACE) {
		pack_tuple(l, c, r);
		return;
	}
	pack_u(c, IPROTO_INDEX);
	pack_u(c, 0);
	pack_key(l, c, r);
	if (r->op == OP_SELECT) {
		pack_u(c, IPROTO_LIMIT);
		pack_u(c, 2);
		pack_u(c, IPROTO_OFFSET);
		pack_u(c, 0);
		pack_u(c, IPROTO_ITERATOR);
		pack_u(c, 0);
	} else if (r->op == OP_ADD) { /* [["+", 2, 1]] */
		pack_u(c, IPROTO_TUPLE);
		PACK_ARRAY(c, 1);
		PACK_ARRAY(c, 3);
		pack_str(c, "+", 1);
		pack_u(c, 2);
		pack_u(c, 1);
	}
}

static void encode(struct load *l, struct conn *c, const struct request *r)
{
	char size[5] = { (char)0xce };
	size_t at = c->out.end;
	uint32_t be;

	append(c, size, sizeof(size));
	pack_header(c, r);
	pack_body(l, c, r);
	be = htobe32((uint32_t)(c->out.end - at - sizeof(size)));
	memcpy(c->out.buf + at + 1, &be, 4);
}

static ssize_t reply_length(struct conn *c, const struct request *r, const char *p, size_t len)
{
	uint32_t be;

	(void)c;
	(void)r;
	if (len < 5)
		return 0;
	memcpy(&be, p + 1, 4);
	if ((unsigned char)*p != 0xce || be32toh(be) > 1 << 24)
		return -1;
	return len < 5 + (size_t)be32toh(be) ? 0 : 5 + (ssize_t)be32toh(be);
}

/* --- replies --------------------------------------------------------------------------------- */

static void take_tuple(const struct load *l, const struct request *r, struct reader *in,
		       struct state *s)
{
	char want[TEXT_ROOM(l)];
	size_t len;
	const char *text;

	in->bad |= take_count(in, 0x90, 0xdc) != 4;
	text = take_str(in, &len);
	in->bad |= in->bad || len != key_name(l, r, want) || memcmp(text, want, len);
	s->version = take_u(in);
	s->counter = take_u(in);
	text = take_str(in, &len);
	in->bad |= in->bad || len != text_of(l, r, s->version, want) || memcmp(text, want, len);
	s->there = !in->bad;
}

/* What a reply says of its key; false: it is none to this request. */
static bool parse_reply(const struct load *l, const struct request *r, const char *p, size_t len,
			struct state *s)
{
	struct reader in = { (const unsigned char *)p + 5, (const unsigned char *)p + len, false };
	uint64_t n = take_count(&in, 0x80, 0xde), key, value;

	memset(s, 0, sizeof(*s));
	while (n-- && !in.bad) {
		key = take_u(&in);
		value = take_u(&in);
		in.bad |= (key == IPROTO_TYPE && value) || (key == IPROTO_SYNC && value != r->tag);
	}
	in.bad |= take_count(&in, 0x80, 0xde) != 1 || take_u(&in) != IPROTO_DATA;
	n = take_count(&in, 0x90, 0xdc);
	in.bad |= n > 1;
	if (n && !in.bad)
		take_tuple(l, r, &in, s);
	return !in.bad && in.p == in.end;
}

static bool same(const struct state *a, const struct state *b)
{
	if (!a->there || !b->there)
		return a->there == b->there;
	return a->version == b->version && a->counter == b->counter;
}

static void contradict(struct load *l, const struct request *r, const struct state *s)
{
	char key[64];

	l->contradicted++;
	key_name(l, r, key);
	problem(l,
		"connection %d: operation %u on %s, write %llu: answer %s, version %llu, counter %llu",
		r->owner->id, r->op, key, (unsigned long long)r->expect,
		s->there ? "there" : "none", (unsigned long long)s->version,
		(unsigned long long)s->counter);
}

static void check(struct load *l, struct conn *c, struct request *r, const char *p, size_t len)
{
	struct value *v = value_of(r);
	struct state s;

	(void)c;
	if (!parse_reply(l, r, p, len, &s) || !same(&s, &v->state[r->several[0]])) {
		contradict(l, r, &s);
		return;
	}
	if (r->op == OP_SELECT)
		return;
	if (r->expect > v->acked)
		v->acked = r->expect;
	l->writes++;
}

/* After the load: what was acknowledged, or any later write that nobody answered any more. */
static void check_final(struct load *l, struct conn *c, struct request *r, const char *p,
			size_t len)
{
	struct value *v = value_of(r);
	struct state s;
	int64_t n;
	char key[64];

	(void)c;
	r->expect = v->acked;
	if (!parse_reply(l, r, p, len, &s)) {
		contradict(l, r, &s);
		return;
	}
	for (n = (int64_t)v->sent; n >= 0 && !same(&s, &v->state[n]); n--)
		;
	if (n < 0) {
		contradict(l, r, &s);
	} else if ((uint64_t)n < v->acked && !v->lost) {
		v->lost = true;
		l->lost++;
		key_name(l, r, key);
		problem(l, "lost: %s is at write %lld, acknowledged was %llu", key, (long long)n,
			(unsigned long long)v->acked);
	}
}

static uint64_t unseen(const struct load *l, const struct conn *c)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < l->keys; i++)
		n += c->m->keys[i].acked && !c->m->keys[i].lost;
	return n;
}

int main(int argc, char **argv)
{
	static const struct protocol tarantool = {
		.name = "tarantool",
		.port = "3301",
		.mix = "REPLACE,SELECT,UPDATE,DELETE",
		.ops = OPS,
		.weight = { 3, 3, 3, 1 },
		.greeting = GREETING,
		.start = start_model,
		.request = make_request,
		.read = make_read,
		.encode = encode,
		.length = reply_length,
		.check = check,
		.check_final = check_final,
		.unseen = unseen,
	};

	return client_main(&tarantool, argc, argv);
}
