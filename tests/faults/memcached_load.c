// SPDX-License-Identifier: MIT
/*
 * Load for memcached by a client that knows what every reply must be, over its text and its binary
 * protocol. Each connection owns its keys and is answered in order, whatever thread serves it.
 */
#include "client_loop.h"
#include "memcached_model.h"

#include <endian.h>

#define EXPIRES 100000 /* seconds, for a touch: later than any run ends */

/* --- the text protocol ----------------------------------------------------------------------- */

static void append_key(struct load *l, struct conn *c, const struct request *r, uint32_t key)
{
	char name[64];

	append(c, name, key_name(l, r, key, name));
}

__attribute__((format(printf, 2, 3))) static void append_text(struct conn *c, const char *fmt, ...)
{
	char buf[128];
	va_list ap;

	va_start(ap, fmt);
	append(c, buf, (size_t)vsnprintf(buf, sizeof(buf), fmt, ap));
	va_end(ap);
}

/* What a request writes; returns its length. */
static size_t payload(struct load *l, const struct request *r, char buf[])
{
	if (r->op == OP_ADD)
		return (size_t)sprintf(buf, "%d", FIRST_NUMBER);
	if (r->op == OP_APPEND)
		return (size_t)sprintf(buf, ";%llu", (unsigned long long)r->expect);
	if (r->op == OP_CAS && !r->expect)
		return (size_t)sprintf(buf, "must not be stored");
	return content(l, r, r->key, r->expect, buf);
}

static int64_t delta(const struct request *r)
{
	const int64_t *n = &value_of(r)->number[r->expect];

	return llabs(n[0] - n[-1]);
}

static const char *const verb[] = {
	[OP_SET] = "set ",     [OP_GET] = "get",	[OP_INCR] = "incr ",
	[OP_DECR] = "decr ",   [OP_APPEND] = "append ", [OP_DELETE] = "delete ",
	[OP_TOUCH] = "touch ", [OP_CAS] = "cas ",	[OP_MGET] = "get",
	[OP_GETS] = "gets",    [OP_ADD] = "add ",	[OP_READ_COUNTER] = "get",
};

static void encode_text(struct load *l, struct conn *c, const struct request *r)
{
	char data[CONTENT_ROOM(l)];
	size_t len;
	uint32_t i;

	append(c, verb[r->op], strlen(verb[r->op]));
	if (r->outcome == VALUES) {
		for (i = 0; i < r->n; i++) {
			append(c, " ", 1);
			append_key(l, c, r, (r->key + i) % l->keys);
		}
		append(c, "\r\n", 2);
		return;
	}
	append_key(l, c, r, r->key);
	if (r->op == OP_DELETE) {
		append(c, "\r\n", 2);
	} else if (r->op == OP_TOUCH) {
		append_text(c, " %d\r\n", EXPIRES);
	} else if (r->op == OP_INCR || r->op == OP_DECR) {
		append_text(c, " %lld\r\n", (long long)delta(r));
	} else {
		len = payload(l, r, data);
		append_text(c, " 0 0 %zu", len);
		if (r->op == OP_CAS)
			append_text(c, " %llu", (unsigned long long)r->several[0]);
		append(c, "\r\n", 2);
		append(c, data, len);
		append(c, "\r\n", 2);
	}
}

/* The item that a VALUE line at p begins; NULL when there is none. *size: with its data. */
static const char *text_item(const char *p, size_t len, struct item *item, size_t *size)
{
	const char *nl = memchr(p, '\n', len);
	char line[160];
	int key_end = 0;
	unsigned long long cas = 0;

	if (!nl || (size_t)(nl - p) >= sizeof(line) || memcmp(p, "VALUE ", 6))
		return NULL;
	memcpy(line, p, (size_t)(nl - p));
	line[nl - p] = 0;
	if (sscanf(line, "VALUE %*s%n %*u %zu %llu", &key_end, &item->len, &cas) < 1 ||
	    item->len > 1 << 20)
		return NULL;
	item->key = p + 6;
	item->key_len = (size_t)key_end - 6;
	item->data = nl + 1;
	item->cas = cas;
	*size = (size_t)(nl + 1 - p) + item->len + 2;
	return item->data;
}

