/* SPDX-License-Identifier: MIT */
/*
 * The state of every TCP connection of a container, from the log alone: births, packets that came
 * in, bytes read and written by calls. The backup folds an epoch's records into its table when the
 * next checkpoint commits; at go-live the connections are rebuilt from it.
 *
 * Positions in a connection's two streams are 64-bit offsets: in 0 is the byte with sequence number
 * birth.copied_seq, out 0 the byte with birth.write_seq.
 */
#ifndef RRC_CONN_H
#define RRC_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datagrams.h"
#include "err.h"
#include "packet.h"
#include "record.h"
#include "stream.h"

/* Why a connection cannot be carried; what the report says. */
enum rrc_conn_fault {
	RRC_CONN_SOUND = 0,
	RRC_CONN_BAD_BIRTH, /* there was data before it was seen first */
	RRC_CONN_OUT_LOST, /* written bytes are not in the log (until the client has them) */
	RRC_CONN_IN_LOST, /* too much came out of order (until the application has read it) */
};

#define RRC_CONN_GONE 4096

struct rrc_conn_span {
	uint64_t from, to;
};

struct rrc_conn_state { /* fixed part, saved as it is */
	struct rrc_rec_conn birth;
	uint64_t rcvd; /* in: all before it came in */
	uint64_t read; /* in: all before it the application read */
	uint64_t written; /* out: all before it the application wrote */
	uint64_t acked; /* out: all before it the client has; never beyond written */
	uint64_t claimed; /* out: highest that the client acknowledged; beyond written while a write
				 * whose first bytes left already has not returned */
	uint64_t out_lost; /* out: not carried until acked >= this */
	uint64_t in_lost; /* in: not carried until read >= this */
	uint64_t fin_pos; /* in: where the client's FIN is, if peer_fin */
	uint64_t peer_nxt; /* in: highest place that the client has sent, as far as seen */
	uint64_t seen_ns; /* exit_ns of the record that brought the last packet */
	uint64_t born_ns; /* of its birth: the order in which a listener hands connections out */
	uint32_t snd_wnd; /* the client's last window, in bytes, counted from claimed */
	uint32_t tsval, tsecr; /* of its last packet with timestamps */
	uint8_t mac_peer[6], mac_own[6];
	uint8_t state; /* TCP_*, the last that the kernel told */
	uint8_t accepted; /* the application holds or held it */
	uint8_t peer_fin; /* a FIN came in (its place is fin_pos) */
	uint8_t peer_rst; /* a RST with the right number came in */
	uint8_t shut_wr, shut_rd; /* the application shut it down */
	uint8_t gone; /* the kernel's socket has ended in an orderly way; see rrc_conns_apply */
	uint8_t reserved;
	uint32_t nspans;
	uint32_t reserved2;
};

struct rrc_conn {
	struct rrc_conn_state s;
	struct rrc_stream in; /* from s.read on, gaps where spans say so */
	struct rrc_stream out; /* from s.acked (s.out_lost, if that is more) to s.written */
	struct rrc_conn_span *spans; /* beyond s.rcvd: sorted, apart */
	struct rrc_conn *next_cookie, *next_tuple; /* hash chains */
	uint32_t mark; /* for the user of the table; not saved */
};

struct rrc_conns_stats {
	uint64_t births, closes, packets, unknown, bad, out_of_window, early_used, healed;
};

struct rrc_conns;

struct rrc_conns *rrc_conns_new(void);
void rrc_conns_free(struct rrc_conns *conns);

/*
 * Takes one (checked) record in, in log order. Records that have nothing to do with TCP are fine.
 * A connection that ends in an orderly way stays in the table as `gone`, with the state that it had
 * before, until RRC_CONN_GONE others have followed it: the client's last FIN may come again, and the
 * application may still have something to read. Returns 0, or negative when memory is short.
 */
