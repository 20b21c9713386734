/* SPDX-License-Identifier: MIT */
/*
 * The model of memcached_load: every key has versions, one for each write; the contents of a version
 * follow from its number and the kinds of the writes, so any answer is either the one that is due,
 * an older one, or none that ever was.
 * How they look on the wire is in memcached_load.c.
 */
#ifndef RRC_TESTS_MEMCACHED_MODEL_H
#define RRC_TESTS_MEMCACHED_MODEL_H

#include "client.h"

enum op {
	OP_SET,
	OP_GET,
	OP_INCR,
	OP_DECR,
	OP_APPEND,
	OP_DELETE,
	OP_TOUCH,
	OP_CAS,
	OP_MGET,
	OPS,
	OP_GETS = OPS, /* what a CAS needs first */
	OP_ADD, /* what a counter begins with */
	OP_READ_COUNTER
};

enum outcome {
	STORED,
	NOT_STORED,
	EXISTS,
	NOT_FOUND,
	DELETED,
	TOUCHED,
	NUMBER,
	VALUES, /* those that are there of what was asked for */
	ODD
};

#define FIRST_NUMBER 1000000 /* seven digits: a number that gets shorter keeps its blanks */
#define MAX_APPENDS  8

struct value {
	uint64_t sent, acked; /* versions; 0 is the absence at the beginning */
	uint64_t room;
	uint8_t *kind; /* [version]: OP_SET, OP_APPEND, OP_DELETE; or of a counter */
	int64_t *number; /* [version], of a counter */
	int64_t shift; /* by how much a counter is off since the last contradiction */
	uint64_t cas, cas_version; /* what a gets has told; 0: nothing */
	bool lost; /* counted already */
};

struct model {
	bool binary;
	struct value *strings, *counters;
	uint32_t next_string, next_tag;
};

struct item {
	const char *key, *data;
	size_t key_len, len;
	uint64_t cas;
};

/* A reply, whichever protocol it came by. */
struct answer {
	enum outcome outcome;
	uint64_t number;
	unsigned int items;
	struct item item[MAX_SEVERAL];
};

static void start_model(struct load *l, struct conn *c)
{
	c->m = must(calloc(1, sizeof(*c->m)));
	/* variants: both, binary, text */
	c->m->binary = l->variant ? l->variant == 1 : c->id % 2;
	c->m->strings = must(calloc(l->keys, sizeof(*c->m->strings)));
	c->m->counters = must(calloc(l->keys, sizeof(*c->m->counters)));
}

static bool is_counter(unsigned int op)
{
	return op == OP_INCR || op == OP_DECR || op == OP_ADD || op == OP_READ_COUNTER;
}

static struct value *value_of(const struct request *r)
{
	return &(is_counter(r->op) ? r->owner->m->counters : r->owner->m->strings)[r->key];
}

static size_t key_name(const struct load *l, const struct request *r, uint32_t key, char buf[64])
{
	return (size_t)snprintf(buf, 64, "%s:%c:%d:%u", l->tag, is_counter(r->op) ? 'n' : 's',
				r->owner->id, key);
}

static bool present(const struct value *v, uint64_t version)
{
	return version && v->kind[version] != OP_DELETE;
}

/* A write is sent: returns its version. */
static uint64_t add_version(struct value *v, unsigned int kind, int64_t number)
{
	uint64_t n = ++v->sent;

	if (n >= v->room) {
		v->room = n * 2 + 16;
		v->kind = must(realloc(v->kind, v->room));
		v->number = must(realloc(v->number, v->room * sizeof(*v->number)));
	}
	v->kind[n] = (uint8_t)kind;
	v->number[n] = number;
	return n;
}

static unsigned int appends(const struct value *v, uint64_t version)
{
	unsigned int n = 0;

	while (v->kind[version - n] == OP_APPEND)
		n++;
	return n;
}

#define CONTENT_ROOM(l) ((l)->pad + 80 + MAX_APPENDS * 24)

