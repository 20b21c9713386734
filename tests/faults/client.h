/* SPDX-License-Identifier: MIT */
/*
 * What a checked client of a request-reply protocol consists of: connections, the requests without
 * a reply, and the table by which the event loop (client_loop.h) asks the protocol's model. Headers
 * of static functions, since each client is one small program.
 */
#ifndef RRC_TESTS_CLIENT_H
#define RRC_TESTS_CLIENT_H

#include "load.h"

#define VERIFY_DEPTH 16
#define MAX_OPS	     16
#define MAX_SEVERAL  8

struct load;
struct model;

struct request {
	struct conn *owner; /* whose key it is */
	unsigned int op;
	uint32_t key;
	uint64_t expect;
	uint64_t sent_ns;
	uint32_t tag; /* by which the protocol names it, if it does */
	unsigned int outcome; /* what the reply must say, in the protocol's own numbers */
	uint32_t n; /* of several at once: how many */
	uint64_t several[MAX_SEVERAL];
};

struct conn {
	int id, fd;
	bool connected, dead, polling_out;
	struct model *m; /* what the protocol knows of it */
	struct request *ring; /* requests without a reply */
	uint32_t head, inflight;
	struct gap gap;
	struct {
		char *buf;
		size_t start, end, size;
	} in, out;
	size_t greeting; /* bytes still to come before the first reply */
	bool heard; /* it has had a reply */
	uint32_t cursor; /* in verification: what to read next */
};

enum phase {
	LOAD,
	READ_SAME,
	READ_FRESH
};

/* What a client must know of its protocol. Every reply is checked against what its request must
 * have for an answer; the read-back in the end against what was acknowledged. */
struct protocol {
	const char *name, *port;
	const char *mix; /* names of the operations, for the usage text */
	unsigned int ops, weight[MAX_OPS]; /* how many, and how often each is wanted */
	const char *variants; /* what --protocol may be, with | between; NULL: there is one */
	size_t greeting; /* bytes that the server sends first */
	void (*start)(struct load *l, struct conn *c);
	/* Fills *r with the next request of the load and moves the model to the state after it. */
	void (*request)(struct load *l, struct conn *c, struct request *r);
	/* The next thing of owner's to read back; false when there is none. */
	bool (*read)(struct load *l, struct conn *reader, struct conn *owner, struct request *r);
	void (*encode)(struct load *l, struct conn *c, const struct request *r);
	/* Length of the reply that starts at p, 0 while it is not whole, -1 when it is none. r: the
	 * oldest request without a reply, NULL if there is none. */
	ssize_t (*length)(struct conn *c, const struct request *r, const char *p, size_t len);
	void (*check)(struct load *l, struct conn *c, struct request *r, const char *p, size_t len);
	void (*check_final)(struct load *l, struct conn *c, struct request *r, const char *p,
			    size_t len);
	/* Acknowledged writes of c that nobody counted as lost yet. */
	uint64_t (*unseen)(const struct load *l, const struct conn *c);
};

struct load {
	const struct protocol *proto;
	const char *host, *port;
	int connections;
	uint32_t depth, keys, ring;
	double seconds, tail, patience, progress;
	uint64_t limit, rate, seed;
	unsigned int weight[MAX_OPS], weights, pad, variant;
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

static void append(struct conn *c, const char *data, size_t len)
{
	if (c->out.end + len > c->out.size) {
		c->out.size = (c->out.end + len) * 2;
		c->out.buf = must(realloc(c->out.buf, c->out.size));
	}
	memcpy(c->out.buf + c->out.end, data, len);
	c->out.end += len;
}

#endif
