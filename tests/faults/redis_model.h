/* SPDX-License-Identifier: MIT */
/*
 * The model of redis_load: what was sent, what was acknowledged, and so what each reply must be.
 * Apart from the client's event loop, which knows nothing of redis but where a reply ends.
 */
#ifndef RRC_TESTS_REDIS_MODEL_H
#define RRC_TESTS_REDIS_MODEL_H

#include "load.h"

enum op {
	OP_SET,
	OP_GET,
	OP_INCR,
	OP_LPUSH,
	OPS,
	OP_READ_COUNTER = OPS,
	OP_READ_LIST
};

#define LIST_LEN     200 /* elements, then the next list begins */
#define VERIFY_DEPTH 16

struct value {
	uint64_t sent,
		acked; /* of a string: number of its last SET; of a counter or list: how many */
	int64_t shift; /* by how much replies are off since the last contradiction */
	bool lost; /* counted already */
};

struct request {
	struct conn *owner; /* whose key it is */
	enum op op;
	uint32_t key;
	uint64_t expect;
	uint64_t sent_ns;
};

struct conn {
	int id, fd;
	bool connected, dead, polling_out;
	struct value *strings, *counters, *lists;
	uint32_t nlists, next_string;
	uint64_t seq;
	struct request *ring; /* requests without a reply */
	uint32_t head, inflight;
	struct gap gap;
	struct {
		char *buf;
		size_t start, end, size;
	} in, out;
	bool heard; /* it has had a reply */
	uint32_t cursor; /* in verification: what to read next */
};

enum phase {
	LOAD,
	READ_SAME,
	READ_FRESH
};

struct load {
	const char *host, *port;
	int connections;
	uint32_t depth, keys, ring;
	double seconds, tail, patience, progress;
	uint64_t limit, rate, seed;
	unsigned int weight[OPS], weights, pad;
	bool json;

	char tag[12];
	char *filler;
	int epfd, sigfd;
	struct conn *conn; /* [connections], and one more: the fresh one */
	enum phase phase;
	bool stop;
	int running; /* connections that have had a reply */
	uint32_t turn, fresh_owner;
	uint64_t start, last_reply, mark, next_progress;
	uint64_t inflight; /* of all connections */
	uint64_t issued, acked, acked_before, writes;
	uint64_t lost, contradicted, reset, stalled;
	bool fresh_failed;
	double elapsed;
	struct gap gap;
	struct hist hist;
	char problem[256]; /* the first one, in words */
};

__attribute__((format(printf, 2, 3))) static void problem(struct load *l, const char *fmt, ...)
{
	va_list ap;

	if (l->problem[0])
		return;
	va_start(ap, fmt);
	vsnprintf(l->problem, sizeof(l->problem), fmt, ap);
	va_end(ap);
}

/* --- sending ------------------------------------------------------------------------------- */

static void append(struct conn *c, const char *data, size_t len)
{
	if (c->out.end + len > c->out.size) {
		c->out.size = (c->out.end + len) * 2;
		c->out.buf = must(realloc(c->out.buf, c->out.size));
	}
	memcpy(c->out.buf + c->out.end, data, len);
	c->out.end += len;
}

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
		append_bulk(c, val, value_text(l, r, r->owner->strings[r->key].sent, val));
	else if (r->op == OP_LPUSH)
		append_bulk(c, val, value_text(l, r, r->expect, val));
	else if (r->op == OP_READ_LIST)
		append(c, all, sizeof(all) - 1);
}

static enum op choose_op(struct load *l)
{
	unsigned int x = (unsigned int)(rnd(&l->seed) % l->weights);
	int op = 0;

	while (x >= l->weight[op])
		x -= l->weight[op++];
	return (enum op)op;
}

static void next_list(struct conn *c)
{
	c->lists = must(realloc(c->lists, (c->nlists + 1) * sizeof(*c->lists)));
	c->lists[c->nlists++] = (struct value){ 0 };
}