int rrc_conns_apply(struct rrc_conns *conns, const struct rrc_rec *rec, struct rrc_error *err);

/* What can be wrong with a (checked) record for the table: taking one in that is right fails for want of memory
 * only. 0 or -EBADMSG. */
int rrc_conns_check(const struct rrc_rec *rec, struct rrc_error *err);

/* A record behind the place where re-execution ends: the client did send its packets and may take a
 * connection for established, but what the application did there never happened (rule 4). */
int rrc_conns_apply_outside(struct rrc_conns *conns, const struct rrc_rec *rec,
			    struct rrc_error *err);

/* One captured packet, from its IP header on, as rrc_conns_apply does for RRC_REC_PACKET. *conn
 * (may be NULL) gets whose it was, NULL if nobody's. */
int rrc_conns_packet(struct rrc_conns *conns, const struct rrc_rec_packet *head, const void *bytes,
		     uint64_t ns, struct rrc_conn **conn, struct rrc_error *err);

/*
 * A connection that existed before its records (from rrc_tcp_snapshot): birth.copied_seq is the next
 * byte that the application reads, birth.write_seq the first that the client has not acknowledged.
 * Apply the packets that were captured from before the snapshot on afterwards, again if need be:
 * they are told apart by sequence number; calls only from the cut on.
 */
int rrc_conns_add(struct rrc_conns *conns, const struct rrc_rec_conn *birth, const void *unread,
		  size_t nunread, const void *unacked, size_t nunacked, struct rrc_error *err);

struct rrc_conn *rrc_conns_get(struct rrc_conns *conns, uint64_t cookie);
void rrc_conns_remove(struct rrc_conns *conns, uint64_t cookie);
size_t rrc_conns_count(const struct rrc_conns *conns);
const struct rrc_conns_stats *rrc_conns_stats(const struct rrc_conns *conns);

/* Calls fn on each connection; stops when it returns non-zero and returns that. fn must not remove. */
int rrc_conns_each(struct rrc_conns *conns, int (*fn)(struct rrc_conn *conn, void *ctx), void *ctx);

/* The same for each SYN that came in lately and has led to no connection yet, the oldest first. */
typedef int (*rrc_syn_fn)(const struct rrc_packet *syn, const struct rrc_rec_packet *head,
			  uint64_t ns, void *ctx);
int rrc_conns_each_syn(struct rrc_conns *conns, rrc_syn_fn fn, void *ctx);

/* UDP datagrams that the application has not read; not saved. */
const struct rrc_datagrams *rrc_conns_datagrams(const struct rrc_conns *conns);

/* The table as bytes, with magic, version, lengths and checksum. *buf is the caller's to free. */
int rrc_conns_save(const struct rrc_conns *conns, uint8_t **buf, size_t *len,
		   struct rrc_error *err);
struct rrc_conns *rrc_conns_load(const void *buf, size_t len, struct rrc_error *err);

/* Of one connection. The addresses that the packets carry: family AF_INET for a v4-mapped peer. */
uint16_t rrc_conn_addrs(const struct rrc_conn *conn, uint8_t local[16], uint8_t remote[16]);
uint32_t rrc_conn_out_seq(const struct rrc_conn *conn, uint64_t off);
uint32_t rrc_conn_in_seq(const struct rrc_conn *conn, uint64_t off);
enum rrc_conn_fault rrc_conn_fault(const struct rrc_conn *conn);
bool rrc_conn_fin_in(
	const struct rrc_conn *conn); /* all of the client's bytes and its FIN are here */
bool rrc_conn_fin_acked(const struct rrc_conn *conn); /* the client has our FIN */

bool rrc_conn_fin_sent(const struct rrc_conn *conn); /* our side of it is closed */

/* "10.0.0.1:6379 <- 10.0.0.9:40000" into buf; returns buf. */
const char *rrc_conn_name(const struct rrc_conn *conn, char *buf, size_t size);

#endif
