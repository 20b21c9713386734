/* SPDX-License-Identifier: MIT */
/*
 * TCP_REPAIR: a connection rebuilt in place in a closed socket that a restored process holds, and a
 * live connection read once. Needs CAP_NET_ADMIN in the socket's network namespace.
 */
#ifndef RRC_TCPREPAIR_H
#define RRC_TCPREPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "err.h"

/* What the other host's clock shows, and where the connection leaves. */
struct rrc_tcp_place {
	int64_t skew_ns; /* CLOCK_MONOTONIC of the host that had the connection, minus ours */
	uint32_t ifindex; /* of the container's link, for link-local addresses */
};

/* A socket under repair. */
struct rrc_tcp_fix {
	int sock;
	bool ts;
	bool measure; /* set before rrc_tcp_rebuild: the client will acknowledge once at once */
	int buf_lock, rcvbuf, sndbuf; /* as the application had them */
};

/* A TSval that the client takes: what the other host would send now, and a little more. */
uint32_t rrc_tcp_tsval(const struct rrc_conn *conn, const struct rrc_tcp_place *place);

/*
 * Rebuilds conn in sock, a TCP socket in state CLOSE, as it is in the table: unread bytes in the
 * receive queue, all that was written and not acknowledged left to rrc_tcp_resume. Nothing is sent;
 * the socket stays in repair mode. With fix->measure the last byte that the client has counts as not
 * acknowledged: its next acknowledgement then gives the kernel a round-trip time, and so a timer of
 * 200 ms in place of the 3 s that a connection begins with. Only *fix's measure is read. Options that the application set stay. On failure the socket is
 * closed again and out of repair mode.
 */
int rrc_tcp_rebuild(int sock, const struct rrc_conn *conn, const struct rrc_tcp_place *place,
		    struct rrc_tcp_fix *fix, struct rrc_error *err);

/* Ends repair mode without a probe. Packets must be able to come in from now on. */
int rrc_tcp_release(struct rrc_tcp_fix *fix, struct rrc_error *err);

/* Sends what the client lacks, as plain data, and restores the buffers' limits. */
int rrc_tcp_resume(struct rrc_tcp_fix *fix, const struct rrc_conn *conn, struct rrc_error *err);

/* The TSval that sock sends now; 0 without timestamps. */
uint32_t rrc_tcp_tsval_now(const struct rrc_tcp_fix *fix);

/* Makes a failed rebuild harmless: closes the connection without telling the client. */
void rrc_tcp_abort(int sock);

/*
 * Reads a live connection as it would have been built from records: birth, the bytes that the
 * application has not read, those that the client has not acknowledged (both the caller's to free).
 * The owner must not run; packets may go on coming in. Nothing is sent and nothing consumed.
 */
struct rrc_tcp_snapshot {
	struct rrc_rec_conn birth;
	uint8_t *unread, *unacked;
	size_t nunread, nunacked;
};

int rrc_tcp_snapshot(int sock, struct rrc_tcp_snapshot *snap, struct rrc_error *err);
void rrc_tcp_snapshot_free(struct rrc_tcp_snapshot *snap);

#endif