static ssize_t text_length(const char *p, size_t len)
{
	size_t used = 0, size;
	struct item item;
	const char *nl;

	for (;;) {
		nl = memchr(p + used, '\n', len - used);
		if (!nl)
			return 0;
		if (len - used < 6 || memcmp(p + used, "VALUE ", 6))
			return nl + 1 - p;
		if (!text_item(p + used, len - used, &item, &size))
			return -1;
		used += size;
		if (used >= len)
			return 0;
	}
}

static void parse_text(const char *p, size_t len, struct answer *a)
{
	static const struct {
		const char *line;
		enum outcome outcome;
	} lines[] = {
		{ "STORED\r\n", STORED },   { "NOT_STORED\r\n", NOT_STORED },
		{ "EXISTS\r\n", EXISTS },   { "NOT_FOUND\r\n", NOT_FOUND },
		{ "DELETED\r\n", DELETED }, { "TOUCHED\r\n", TOUCHED },
		{ "END\r\n", VALUES },
	};
	size_t i, size;

	*a = (struct answer){ .outcome = ODD };
	for (; a->items < MAX_SEVERAL && text_item(p, len, &a->item[a->items], &size); a->items++) {
		p += size;
		len -= size;
	}
	if (*p >= '0' && *p <= '9' && !a->items) {
		a->outcome = NUMBER;
		a->number = strtoull(p, NULL, 10);
	}
	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		if (len == strlen(lines[i].line) && !memcmp(p, lines[i].line, len) &&
		    (!a->items || lines[i].outcome == VALUES))
			a->outcome = lines[i].outcome;
}

/* --- the binary protocol --------------------------------------------------------------------- */

struct header {
	uint8_t magic, opcode;
	uint16_t key_len;
	uint8_t extras_len, type;
	uint16_t status;
	uint32_t body_len, opaque;
	uint64_t cas;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 24, "header of the binary protocol");

enum {
	NOOP = 0x0a,
	GETK = 0x0c,
	GETKQ = 0x0d
};

static const uint8_t opcode[] = {
	[OP_SET] = 1,	   [OP_GET] = GETK,  [OP_INCR] = 5,   [OP_DECR] = 6,
	[OP_APPEND] = 14,  [OP_DELETE] = 4,  [OP_TOUCH] = 28, [OP_CAS] = 1,
	[OP_MGET] = GETKQ, [OP_GETS] = GETK, [OP_ADD] = 2,    [OP_READ_COUNTER] = GETK,
};

struct body {
	const void *extras, *data;
	uint8_t extras_len;
	size_t data_len;
};

static void append_binary(struct load *l, struct conn *c, const struct request *r, uint8_t op,
			  uint32_t key, const struct body *b)
{
	char name[64];
	size_t key_len = op == NOOP ? 0 : key_name(l, r, key, name);
	struct header h = {
		.magic = 0x80,
		.opcode = op,
		.key_len = htobe16((uint16_t)key_len),
		.extras_len = b->extras_len,
		.body_len = htobe32((uint32_t)(b->extras_len + key_len + b->data_len)),
		.opaque = htobe32(r->tag),
		.cas = r->op == OP_CAS ? htobe64(r->several[0]) : 0,
	};

	append(c, (char *)&h, sizeof(h));
	if (b->extras_len)
		append(c, b->extras, b->extras_len);
	append(c, name, key_len);
	if (b->data_len)
		append(c, b->data, b->data_len);
}

static void encode_binary(struct load *l, struct conn *c, const struct request *r)
{
	char data[CONTENT_ROOM(l)];
	struct {
		uint64_t delta, initial;
		uint32_t expires;
	} __attribute__((packed)) count = { .expires = 0xffffffff }; /* do not create */
	const uint32_t store[2] = { 0, 0 }, touch = htobe32(EXPIRES);
	struct body b = { 0 };
	uint32_t i;

	if (r->op == OP_INCR || r->op == OP_DECR) {
		count.delta = htobe64((uint64_t)delta(r));
		b = (struct body){ .extras = &count, .extras_len = sizeof(count) };
	} else if (r->op == OP_TOUCH) {
		b = (struct body){ .extras = &touch, .extras_len = sizeof(touch) };
	} else if (r->op != OP_DELETE && r->outcome != VALUES) {
		b.data = data;
		b.data_len = payload(l, r, data);
		b.extras = store;
		b.extras_len = r->op == OP_APPEND ? 0 : sizeof(store);
	}
	for (i = 0; i < (r->op == OP_MGET ? r->n : 1); i++)
		append_binary(l, c, r, opcode[r->op], (r->key + i) % l->keys, &b);
	if (r->op == OP_MGET) /* misses are silent: this tells where it ends */
		append_binary(l, c, r, NOOP, 0, &b);
}

