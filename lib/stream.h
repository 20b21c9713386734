/* SPDX-License-Identifier: MIT */
/*
 * A stretch of a byte stream in memory, [start, end), addressed by offsets that never wrap. Bytes
 * are put anywhere at or behind start and dropped from the front. No memory while it is empty.
 */
#ifndef RRC_STREAM_H
#define RRC_STREAM_H

#include <stddef.h>
#include <stdint.h>

struct rrc_stream {
	uint8_t *mem;
	size_t cap;
	size_t head; /* index of start in mem */
	uint64_t start, end;
};

/* Puts len bytes at off (>= start); a gap before them is zeros. 0 or -ENOMEM. */
int rrc_stream_put(struct rrc_stream *s, uint64_t off, const void *data, size_t len);

/* Forgets everything before off; if off is behind the end, the stream is empty and starts at off. */
void rrc_stream_drop(struct rrc_stream *s, uint64_t off);

/* The bytes from off (start <= off <= end) on. */
const uint8_t *rrc_stream_at(const struct rrc_stream *s, uint64_t off);

void rrc_stream_free(struct rrc_stream *s);

#endif
