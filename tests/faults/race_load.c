// SPDX-License-Identifier: MIT
/*
 * Load for the racing server. Its answers cannot be known beforehand, but every one must follow from
 * those before it: the server keeps a chain of what it has told each client, and so does the client.
 * A takeover that computed other answers than those acknowledged has another chain for good.
 */
#include "client_loop.h"
#include "race.h"

#include <inttypes.h>

enum op {
	OP_ADD, /* an answer that is no matter of luck */
	OP_RACE,
	OPS,
	OP_GET = OPS
};

struct model {
	uint64_t sent, acked, chain; /* chain: after the acked ones */
	bool off, lost; /* it contradicted itself; counted already */
};

static void start_model(struct load *l, struct conn *c)
{
	if (l->connections > RACE_SLOTS)
		die("the server has %d slots", RACE_SLOTS);
	c->m = must(calloc(1, sizeof(*c->m)));
}

static void make_request(struct load *l, struct conn *c, struct request *r)
{
	(void)l;
	r->expect = ++c->m->sent;
}

static bool make_read(struct load *l, struct conn *reader, struct conn *owner, struct request *r)
{
	(void)l;
	*r = (struct request){ .owner = owner, .op = OP_GET, .expect = owner->m->acked };
	return !reader->cursor++;
}

static void encode(struct load *l, struct conn *c, const struct request *r)
{
	static const char *const verbs[] = {
		[OP_ADD] = "add", [OP_RACE] = "rac", [OP_GET] = "get"
	};
	const char *verb = r->op != OP_GET && r->expect == 1 ? "new" : verbs[r->op];
	char line[32];

	(void)l;
	append(c, line, (size_t)sprintf(line, "%s %d\n", verb, r->owner->id));
}

static ssize_t reply_length(struct conn *c, const struct request *r, const char *p, size_t len)
{
	const char *nl = memchr(p, '\n', len);

	(void)c;
	(void)r;
	return nl ? nl - p + 1 : len > 100 ? -1 : 0;
}

/* The numbers of a reply: how many requests, the value, the chain. */
static bool parse_reply(const char *p, size_t len, uint64_t n[3])
{
	char line[128];

	if (len >= sizeof(line))
		return false;
	memcpy(line, p, len);
	line[len] = 0;
	return sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64, &n[0], &n[1], &n[2]) == 3;
}

/* After a wrong answer the next ones are compared with what follows from it: a fault counts once. */
static void check(struct load *l, struct conn *c, struct request *r, const char *p, size_t len)
{
	struct model *m = c->m;
	uint64_t n[3], want;

	if (!parse_reply(p, len, n)) {
		l->contradicted++;
		problem(l, "connection %d: no answer: '%.*s'", c->id, (int)len - 1, p);
		return;
	}
	m->acked++;
	l->writes++;
	want = race_chain(m->chain, n[1]);
	if ((n[0] != r->expect || n[2] != want) && !m->off) {
		l->contradicted++;
		m->off = true;
		problem(l,
			"connection %d: answer %llu does not follow from those before (it counts %llu)",
			c->id, (unsigned long long)r->expect, (unsigned long long)n[0]);
	}
	m->chain = n[2];
}

static void check_final(struct load *l, struct conn *c, struct request *r, const char *p,
			size_t len)
{
	struct model *m = r->owner->m;
	uint64_t n[3];

	(void)c;
	if (!parse_reply(p, len, n) || n[0] > m->sent ||
	    (n[0] == m->acked && n[2] != m->chain && !m->off)) {
		l->contradicted++;
		problem(l, "slot %d: another chain than what was answered", r->owner->id);
	} else if (n[0] < m->acked && !m->lost) {
		m->lost = true;
		l->lost += m->acked - n[0];
		problem(l, "lost: slot %d has %llu requests, acknowledged were %llu", r->owner->id,
			(unsigned long long)n[0], (unsigned long long)m->acked);
	}
}

static uint64_t unseen(const struct load *l, const struct conn *c)
{
	(void)l;
	return c->m->lost ? 0 : c->m->acked;
}

int main(int argc, char **argv)
{
	static const struct protocol race = {
		.name = "race",
		.port = "7000",
		.mix = "ADD,RACE",
		.ops = OPS,
		.weight = { 1, 1 },
		.start = start_model,
		.request = make_request,
		.read = make_read,
		.encode = encode,
		.length = reply_length,
		.check = check,
		.check_final = check_final,
		.unseen = unseen,
	};

	return client_main(&race, argc, argv);
}
