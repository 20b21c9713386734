// SPDX-License-Identifier: MIT
/* The table of connections and what records do to it, see conn.h. Packets are in connpkt.c, calls in
 * connrec.c, saving in connsave.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "conn_int.h"
#include "util.h"

#define MIN_BUCKETS 256

static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

uint16_t rrc_conn_addrs(const struct rrc_conn *conn, uint8_t local[16], uint8_t remote[16])
{
	const struct rrc_rec_conn *b = &conn->s.birth;

	memset(local, 0, 16);
	memset(remote, 0, 16);
	if (b->family == AF_INET6 && memcmp(b->raddr, v4_mapped, 12)) {
		memcpy(local, b->laddr, 16);
		memcpy(remote, b->raddr, 16);
		return AF_INET6;
	}
	memcpy(local, b->family == AF_INET6 ? b->laddr + 12 : b->laddr, 4);
	memcpy(remote, b->family == AF_INET6 ? b->raddr + 12 : b->raddr, 4);
	return AF_INET;
}

uint32_t rrc_conn_out_seq(const struct rrc_conn *conn, uint64_t off)
{
	return conn->s.birth.write_seq + (uint32_t)off;
}

uint32_t rrc_conn_in_seq(const struct rrc_conn *conn, uint64_t off)
{
	return conn->s.birth.copied_seq + (uint32_t)off;
}

enum rrc_conn_fault rrc_conn_fault(const struct rrc_conn *conn)
{
	const struct rrc_rec_conn *b = &conn->s.birth;

	if (b->copied_seq != b->rcv_nxt || b->snd_una != b->write_seq)
		return RRC_CONN_BAD_BIRTH;
	if (conn->s.out_lost > conn->s.acked)
		return RRC_CONN_OUT_LOST;
	if (conn->s.in_lost > conn->s.rcvd)
		return RRC_CONN_IN_LOST;
	return RRC_CONN_SOUND;
}

bool rrc_conn_fin_in(const struct rrc_conn *conn)
{
	return conn->s.peer_fin && conn->s.rcvd >= conn->s.fin_pos;
}

bool rrc_conn_fin_sent(const struct rrc_conn *conn)
{
	switch (conn->s.state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		return true;
	default:
		return conn->s.shut_wr;
	}
}

bool rrc_conn_fin_acked(const struct rrc_conn *conn)
{
	return rrc_conn_fin_sent(conn) && conn->s.claimed > conn->s.written;
}

const char *rrc_conn_name(const struct rrc_conn *conn, char *buf, size_t size)
{
	uint8_t local[16], remote[16];
	char l[INET6_ADDRSTRLEN] = "?", r[INET6_ADDRSTRLEN] = "?";
	uint16_t family = rrc_conn_addrs(conn, local, remote);

	inet_ntop(family, local, l, sizeof(l));
	inet_ntop(family, remote, r, sizeof(r));
	snprintf(buf, size, family == AF_INET ? "%s:%u %s %s:%u" : "[%s]:%u %s [%s]:%u", l,
		 conn->s.birth.lport, conn->s.birth.active ? "->" : "<-", r, conn->s.birth.rport);
	return buf;
}

/* ---- the table ---- */

void rrc_conn_free(struct rrc_conn *conn)
{
	rrc_stream_free(&conn->in);
	rrc_stream_free(&conn->out);
	free(conn->spans);
	free(conn);
}

struct rrc_conns *rrc_conns_new(void)
{
	struct rrc_conns *conns = calloc(1, sizeof(*conns));

	if (!conns)
		return NULL;
	conns->nbuckets = MIN_BUCKETS;
	conns->by_cookie = calloc(conns->nbuckets, sizeof(*conns->by_cookie));
	conns->by_tuple = calloc(conns->nbuckets, sizeof(*conns->by_tuple));
	if (!conns->by_cookie || !conns->by_tuple) {
		rrc_conns_free(conns);
		return NULL;
	}
	return conns;
}

void rrc_conns_free(struct rrc_conns *conns)
{
	if (!conns)
		return;
	for (size_t i = 0; conns->by_cookie && i < conns->nbuckets; i++) {
		struct rrc_conn *conn, *next;

		for (conn = conns->by_cookie[i]; conn; conn = next) {
			next = conn->next_cookie;
			rrc_conn_free(conn);
		}
	}
	for (size_t i = 0; i < RRC_EARLY_RINGS * RRC_CONN_EARLY_PACKETS; i++)
		free(conns->early[i / RRC_CONN_EARLY_PACKETS].p[i % RRC_CONN_EARLY_PACKETS].bytes);
	rrc_datagrams_free(&conns->datagrams);
	free(conns->by_cookie);
	free(conns->by_tuple);
	free(conns);
}

const struct rrc_datagrams *rrc_conns_datagrams(const struct rrc_conns *conns)
{
	return &conns->datagrams;
}

static size_t hash_cookie(const struct rrc_conns *conns, uint64_t cookie)
{
	return XXH3_64bits(&cookie, sizeof(cookie)) & (conns->nbuckets - 1);
}

