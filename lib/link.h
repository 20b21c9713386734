/* SPDX-License-Identifier: MIT */
/* Frames over a TCP connection: what both ends of the link do with it. Nothing read is used unchecked. */
#ifndef RRC_LINK_H
#define RRC_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "wire.h"

struct rrc_link {
	int fd;
	uint8_t *in;
	size_t in_len, in_size, in_at; /* in_at: behind the frame given out last */
	int in_drained; /* the socket had no more when we read last */
	uint8_t *out;
	size_t out_len, out_done, out_size;
};

/* "HOST:PORT", "[V6]:PORT". Waits up to timeout_ms. */
int rrc_link_connect(struct rrc_link *l, const char *address, int timeout_ms,
		     struct rrc_error *err);

/* "ADDR:PORT", ":PORT" for any. Returns a listening descriptor. */
int rrc_link_listen(const char *address, struct rrc_error *err);

/* Takes an accepted or connected descriptor over: TCP_NODELAY, non-blocking. */
void rrc_link_init(struct rrc_link *l, int fd);
void rrc_link_close(struct rrc_link *l);

/* Queues whole frames; sends what goes now. -EPIPE/-ECONNRESET: the other end is gone. */
int rrc_link_send_raw(struct rrc_link *l, const void *frame, size_t len);
int rrc_link_send(struct rrc_link *l, enum rrc_frame_type type, const void *payload, uint32_t len,
		  uint64_t pos, uint64_t aux);
int rrc_link_flush(struct rrc_link *l);
static inline int rrc_link_wants_write(const struct rrc_link *l)
{
	return l->out_len > l->out_done;
}

/* Next whole, verified frame: 1 and *f, *payload (valid until the next call); 0: none yet; negative
 * errno: ended (-ECONNRESET also at end of stream), or damaged (-EBADMSG, -EPROTO). */
int rrc_link_recv(struct rrc_link *l, struct rrc_frame *f, const uint8_t **payload,
		  struct rrc_error *err);

/* Blocks until a frame is there, at most timeout_ms (-1: for ever). -ETIMEDOUT. */
int rrc_link_recv_wait(struct rrc_link *l, struct rrc_frame *f, const uint8_t **payload,
		       int timeout_ms, struct rrc_error *err);

/* Blocks until all that is queued was sent. */
int rrc_link_flush_wait(struct rrc_link *l, int timeout_ms);

#endif