/* What a key holds at a version: unique in the whole run, and every write to it can be seen. */
static size_t content(const struct load *l, const struct request *r, uint32_t key, uint64_t version,
		      char buf[])
{
	const struct value *v = &r->owner->m->strings[key];
	unsigned int n = appends(v, version);
	uint64_t base = version - n;
	size_t len = (size_t)snprintf(buf, 80, "%d.%u.%llu", r->owner->id, key,
				      (unsigned long long)base);

	if (l->pad > len) {
		memcpy(buf + len, l->filler, l->pad - len);
		len = l->pad;
	}
	while (base++ < version)
		len += (size_t)snprintf(buf + len, 24, ";%llu", (unsigned long long)base);
	return len;
}

/* --- the next request ------------------------------------------------------------------------ */

static void count(struct request *r)
{
	struct value *v = value_of(r);
	int64_t now;

	if (!v->sent) {
		r->op = OP_ADD;
		r->expect = add_version(v, OP_ADD, FIRST_NUMBER);
		r->outcome = STORED;
		return;
	}
	now = v->number[v->sent];
	now += r->op == OP_DECR ? -1 : 2 + (int64_t)(v->sent % 8);
	r->expect = add_version(v, r->op, now);
	r->outcome = NUMBER;
}

static void compare_and_set(struct load *l, struct request *r, struct value *v)
{
	bool wrong = rnd(&l->seed) % 4 == 0;

	if (!v->cas) {
		r->op = OP_GETS;
		r->n = 1;
		r->several[0] = r->expect = v->sent;
		r->outcome = VALUES;
		return;
	}
	/* Numbers near it are those of other writes. */
	r->several[0] = wrong ? v->cas + (1ull << 40) : v->cas;
	r->expect = 0;
	r->outcome = !present(v, v->sent) ? NOT_FOUND : EXISTS;
	if (r->outcome == EXISTS && !wrong && v->cas_version == v->sent) {
		r->outcome = STORED;
		r->expect = add_version(v, OP_SET, 0);
	}
	v->cas = 0;
}

static void write_string(struct load *l, struct conn *c, struct request *r, struct value *v)
{
	bool there = present(v, v->sent);

	if (r->op == OP_APPEND && there && appends(v, v->sent) == MAX_APPENDS)
		r->op = OP_SET;
	switch (r->op) {
	case OP_SET: /* in turn, so that what was written last stays readable for longest */
		r->key = c->m->next_string++ % l->keys;
		r->expect = add_version(value_of(r), OP_SET, 0);
		r->outcome = STORED;
		return;
	case OP_APPEND:
		r->outcome = there ? STORED : NOT_STORED;
		break;
	case OP_DELETE:
		r->outcome = there ? DELETED : NOT_FOUND;
		break;
	default:
		r->outcome = there ? TOUCHED : NOT_FOUND;
		return;
	}
	r->expect = there ? add_version(v, r->op, 0) : 0;
}

static void make_request(struct load *l, struct conn *c, struct request *r)
{
	struct value *v;
	uint32_t i;

	r->key = (uint32_t)(rnd(&l->seed) % l->keys);
	r->tag = ++c->m->next_tag;
	v = value_of(r);
	if (is_counter(r->op)) {
		count(r);
	} else if (r->op == OP_CAS) {
		compare_and_set(l, r, v);
	} else if (r->op == OP_GET || r->op == OP_MGET) {
		r->outcome = VALUES;
		r->n = r->op == OP_GET ? 1 : 2 + (uint32_t)(rnd(&l->seed) % (MAX_SEVERAL - 1));
		if (r->n > l->keys)
			r->n = l->keys;
		for (i = 0; i < r->n; i++)
			r->several[i] = c->m->strings[(r->key + i) % l->keys].sent;
		r->expect = r->several[0];
	} else {
		write_string(l, c, r, v);
	}
}

static bool make_read(struct load *l, struct conn *reader, struct conn *owner, struct request *r)
{
	uint32_t i;

	while ((i = reader->cursor++) < 2 * l->keys) {
		*r = (struct request){ .owner = owner, .n = 1, .outcome = VALUES };
		r->op = i < l->keys ? OP_GET : OP_READ_COUNTER;
		r->key = i % l->keys;
		r->tag = ++reader->m->next_tag;
		if (value_of(r)->sent)
			return true;
	}
	return false;
}

/* --- answers --------------------------------------------------------------------------------- */

static void contradict(struct load *l, const struct request *r, const char *what)
{
	char key[64];

	l->contradicted++;
	key_name(l, r, r->key, key);
	problem(l, "connection %d: operation %u on %s, version %llu, outcome %u: %s", r->owner->id,
		r->op, key, (unsigned long long)r->expect, r->outcome, what);
}

