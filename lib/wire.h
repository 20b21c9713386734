/* SPDX-License-Identifier: MIT */
/*
 * The frame: what travels on the link between the hosts, and what a log file consists of. A header
 * with a checksum over itself and its payload; the payload of a log frame is records, compressed
 * when that pays. Numbers are little-endian as both ends are x86-64.
 */
#ifndef RRC_WIRE_H
#define RRC_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "record.h"

#define RRC_FRAME_MAGIC 0x46435252u /* "RRCF" */
#define RRC_FRAME_MAX	(64u << 20) /* payload, stored or raw */

enum rrc_frame_type {
	RRC_FRAME_HELLO = 1, /* both ways, first on every connection: struct rrc_hello */
	RRC_FRAME_REFUSE, /* text: why not */
	RRC_FRAME_LOG, /* records; pos = position of the first byte; aux = time sent */
	RRC_FRAME_BEAT, /* nothing to say; aux = time sent */
	RRC_FRAME_ACK, /* pos = everything before it is kept; aux = aux of the newest frame seen */
	RRC_FRAME_CKPT_BEGIN, /* payload: manifest; aux = number */
	RRC_FRAME_CKPT_DATA, /* next bytes of the manifest's files, in its order */
	RRC_FRAME_CKPT_COMMIT, /* all was sent; aux = number. Answered by COMMITTED or REFUSE */
	RRC_FRAME_COMMITTED, /* aux = number, pos = its cut: on the log connection */
	RRC_FRAME_BYE, /* protection ends in good order: no failover */
	RRC_FRAME_TAKEOVER, /* by the backup: it serves from now on, the other must stay silent */
	RRC_FRAME_TYPES,
};

#define RRC_FRAME_ZSTD 1u /* flag: payload is compressed, raw says to how much it opens */

struct rrc_frame {
	uint32_t magic;
	uint16_t version; /* RRC_FORMAT_VERSION */
	uint8_t type; /* enum rrc_frame_type */
	uint8_t flags;
	uint32_t stored; /* bytes of payload that follow */
	uint32_t raw; /* bytes it opens to; = stored if not compressed */
	uint64_t pos;
	uint64_t aux;
	uint64_t sum; /* XXH3-64 of header with sum = 0, then of payload, mixed */
};
_Static_assert(sizeof(struct rrc_frame) == 40, "frame header");

enum rrc_role {
	RRC_ROLE_LOG = 1,
	RRC_ROLE_BULK = 2
};

struct rrc_hello {
	uint32_t role; /* enum rrc_role */
	uint32_t mode; /* 0 hybrid, 1 passive */
	uint64_t session; /* chosen by the primary, the same on both connections */
	uint64_t silence_ns; /* answer: after this long without a frame the backup takes over */
	uint64_t lease_ns; /* answer: how long an answer lets the primary speak */
	char name[80]; /* of the container */
	char kernel[72]; /* uname -r; both ends must agree */
};
_Static_assert(sizeof(struct rrc_hello) == 184, "hello");

/* Fills header and checksum; `payload` is stored bytes. */
void rrc_frame_seal(struct rrc_frame *f, enum rrc_frame_type type, uint8_t flags,
		    const void *payload, uint32_t stored, uint32_t raw, uint64_t pos, uint64_t aux);

/* Checks a header by itself (magic, version, type, lengths): before its payload is read. */
int rrc_frame_check(const struct rrc_frame *f, struct rrc_error *err);

/* Checks the checksum over header and payload. */
int rrc_frame_verify(const struct rrc_frame *f, const void *payload, struct rrc_error *err);

/* Opens a log frame's payload into buf (f->raw bytes). */
int rrc_frame_open(const struct rrc_frame *f, const void *payload, void *buf,
		   struct rrc_error *err);

/* The greeting in a verified frame; its names end within their arrays. */
int rrc_hello_open(const struct rrc_frame *f, const void *payload, struct rrc_hello *h,
		   struct rrc_error *err);

/* Makes log frames; keeps its compression context. Not for several threads. */
struct rrc_packer;
struct rrc_packer *rrc_packer_new(void);
void rrc_packer_free(struct rrc_packer *p);

/* Makes a frame of records into *out (owned by the packer, valid until the next call), header first.
 * Returns its whole length, or negative errno. */
long rrc_packer_log(struct rrc_packer *p, const void *records, uint32_t len, uint64_t pos,
		    uint64_t aux, const void **out);

#endif
