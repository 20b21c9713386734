/* SPDX-License-Identifier: MIT */
/*
 * Speaking to the clients by bare segments before, and beside, the kernel's own TCP: what do you
 * have, here is an acknowledgement, this connection is gone; and to our own kernel in their name.
 */
#ifndef RRC_RAWLINK_H
#define RRC_RAWLINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "conn.h"
#include "err.h"
#include "tcprepair.h"

#define RRC_RAW_BATCH  64
#define RRC_INJECT_MAX 1220 /* fits every link that carries IPv6 */

struct rrc_rawlink {
	int sock; /* AF_PACKET on the container's link: sends out, sees what comes in */
	int inject; /* AF_PACKET on the link's host end: sends in; -1: there is none */
	uint8_t mac[6]; /* of the container */
	uint8_t *buf; /* for one packet that came in */
	unsigned int n; /* frames that wait to be sent */
	uint8_t frames[RRC_RAW_BATCH][RRC_PACKET_BARE_MAX];
	struct iovec iov[RRC_RAW_BATCH];
	struct mmsghdr msgs[RRC_RAW_BATCH];
};

/* hostif may be NULL: then nothing can be injected. */
int rrc_rawlink_open(struct rrc_rawlink *link, int netns, uint32_t ifindex, const uint8_t mac[6],
		     const char *hostif, struct rrc_error *err);
void rrc_rawlink_close(struct rrc_rawlink *link);

/* All of these put a frame into the batch; rrc_rawlink_flush sends it. -EHOSTUNREACH when the client's
 * MAC is not known. tsval is 0 without timestamps. */
int rrc_rawlink_ask(struct rrc_rawlink *link, const struct rrc_conn *conn, uint32_t tsval,
		    bool again);
int rrc_rawlink_ack(struct rrc_rawlink *link, const struct rrc_conn *conn, uint32_t tsval);
int rrc_rawlink_reset(struct rrc_rawlink *link, const struct rrc_conn *conn);
/* The client's timer may have been doubled several times meanwhile. Each such message, after an ack,
 * takes one doubling back, and retransmits at once if the timer had run out by then (RFC 6069). */
int rrc_rawlink_revert_timer(struct rrc_rawlink *link, const struct rrc_conn *conn);
/* Answers a SYN, from our MAC to the one that it came from, with options as the SYN has them. Its first
 * byte's number is of no account: see rrc_reborn_expect_syn. */
int rrc_rawlink_synack(struct rrc_rawlink *link, const struct rrc_packet *syn, const uint8_t mac[6],
		       uint16_t mss, uint8_t wscale);
int rrc_rawlink_flush(struct rrc_rawlink *link);

/* A segment in the client's name into our own kernel, at once: flags (and ACK) at place `in` of what
 * it sends, acknowledging all before `ack`, with at most RRC_INJECT_MAX bytes and no options, which a
 * kernel takes in any state. */
int rrc_rawlink_inject(struct rrc_rawlink *link, const struct rrc_conn *conn, uint8_t flags,
		       uint64_t in, uint64_t ack, const void *data, size_t len);

/* Any packet, from its IP header on, of at most the link's length. */
int rrc_rawlink_inject_packet(struct rrc_rawlink *link, const uint8_t mac_src[6],
			      const uint8_t *packet, size_t len);

/* Nothing more is heard. */
void rrc_rawlink_deafen(struct rrc_rawlink *link);

/* Takes in one packet that came in: 1 and its connection (or NULL) in *conn; 0: there is none now. */
int rrc_rawlink_read(struct rrc_rawlink *link, struct rrc_conns *conns, struct rrc_conn **conn,
		     struct rrc_error *err);

#endif
