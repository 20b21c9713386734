/* SPDX-License-Identifier: MIT */
/*
 * UDP datagrams that came in and that no call has read yet, from the log alone. A call's record says what it
 * read, not from which port: told apart by their bytes. Bounded: the oldest are forgotten, as a kernel without
 * room forgets the newest.
 */
#ifndef RRC_DATAGRAMS_H
#define RRC_DATAGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

#define RRC_DATAGRAMS	    1024
#define RRC_DATAGRAMS_BYTES (8u << 20)

struct rrc_datagram {
	struct rrc_rec_packet head;
	uint8_t *packet; /* from its IP header on, head.len bytes */
	uint16_t at, len; /* of the payload */
	uint16_t port; /* that it came to */
	uint8_t family;
};

struct rrc_datagrams {
	struct rrc_datagram *ring; /* the oldest first, those without packet were read */
	size_t first, n, bytes;
};

void rrc_datagrams_free(struct rrc_datagrams *d);

/* A captured packet: taken if it is a whole UDP datagram to this host alone. 0 or -ENOMEM. */
int rrc_datagrams_packet(struct rrc_datagrams *d, const struct rrc_rec_packet *head,
			 const uint8_t *bytes);

/* A call read at most `max` datagrams, whose bytes (each perhaps cut short, if it was one) are these. */
void rrc_datagrams_read(struct rrc_datagrams *d, const uint8_t *bytes, size_t len, size_t max);

/* Calls fn on each that is unread, in the order in which they came. */
void rrc_datagrams_each(const struct rrc_datagrams *d,
			void (*fn)(const struct rrc_datagram *gram, void *ctx), void *ctx);

#endif