static bool same_key(const struct load *l, const struct request *r, uint32_t key,
		     const struct item *item)
{
	char name[64];

	return item->key_len == key_name(l, r, key, name) &&
	       !memcmp(item->key, name, item->key_len);
}

/* Exactly the keys that were there when it was asked, each with the version of then. */
static void check_values(struct load *l, const struct request *r, const struct answer *a)
{
	const struct item *item = a->item;
	char want[CONTENT_ROOM(l)];
	struct value *v;
	uint32_t i, key;

	for (i = 0; i < r->n; i++) {
		key = (r->key + i) % l->keys;
		v = &r->owner->m->strings[key];
		if (!present(v, r->several[i]))
			continue;
		if (item == a->item + a->items || !same_key(l, r, key, item)) {
			contradict(l, r, "a key is not there");
			return;
		}
		if (item->len != content(l, r, key, r->several[i], want) ||
		    memcmp(item->data, want, item->len)) {
			contradict(l, r, "a key holds something else");
			return;
		}
		item++;
	}
	if (item != a->item + a->items) {
		contradict(l, r, "a key is there");
	} else if (r->op == OP_GETS && a->items) {
		v = value_of(r);
		v->cas = a->item[0].cas;
		v->cas_version = r->several[0];
	}
}

static void check_answer(struct load *l, struct request *r, const struct answer *a)
{
	struct value *v = value_of(r);
	int64_t off;

	if (a->outcome != r->outcome) {
		contradict(l, r, "another outcome");
		return;
	}
	if (r->outcome == VALUES) {
		check_values(l, r, a);
		return;
	}
	if (!r->expect || r->outcome == TOUCHED)
		return;
	v->acked = r->expect;
	l->writes++;
	if (r->outcome != NUMBER)
		return;
	off = (int64_t)a->number - v->number[r->expect];
	if (off != v->shift)
		contradict(l, r, "another number");
	v->shift = off;
}

/* The version that this value has; -1: none that was ever sent. */
static int64_t find_version(struct load *l, const struct request *r, const struct item *item)
{
	struct value *v = value_of(r);
	char text[CONTENT_ROOM(l)], *at;
	uint64_t n;

	if (item->len >= sizeof(text))
		return -1;
	memcpy(text, item->data, item->len);
	text[item->len] = 0;
	if (r->op == OP_READ_COUNTER) {
		for (n = v->sent; n && v->number[n] != atoll(text); n--)
			;
		return n ? (int64_t)n : -1;
	}
	at = strrchr(text, ';');
	at = at ? at : strrchr(text, '.');
	n = at ? strtoull(at + 1, NULL, 10) : 0;
	if (!n || n > v->sent || !present(v, n) || content(l, r, r->key, n, text) != item->len ||
	    memcmp(text, item->data, item->len))
		return -1;
	return (int64_t)n;
}

/* After the load: what was acknowledged, or any later write that nobody answered any more. */
static void check_last(struct load *l, struct request *r, const struct answer *a)
{
	struct value *v = value_of(r);
	int64_t found = 0;
	uint64_t n;
	char key[64];

	r->expect = v->acked;
	if (a->outcome != VALUES || a->items > 1 ||
	    (a->items && !same_key(l, r, r->key, a->item))) {
		contradict(l, r, "no answer to a get");
		return;
	}
	if (!a->items) {
		for (n = v->acked; n <= v->sent; n++)
			if (!present(v, n))
				return;
	} else {
		found = find_version(l, r, a->item);
	}
	if (found < 0) {
		contradict(l, r, "holds what nobody wrote");
	} else if ((uint64_t)found < v->acked && !v->lost) {
		v->lost = true;
		l->lost++;
		key_name(l, r, r->key, key);
		problem(l, "lost: %s is at version %lld, acknowledged was %llu", key,
			(long long)found, (unsigned long long)v->acked);
	}
}

static uint64_t unseen(const struct load *l, const struct conn *c)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < l->keys; i++) {
		n += c->m->strings[i].acked && !c->m->strings[i].lost;
		n += c->m->counters[i].acked && !c->m->counters[i].lost;
	}
	return n;
}

#endif
