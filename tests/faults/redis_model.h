/* SPDX-License-Identifier: MIT */
/*
 * The model of redis_load: what was sent, what was acknowledged, and so what each reply must be.
 * Apart from the client's event loop, which knows nothing of redis but where a reply ends.
 */
#ifndef RRC_TESTS_REDIS_MODEL_H
#define RRC_TESTS_REDIS_MODEL_H

#include "client.h"

enum op {
	OP_SET,
	OP_GET,
	OP_INCR,
	OP_LPUSH,
	OPS,
	OP_READ_COUNTER = OPS,
	OP_READ_LIST
};

#define LIST_LEN 200 /* elements, then the next list begins */

struct value {
	uint64_t sent,
		acked; /* of a string: number of its last SET; of a counter or list: how many */
	int64_t shift; /* by how much replies are off since the last contradiction */
	bool lost; /* counted already */
};

/* What a connection did to its keys. */
struct model {
	struct value *strings, *counters, *lists;
	uint32_t nlists, next_string;
	uint64_t seq;
};

/* --- sending ------------------------------------------------------------------------------- */

static void append_bulk(struct conn *c, const char *text, size_t len)
{
	char head[24];

	append(c, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", len));
	append(c, text, len);
	append(c, "\r\n", 2);
}

static size_t key_name(const struct load *l, const struct request *r, char buf[64])
{
	static const char kind[] = { 's', 's', 'n', 'l', 'n', 'l' };

	return (size_t)snprintf(buf, 64, "%s:%c:%d:%u", l->tag, kind[r->op], r->owner->id, r->key);
}

/* Unique in the whole run: whose, which key, which write. The filler is for size alone. */
static size_t value_text(const struct load *l, const struct request *r, uint64_t n, char buf[])
{
	int len = snprintf(buf, 80, "%d.%u.%llu", r->owner->id, r->key, (unsigned long long)n);

	if (l->pad > (unsigned int)len) {
		memcpy(buf + len, l->filler, l->pad - (unsigned int)len);
		return l->pad;
	}
	return (size_t)len;
}

static void encode(struct load *l, struct conn *c, const struct request *r)
{
	static const char *const verb[] = {
		"*3\r\n$3\r\nSET\r\n",	 "*2\r\n$3\r\nGET\r\n", "*2\r\n$4\r\nINCR\r\n",
		"*3\r\n$5\r\nLPUSH\r\n", "*2\r\n$3\r\nGET\r\n", "*4\r\n$6\r\nLRANGE\r\n",
	};
	static const char all[] = "$1\r\n0\r\n$2\r\n-1\r\n";
	char key[64], val[l->pad + 80];

	append(c, verb[r->op], strlen(verb[r->op]));
	append_bulk(c, key, key_name(l, r, key));
	if (r->op == OP_SET)
		append_bulk(c, val, value_text(l, r, r->owner->m->strings[r->key].sent, val));
	else if (r->op == OP_LPUSH)
		append_bulk(c, val, value_text(l, r, r->expect, val));
	else if (r->op == OP_READ_LIST)
		append(c, all, sizeof(all) - 1);
}

static void next_list(struct conn *c)
{
	c->m->lists = must(realloc(c->m->lists, (c->m->nlists + 1) * sizeof(*c->m->lists)));
	c->m->lists[c->m->nlists++] = (struct value){ 0 };
}

static void make_request(struct load *l, struct conn *c, struct request *r)
{
	switch (r->op) {
	case OP_SET: /* in turn, so that what was written last stays readable for longest */
		r->key = c->m->next_string++ % l->keys;
		r->expect = c->m->strings[r->key].sent = ++c->m->seq;
		break;
	case OP_GET:
		r->key = (uint32_t)(rnd(&l->seed) % l->keys);
		r->expect = c->m->strings[r->key].sent;
		break;
	case OP_INCR:
		r->key = (uint32_t)(rnd(&l->seed) % l->keys);
		r->expect = ++c->m->counters[r->key].sent;
		break;
	default:
		if (!c->m->nlists || c->m->lists[c->m->nlists - 1].sent == LIST_LEN)
			next_list(c);
		r->key = c->m->nlists - 1;
		r->expect = ++c->m->lists[r->key].sent;
	}
}

static bool make_read(struct load *l, struct conn *reader, struct conn *owner, struct request *r)
{
	uint32_t i;

	for (; (i = reader->cursor) < 2 * l->keys + owner->m->nlists; reader->cursor++) {
		*r = (struct request){ .owner = owner, .key = i };
		if (i < l->keys) {
			r->op = OP_GET;
			r->expect = owner->m->strings[i].sent;
		} else if (i < 2 * l->keys) {
			r->op = OP_READ_COUNTER;
			r->key -= l->keys;
			r->expect = owner->m->counters[r->key].sent;
		} else {
			r->op = OP_READ_LIST;
			r->key -= 2 * l->keys;
			r->expect = owner->m->lists[r->key].sent;
		}
		if (r->expect) {
			reader->cursor++;
			return true;
		}
	}
	return false;
}

/* --- replies ------------------------------------------------------------------------------- */

/* Length of the reply that starts at p, 0 while it is not whole, -1 when it is none. */
static ssize_t reply_length(const char *p, size_t len)
{
	const char *nl = len ? memchr(p, '\n', len) : NULL;
	ssize_t used, part;
	long n;

	if (!nl)
		return 0;
	used = nl - p + 1;
	if (*p == '+' || *p == '-' || *p == ':')
		return used;
	n = strtol(p + 1, NULL, 10);
	if (*p == '$')
		return n < 0 ? used : (size_t)used + (size_t)n + 2 <= len ? used + n + 2 : 0;
	if (*p != '*')
		return -1;
	for (; n > 0; n--) {
		part = reply_length(p + used, len - (size_t)used);
		if (part <= 0)
			return part;
		used += part;
	}
	return used;
}

static void contradict(struct load *l, const struct request *r, const char *p, size_t len)
{
	char key[64];

	l->contradicted++;
	key_name(l, r, key);
	while (len && (p[len - 1] == '\n' || p[len - 1] == '\r'))
		len--;
	problem(l, "connection %d: %s expected number %llu, answer '%.*s'", r->owner->id, key,
		(unsigned long long)r->expect, (int)(len > 60 ? 60 : len), p);
}

static void lose_value(struct load *l, const struct request *r, struct value *v, uint64_t found)
{
	char key[64];

	if (v->lost)
		return;
	v->lost = true;
	l->lost += r->op == OP_GET ? 1 : v->acked - found;
	key_name(l, r, key);
	problem(l, "lost: %s is at number %llu, acknowledged was %llu", key,
		(unsigned long long)found, (unsigned long long)v->acked);
}

/* The number in a bulk reply that holds a value of ours: 0 for nil, -1 for anything else. */
static int64_t value_number(struct load *l, const struct request *r, const char *p, size_t len)
{
	char want[l->pad + 80];
	unsigned long long n;
	const char *text;
	size_t size;
	unsigned int key;
	int id;

	if (len >= 5 && !memcmp(p, "$-1\r\n", 5))
		return 0;
	text = memchr(p, '\n', len);
	if (*p != '$' || !text++ || sscanf(text, "%d.%u.%llu", &id, &key, &n) != 3)
		return -1;
	size = value_text(l, r, n, want);
	if (len - (size_t)(text - p) != size + 2 || memcmp(text, want, size))
		return -1;
	return (int64_t)n;
}

/* A list read back, newest first: what was acknowledged must be there, each once and in order. */
static void check_list(struct load *l, const struct request *r, const char *p, size_t len)
{
	struct value *v = &r->owner->m->lists[r->key];
	long n = strtol(p + 1, NULL, 10), i;
	size_t at = (size_t)((const char *)memchr(p, '\n', len) - p) + 1, part;
	uint64_t found = 0;
	int64_t number, before = INT64_MAX;
	bool odd = *p != '*' || (uint64_t)n > v->sent;

	for (i = 0; i < n && !odd; i++, at += part) {
		part = (size_t)reply_length(p + at, len - at);
		number = value_number(l, r, p + at, part);
		odd = number <= 0 || number >= before || (uint64_t)number > v->sent;
		before = number;
		found += (uint64_t)number <= v->acked;
	}
	if (odd)
		contradict(l, r, p, len);
	else if (found < v->acked)
		lose_value(l, r, v, found);
}

static void check_final(struct load *l, __attribute__((unused)) struct conn *reader,
			struct request *r, const char *p, size_t len)
{
	struct value *v;
	int64_t n;

	if (r->op == OP_READ_LIST) {
		check_list(l, r, p, len);
		return;
	}
	if (r->op == OP_GET) {
		v = &r->owner->m->strings[r->key];
		n = value_number(l, r, p, len);
	} else {
		v = &r->owner->m->counters[r->key];
		n = *p != '$' ? -1 : p[1] == '-' ? 0 : atoll((char *)memchr(p, '\n', len) + 1);
	}
	if (n < 0 || (uint64_t)n > v->sent)
		contradict(l, r, p, len);
	else if ((uint64_t)n < v->acked)
		lose_value(l, r, v, (uint64_t)n);
}

/* A reply during the load: exactly one is right. After a wrong count the next ones are compared
 * with what follows from it, so that one fault counts once. */
static void check_reply(struct load *l, __attribute__((unused)) struct conn *reader,
			struct request *r, const char *p, size_t len)
{
	struct conn *c = r->owner;
	struct value *v;
	int64_t n;

	switch (r->op) {
	case OP_SET:
		if (len == 5 && !memcmp(p, "+OK\r\n", 5)) {
			c->m->strings[r->key].acked = r->expect;
			l->writes++;
			return;
		}
		break;
	case OP_GET:
		if (value_number(l, r, p, len) == (int64_t)r->expect)
			return;
		break;
	default:
		v = r->op == OP_INCR ? &c->m->counters[r->key] : &c->m->lists[r->key];
		if (*p != ':')
			break;
		n = atoll(p + 1);
		v->acked++;
		l->writes++;
		if (n == (int64_t)r->expect + v->shift)
			return;
		v->shift = n - (int64_t)r->expect;
	}
	contradict(l, r, p, len);
}

static void start_model(struct load *l, struct conn *c)
{
	c->m = must(calloc(1, sizeof(*c->m)));
	c->m->strings = must(calloc(l->keys, sizeof(*c->m->strings)));
	c->m->counters = must(calloc(l->keys, sizeof(*c->m->counters)));
}

static uint64_t unseen(const struct load *l, const struct conn *c)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < l->keys; i++) {
		n += !c->m->strings[i].lost && c->m->strings[i].acked;
		n += c->m->counters[i].lost ? 0 : c->m->counters[i].acked;
	}
	for (i = 0; i < c->m->nlists; i++)
		n += c->m->lists[i].lost ? 0 : c->m->lists[i].acked;
	return n;
}

static ssize_t next_reply(struct conn *c, const struct request *r, const char *p, size_t len)
{
	(void)c;
	(void)r;
	return reply_length(p, len);
}

#endif
