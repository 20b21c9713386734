/* SPDX-License-Identifier: MIT */
/* Inside of the table of connections: for conn.c, connpkt.c, connrec.c, connsave.c alone. */
#ifndef RRC_CONN_INT_H
#define RRC_CONN_INT_H

#include "conn.h"

#define RRC_CONN_MAX_SPANS     1024 /* islands of data that came out of order */
#define RRC_CONN_EARLY_PACKETS 1024 /* packets kept until the birth that they belong to */
#define RRC_CONN_EARLY_BYTES   (1u << 20)

/* Addresses and ports as the packets carry them; hashed as bytes. */
struct rrc_tuple {
	uint8_t local[16], remote[16];
	uint16_t family, lport, rport, zero;
};

struct rrc_early {
	struct rrc_rec_packet head;
	uint64_t ns;
	uint8_t *bytes; /* NULL: the place is free */
	uint16_t lport, rport; /* of the connection, to pass over others quickly */
};

struct rrc_early_ring {
	struct rrc_early p[RRC_CONN_EARLY_PACKETS];
	unsigned int next;
	size_t bytes;
};

enum {
	RRC_EARLY_DATA,
	RRC_EARLY_SYN,
	RRC_EARLY_RINGS
};

struct rrc_conns {
	struct rrc_conn **by_cookie, **by_tuple;
	size_t nbuckets, count;
	struct rrc_early_ring
		early[RRC_EARLY_RINGS]; /* of unknown connections; SYNs cannot push data out */
	uint64_t gone[RRC_CONN_GONE]; /* ring of the cookies of those that are gone */
	uint64_t gone_next;
	struct rrc_datagrams datagrams;
	struct rrc_conns_stats stats;
};

struct rrc_tuple rrc_conn_tuple(const struct rrc_conn *conn);
struct rrc_conn *rrc_conns_find(struct rrc_conns *conns, const struct rrc_tuple *t);
void rrc_conn_free(struct rrc_conn *conn);

/* Puts conn into the table, in place of one with its cookie or its addresses. Owns it, also when it
 * fails. */
int rrc_conns_insert(struct rrc_conns *conns, struct rrc_conn *conn);

/* Makes room among those that are gone for this one. */
void rrc_conns_keep_gone(struct rrc_conns *conns, struct rrc_conn *conn);

/* rcvd moves over the islands that it touches. */
void rrc_conn_join(struct rrc_conn *conn);

/* acked follows what the client claims as far as the application has written. */
void rrc_conn_settle(struct rrc_conn *conn);

/* The packet that completes a handshake may carry data, and is in the log before the birth: keeps
 * packets of unknown connections, and applies those of conn. */
int rrc_conns_keep_early(struct rrc_conns *conns, const struct rrc_rec_packet *head,
			 const void *bytes, uint64_t ns);
int rrc_conns_use_early(struct rrc_conns *conns, struct rrc_conn *conn);

#endif