/* Fills *r with the next request of the load and moves the model to the state after it. */
static void make_request(struct load *l, struct conn *c, struct request *r)
{
	*r = (struct request){ .owner = c, .op = choose_op(l) };
	switch (r->op) {
	case OP_SET: /* in turn, so that what was written last stays readable for longest */
		r->key = c->next_string++ % l->keys;
		r->expect = c->strings[r->key].sent = ++c->seq;
		break;
	case OP_GET:
		r->key = (uint32_t)(rnd(&l->seed) % l->keys);
		r->expect = c->strings[r->key].sent;
		break;
	case OP_INCR:
		r->key = (uint32_t)(rnd(&l->seed) % l->keys);
		r->expect = ++c->counters[r->key].sent;
		break;
	default:
		if (!c->nlists || c->lists[c->nlists - 1].sent == LIST_LEN)
			next_list(c);
		r->key = c->nlists - 1;
		r->expect = ++c->lists[r->key].sent;
	}
}

/* The next thing of owner's to read back; false when there is none. */
static bool make_read(struct load *l, struct conn *reader, struct conn *owner, struct request *r)
{
	uint32_t i;

	for (; (i = reader->cursor) < 2 * l->keys + owner->nlists; reader->cursor++) {
		*r = (struct request){ .owner = owner, .key = i };
		if (i < l->keys) {
			r->op = OP_GET;
			r->expect = owner->strings[i].sent;
		} else if (i < 2 * l->keys) {
			r->op = OP_READ_COUNTER;
			r->key -= l->keys;
			r->expect = owner->counters[r->key].sent;
		} else {
			r->op = OP_READ_LIST;
			r->key -= 2 * l->keys;
			r->expect = owner->lists[r->key].sent;
		}
		if (r->expect) {
			reader->cursor++;
			return true;
		}
	}
	return false;
}

/* The time at which the load may send request number issued; 0: now. */
static uint64_t next_slot(const struct load *l)
{
	return l->rate ? l->start + l->issued * NS / l->rate : 0;
}

static bool next_request(struct load *l, struct conn *c, uint64_t now, struct request *r)
{
	switch (l->phase) {
	case LOAD:
		if (l->stop || (l->limit && l->issued >= l->limit) || next_slot(l) > now)
			return false;
		make_request(l, c, r);
		l->issued++;
		return true;
	case READ_SAME:
		return make_read(l, c, c, r);
	default:
		while (l->fresh_owner < (uint32_t)l->connections) {
			if (make_read(l, c, &l->conn[l->fresh_owner], r))
				return true;
			l->fresh_owner++;
			c->cursor = 0;
		}
		return false;
	}
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
	struct value *v = &r->owner->lists[r->key];
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

static void check_final(struct load *l, const struct request *r, const char *p, size_t len)
{
	struct value *v;
	int64_t n;

	if (r->op == OP_READ_LIST) {
		check_list(l, r, p, len);
		return;
	}
	if (r->op == OP_GET) {
		v = &r->owner->strings[r->key];
		n = value_number(l, r, p, len);
	} else {
		v = &r->owner->counters[r->key];
		n = *p != '$' ? -1 : p[1] == '-' ? 0 : atoll((char *)memchr(p, '\n', len) + 1);
	}
	if (n < 0 || (uint64_t)n > v->sent)
		contradict(l, r, p, len);
	else if ((uint64_t)n < v->acked)
		lose_value(l, r, v, (uint64_t)n);
}

/* A reply during the load: exactly one is right. After a wrong count the next ones are compared
 * with what follows from it, so that one fault counts once. */
static void check_reply(struct load *l, const struct request *r, const char *p, size_t len)
{
	struct conn *c = r->owner;
	struct value *v;
	int64_t n;

	switch (r->op) {
	case OP_SET:
		if (len == 5 && !memcmp(p, "+OK\r\n", 5)) {
			c->strings[r->key].acked = r->expect;
			l->writes++;
			return;
		}
		break;
	case OP_GET:
		if (value_number(l, r, p, len) == (int64_t)r->expect)
			return;
		break;
	default:
		v = r->op == OP_INCR ? &c->counters[r->key] : &c->lists[r->key];
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

#endif
