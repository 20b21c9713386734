// SPDX-License-Identifier: MIT
/* A stretch of a byte stream in memory, see stream.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define MIN_CAP	 4096
#define KEEP_CAP (64 << 10) /* what an empty stream may keep, so that small talk costs no malloc */

static int reserve(struct rrc_stream *s, size_t need)
{
	size_t len = (size_t)(s->end - s->start), cap = s->cap ? s->cap : MIN_CAP;
	uint8_t *mem;

	if (s->mem && s->head + need <= s->cap)
		return 0;
	if (s->mem && need <= s->cap / 2) { /* half empty: moving is paid for by what was dropped */
		memmove(s->mem, s->mem + s->head, len);
		s->head = 0;
		return 0;
	}
	while (cap < need) {
		if (cap > SIZE_MAX / 2)
			return -ENOMEM;
		cap *= 2;
	}
	if (cap == s->cap)
		cap *= 2;
	mem = malloc(cap);
	if (!mem)
		return -ENOMEM;
	if (len)
		memcpy(mem, s->mem + s->head, len);
	free(s->mem);
	s->mem = mem;
	s->cap = cap;
	s->head = 0;
	return 0;
}

int rrc_stream_put(struct rrc_stream *s, uint64_t off, const void *data, size_t len)
{
	uint64_t end = off + len;
	uint8_t *base;
	int ret;

	if (off < s->start || end < off)
		return -EINVAL;
	if (!len)
		return 0;
	if (end > s->end) {
		ret = reserve(s, (size_t)(end - s->start));
		if (ret)
			return ret;
	}
	base = s->mem + s->head;
	if (off > s->end)
		memset(base + (s->end - s->start), 0, (size_t)(off - s->end));
	memcpy(base + (off - s->start), data, len);
	if (end > s->end)
		s->end = end;
	return 0;
}

void rrc_stream_drop(struct rrc_stream *s, uint64_t off)
{
	if (off <= s->start)
		return;
	if (off < s->end) {
		s->head += (size_t)(off - s->start);
		s->start = off;
		return;
	}
	s->start = s->end = off;
	s->head = 0;
	if (s->cap > KEEP_CAP) {
		free(s->mem);
		s->mem = NULL;
		s->cap = 0;
	}
}

const uint8_t *rrc_stream_at(const struct rrc_stream *s, uint64_t off)
{
	return s->mem + s->head + (off - s->start);
}

void rrc_stream_free(struct rrc_stream *s)
{
	free(s->mem);
	memset(s, 0, sizeof(*s));
}
