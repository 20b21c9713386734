// SPDX-License-Identifier: MIT
/*
 * The table of connections as bytes: a part of every checkpoint. Native byte order (both ends are
 * x86-64); magic, version, lengths and a checksum are checked, and so is every number inside.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "conn_int.h"
#include "util.h"

#define MAGIC 0x4e4e4f4343525200ull /* "\0RRCCONN" */

struct save_head {
	uint64_t magic;
	uint32_t version;
	uint32_t state_size;
	uint64_t len; /* of everything, this header included */
	uint64_t sum; /* XXH3 of what follows the header */
	uint32_t nconns, nearly;
};
_Static_assert(sizeof(struct save_head) == 40, "head of a saved table");
_Static_assert(sizeof(struct rrc_conn_state) == 248, "saved connection");

struct early_head {
	struct rrc_rec_packet head;
	uint64_t ns;
};
_Static_assert(sizeof(struct early_head) == 32, "saved packet");

/* Where the stored bytes of the two streams begin and end. */
static uint64_t in_end(const struct rrc_conn *conn)
{
	uint64_t end = conn->s.rcvd;

	if (conn->s.nspans)
		end = rrc_max(end, conn->spans[conn->s.nspans - 1].to);
	return end;
}

static uint64_t out_start(const struct rrc_conn *conn)
{
	return rrc_max(conn->s.acked, conn->s.out_lost);
}

static size_t conn_size(const struct rrc_conn *conn)
{
	return sizeof(conn->s) + conn->s.nspans * sizeof(*conn->spans) +
	       (size_t)(in_end(conn) - conn->s.read) + (size_t)(conn->s.written - out_start(conn));
}

static void put(uint8_t **p, const void *data, size_t len)
{
	if (len)
		memcpy(*p, data, len);
	*p += len;
}

static void put_conn(uint8_t **p, const struct rrc_conn *conn)
{
	put(p, &conn->s, sizeof(conn->s));
	put(p, conn->spans, conn->s.nspans * sizeof(*conn->spans));
	if (in_end(conn) > conn->s.read)
		put(p, rrc_stream_at(&conn->in, conn->s.read), in_end(conn) - conn->s.read);
	if (conn->s.written > out_start(conn))
		put(p, rrc_stream_at(&conn->out, out_start(conn)),
		    conn->s.written - out_start(conn));
}

#define EARLY_MAX (RRC_EARLY_RINGS * RRC_CONN_EARLY_PACKETS)

/* Of both rings, the oldest of each first. */
static const struct rrc_early *early_nth(const struct rrc_conns *conns, unsigned int i)
{
	const struct rrc_early_ring *ring = &conns->early[i / RRC_CONN_EARLY_PACKETS];

	return &ring->p[(ring->next + i) % RRC_CONN_EARLY_PACKETS];
}

int rrc_conns_save(const struct rrc_conns *conns, uint8_t **buf, size_t *len, struct rrc_error *err)
{
	struct save_head head = {
		.magic = MAGIC,
		.version = RRC_FORMAT_VERSION,
		.state_size = sizeof(struct rrc_conn_state),
		.len = sizeof(head),
		.nconns = (uint32_t)conns->count,
	};
	const struct rrc_conn *conn;
	uint8_t *p;

	for (size_t i = 0; i < conns->nbuckets; i++)
		for (conn = conns->by_cookie[i]; conn; conn = conn->next_cookie)
			head.len += conn_size(conn);
	for (unsigned int i = 0; i < EARLY_MAX; i++) {
		const struct rrc_early *e = early_nth(conns, i);

		if (!e->bytes)
			continue;
		head.len += sizeof(struct early_head) + e->head.len;
		head.nearly++;
	}
	p = *buf = malloc(head.len);
	if (!p)
		return rrc_fail(err, -ENOMEM, "no memory to save %zu connections", conns->count);
	p += sizeof(head);
	for (size_t i = 0; i < conns->nbuckets; i++)
		for (conn = conns->by_cookie[i]; conn; conn = conn->next_cookie)
			put_conn(&p, conn);
	for (unsigned int i = 0; i < EARLY_MAX; i++) {
		const struct rrc_early *e = early_nth(conns, i);
		struct early_head eh = { .head = e->head, .ns = e->ns };

		if (!e->bytes)
			continue;
		put(&p, &eh, sizeof(eh));
		put(&p, e->bytes, e->head.len);
	}
	head.sum = XXH3_64bits(*buf + sizeof(head), head.len - sizeof(head));
	memcpy(*buf, &head, sizeof(head));
	*len = head.len;
	return 0;
}

/* What is left to read. */
struct rest {
	const uint8_t *p;
	size_t len;
};