static ssize_t binary_length(const struct request *r, const char *p, size_t len)
{
	size_t used = 0;
	struct header h;

	do {
		if (len - used < sizeof(h))
			return 0;
		memcpy(&h, p + used, sizeof(h));
		used += sizeof(h) + be32toh(h.body_len);
		if (h.magic != 0x81 || be32toh(h.body_len) > 1 << 20)
			return -1;
		if (used > len)
			return 0;
	} while (r && r->op == OP_MGET && h.opcode != NOOP);
	return (ssize_t)used;
}

static void binary_item(const struct header *h, const char *body, struct answer *a)
{
	size_t head = h->extras_len + be16toh(h->key_len);
	struct item *item = &a->item[a->items++];

	item->key = body + h->extras_len;
	item->key_len = be16toh(h->key_len);
	item->data = body + head;
	item->len = be32toh(h->body_len) - head;
	item->cas = be64toh(h->cas);
}

static void parse_binary(const struct request *r, const char *p, size_t len, struct answer *a)
{
	static const enum outcome failed[] = { ODD, NOT_FOUND, EXISTS, ODD, ODD, NOT_STORED };
	size_t used;
	struct header h;
	uint16_t status;

	*a = (struct answer){ .outcome = ODD };
	for (used = 0; used < len; used += sizeof(h) + be32toh(h.body_len)) {
		memcpy(&h, p + used, sizeof(h));
		status = be16toh(h.status);
		if (be32toh(h.opaque) != r->tag ||
		    h.extras_len + be16toh(h.key_len) > be32toh(h.body_len))
			return;
		if (h.opcode == NOOP)
			continue;
		if (h.opcode != opcode[r->op] || a->items == MAX_SEVERAL)
			return;
		if (status) {
			a->outcome = status < 6 ? failed[status] : ODD;
			if (a->outcome == NOT_FOUND && r->outcome == VALUES)
				a->outcome = VALUES;
			return;
		}
		if (r->outcome == VALUES)
			binary_item(&h, p + used + sizeof(h), a);
	}
	/* A success says no more than that it is one. */
	a->outcome = r->op == OP_INCR || r->op == OP_DECR ? NUMBER
		     : r->outcome == VALUES		  ? VALUES
		     : r->op == OP_DELETE		  ? DELETED
		     : r->op == OP_TOUCH		  ? TOUCHED
							  : STORED;
	if (a->outcome == NUMBER && len == sizeof(h) + 8) {
		memcpy(&a->number, p + sizeof(h), 8);
		a->number = be64toh(a->number);
	}
}

/* --- both ------------------------------------------------------------------------------------ */

static void encode(struct load *l, struct conn *c, const struct request *r)
{
	(c->m->binary ? encode_binary : encode_text)(l, c, r);
}

static ssize_t reply_length(struct conn *c, const struct request *r, const char *p, size_t len)
{
	return c->m->binary ? binary_length(r, p, len) : text_length(p, len);
}

static void parse_reply(struct conn *c, const struct request *r, const char *p, size_t len,
			struct answer *a)
{
	if (c->m->binary)
		parse_binary(r, p, len, a);
	else
		parse_text(p, len, a);
}

static void check(struct load *l, struct conn *c, struct request *r, const char *p, size_t len)
{
	struct answer a;

	parse_reply(c, r, p, len, &a);
	check_answer(l, r, &a);
}

static void check_final(struct load *l, struct conn *c, struct request *r, const char *p,
			size_t len)
{
	struct answer a;

	parse_reply(c, r, p, len, &a);
	check_last(l, r, &a);
}

int main(int argc, char **argv)
{
	static const struct protocol memcached = {
		.name = "memcached",
		.port = "11211",
		.mix = "SET,GET,INCR,DECR,APPEND,DELETE,TOUCH,CAS,MGET",
		.variants = "both|binary|text",
		.ops = OPS,
		.weight = { 3, 3, 2, 1, 2, 1, 1, 2, 2 },
		.start = start_model,
		.request = make_request,
		.read = make_read,
		.encode = encode,
		.length = reply_length,
		.check = check,
		.check_final = check_final,
		.unseen = unseen,
	};

	return client_main(&memcached, argc, argv);
}