static size_t hash_tuple(const struct rrc_conns *conns, const struct rrc_tuple *t)
{
	return XXH3_64bits(t, sizeof(*t)) & (conns->nbuckets - 1);
}

struct rrc_tuple rrc_conn_tuple(const struct rrc_conn *conn)
{
	struct rrc_tuple t = { .lport = conn->s.birth.lport, .rport = conn->s.birth.rport };

	t.family = rrc_conn_addrs(conn, t.local, t.remote);
	return t;
}

struct rrc_conn *rrc_conns_find(struct rrc_conns *conns, const struct rrc_tuple *t)
{
	struct rrc_conn *conn;

	for (conn = conns->by_tuple[hash_tuple(conns, t)]; conn; conn = conn->next_tuple) {
		struct rrc_tuple ct = rrc_conn_tuple(conn);

		if (!memcmp(&ct, t, sizeof(ct)))
			return conn;
	}
	return NULL;
}

struct rrc_conn *rrc_conns_get(struct rrc_conns *conns, uint64_t cookie)
{
	struct rrc_conn *conn = conns->by_cookie[hash_cookie(conns, cookie)];

	while (conn && conn->s.birth.cookie != cookie)
		conn = conn->next_cookie;
	return conn;
}

static void link_conn(struct rrc_conns *conns, struct rrc_conn *conn)
{
	struct rrc_tuple t = rrc_conn_tuple(conn);
	struct rrc_conn **c = &conns->by_cookie[hash_cookie(conns, conn->s.birth.cookie)];
	struct rrc_conn **b = &conns->by_tuple[hash_tuple(conns, &t)];

	conn->next_cookie = *c;
	*c = conn;
	conn->next_tuple = *b;
	*b = conn;
}

static int grow(struct rrc_conns *conns)
{
	size_t n = conns->nbuckets, old = n;
	struct rrc_conn **cookies = conns->by_cookie, **tuples;

	if (conns->count < n)
		return 0;
	n *= 2;
	conns->by_cookie = calloc(n, sizeof(*conns->by_cookie));
	tuples = calloc(n, sizeof(*tuples));
	if (!conns->by_cookie || !tuples) {
		free(conns->by_cookie);
		free(tuples);
		conns->by_cookie = cookies;
		return -ENOMEM;
	}
	free(conns->by_tuple);
	conns->by_tuple = tuples;
	conns->nbuckets = n;
	for (size_t i = 0; i < old; i++) {
		struct rrc_conn *conn, *next;

		for (conn = cookies[i]; conn; conn = next) {
			next = conn->next_cookie;
			link_conn(conns, conn);
		}
	}
	free(cookies);
	return 0;
}

void rrc_conns_remove(struct rrc_conns *conns, uint64_t cookie)
{
	struct rrc_conn **p = &conns->by_cookie[hash_cookie(conns, cookie)], *conn;
	struct rrc_tuple t;

	while (*p && (*p)->s.birth.cookie != cookie)
		p = &(*p)->next_cookie;
	conn = *p;
	if (!conn)
		return;
	*p = conn->next_cookie;
	t = rrc_conn_tuple(conn);
	p = &conns->by_tuple[hash_tuple(conns, &t)];
	while (*p != conn)
		p = &(*p)->next_tuple;
	*p = conn->next_tuple;
	rrc_conn_free(conn);
	conns->count--;
}

/* Takes ownership of conn, also when it fails. */
int rrc_conns_insert(struct rrc_conns *conns, struct rrc_conn *conn)
{
	struct rrc_tuple t = rrc_conn_tuple(conn);
	struct rrc_conn *old;

	rrc_conns_remove(conns, conn->s.birth.cookie);
	old = rrc_conns_find(conns, &t); /* its port is in use again, so it is gone */
	if (old)
		rrc_conns_remove(conns, old->s.birth.cookie);
	if (grow(conns)) {
		rrc_conn_free(conn);
		return -ENOMEM;
	}
	link_conn(conns, conn);
	conns->count++;
	return 0;
}

void rrc_conns_keep_gone(struct rrc_conns *conns, struct rrc_conn *conn)
{
	uint64_t *place = &conns->gone[conns->gone_next++ % RRC_CONN_GONE];
	struct rrc_conn *oldest = *place ? rrc_conns_get(conns, *place) : NULL;

	if (oldest && oldest->s.gone && oldest != conn)
		rrc_conns_remove(conns, *place);
	*place = conn->s.birth.cookie;
	conn->s.gone = 1;
}

size_t rrc_conns_count(const struct rrc_conns *conns)
{
	return conns->count;
}

const struct rrc_conns_stats *rrc_conns_stats(const struct rrc_conns *conns)
{
	return &conns->stats;
}

int rrc_conns_each(struct rrc_conns *conns, int (*fn)(struct rrc_conn *conn, void *ctx), void *ctx)
{
	for (size_t i = 0; i < conns->nbuckets; i++) {
		struct rrc_conn *conn;

		for (conn = conns->by_cookie[i]; conn; conn = conn->next_cookie) {
			int ret = fn(conn, ctx);

			if (ret)
				return ret;
		}
	}
	return 0;
}