static const uint8_t *take(struct rest *rest, uint64_t n)
{
	const uint8_t *p = rest->p;

	if (n > rest->len)
		return NULL;
	rest->p += n;
	rest->len -= (size_t)n;
	return p;
}

static bool state_sane(const struct rrc_conn_state *s)
{
	return (s->birth.family == AF_INET || s->birth.family == AF_INET6) && s->read <= s->rcvd &&
	       s->acked <= s->written && s->acked <= s->claimed && s->out_lost <= s->written &&
	       s->state <= TCP_CLOSING + 1 && s->nspans <= RRC_CONN_MAX_SPANS;
}

static int read_spans(struct rrc_conn *conn, struct rest *rest)
{
	size_t size = conn->s.nspans * sizeof(*conn->spans), cap = 1;
	uint64_t last = conn->s.rcvd;
	const uint8_t *p = take(rest, size);

	if (!p)
		return -EBADMSG;
	if (!size)
		return 0;
	while (cap < conn->s.nspans) /* as add_span counts on it */
		cap *= 2;
	conn->spans = malloc(cap * sizeof(*conn->spans));
	if (!conn->spans)
		return -ENOMEM;
	memcpy(conn->spans, p, size);
	for (uint32_t i = 0; i < conn->s.nspans; i++) {
		if (conn->spans[i].from <= last || conn->spans[i].to <= conn->spans[i].from)
			return -EBADMSG;
		last = conn->spans[i].to;
	}
	return 0;
}

static int read_stream(struct rrc_stream *s, uint64_t from, uint64_t to, struct rest *rest)
{
	const uint8_t *p;

	s->start = s->end = from;
	if (to <= from)
		return 0;
	p = take(rest, to - from);
	return p ? rrc_stream_put(s, from, p, (size_t)(to - from)) : -EBADMSG;
}

static int read_conn(struct rrc_conns *conns, struct rest *rest)
{
	struct rrc_conn *conn = calloc(1, sizeof(*conn));
	const uint8_t *p = take(rest, sizeof(conn->s));
	int ret = -EBADMSG;

	if (!conn)
		return -ENOMEM;
	if (p)
		memcpy(&conn->s, p, sizeof(conn->s));
	if (p && state_sane(&conn->s))
		ret = read_spans(conn, rest);
	if (!ret)
		ret = read_stream(&conn->in, conn->s.read, in_end(conn), rest);
	if (!ret)
		ret = read_stream(&conn->out, out_start(conn), conn->s.written, rest);
	if (ret) {
		rrc_conn_free(conn);
		return ret;
	}
	ret = rrc_conns_insert(conns, conn);
	if (!ret && conn->s.gone)
		rrc_conns_keep_gone(conns, conn);
	return ret;
}

static int read_early(struct rrc_conns *conns, struct rest *rest)
{
	const uint8_t *p = take(rest, sizeof(struct early_head));
	struct early_head eh;

	if (!p)
		return -EBADMSG;
	memcpy(&eh, p, sizeof(eh));
	p = take(rest, eh.head.len);
	return p ? rrc_conns_keep_early(conns, &eh.head, p, eh.ns) : -EBADMSG;
}

static int read_all(struct rrc_conns *conns, const struct save_head *head, struct rest *rest)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < head->nconns; i++)
		ret = read_conn(conns, rest);
	for (uint32_t i = 0; !ret && i < head->nearly; i++)
		ret = read_early(conns, rest);
	if (!ret && (rest->len || conns->count != head->nconns))
		ret = -EBADMSG;
	return ret;
}

struct rrc_conns *rrc_conns_load(const void *buf, size_t len, struct rrc_error *err)
{
	struct rrc_conns *conns;
	struct save_head head;
	struct rest rest = { .p = buf, .len = len };
	int ret;

	if (len < sizeof(head) || (memcpy(&head, buf, sizeof(head)), head.magic != MAGIC)) {
		rrc_fail(err, -EBADMSG, "not a table of connections");
		return NULL;
	}
	if (head.version != RRC_FORMAT_VERSION ||
	    head.state_size != sizeof(struct rrc_conn_state)) {
		rrc_fail(err, -EBADMSG, "table of connections has format %u, this program knows %u",
			 head.version, RRC_FORMAT_VERSION);
		return NULL;
	}
	take(&rest, sizeof(head));
	if (head.len != len || head.nearly > EARLY_MAX ||
	    head.sum != XXH3_64bits(rest.p, rest.len)) {
		rrc_fail(err, -EBADMSG, "table of connections is cut short or damaged");
		return NULL;
	}
	conns = rrc_conns_new();
	ret = conns ? read_all(conns, &head, &rest) : -ENOMEM;
	if (!ret)
		return conns;
	rrc_conns_free(conns);
	rrc_fail(err, ret,
		 ret == -EBADMSG ? "table of connections is damaged"
				 : "no memory for the table of connections");
	return NULL;
}
