/* SPDX-License-Identifier: MIT */
/* Frames: sealing, checking, packing; see wire.h. Everything read here comes from outside. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "util.h"
#include "wire.h"

#define RRC_ZSTD_LEVEL 1
#define RRC_ZSTD_LEAST 2048 /* shorter payloads travel as they are: a call saves more than bytes */

static uint64_t frame_sum(const struct rrc_frame *f, const void *payload)
{
	struct rrc_frame h = *f;

	h.sum = 0;
	return XXH3_64bits_withSeed(payload, f->stored, XXH3_64bits(&h, sizeof(h)));
}

void rrc_frame_seal(struct rrc_frame *f, enum rrc_frame_type type, uint8_t flags,
		    const void *payload, uint32_t stored, uint32_t raw, uint64_t pos, uint64_t aux)
{
	*f = (struct rrc_frame){
		.magic = RRC_FRAME_MAGIC,
		.version = RRC_FORMAT_VERSION,
		.type = (uint8_t)type,
		.flags = flags,
		.stored = stored,
		.raw = raw,
		.pos = pos,
		.aux = aux,
	};
	f->sum = frame_sum(f, payload);
}

int rrc_frame_check(const struct rrc_frame *f, struct rrc_error *err)
{
	if (f->magic != RRC_FRAME_MAGIC)
		return rrc_fail(err, EBADMSG, "not a frame of ours (magic %08x)", f->magic);
	if (f->version != RRC_FORMAT_VERSION)
		return rrc_fail(
			err, EPROTO,
			"format version %u, this is version %u: use the same release at both ends",
			f->version, RRC_FORMAT_VERSION);
	if (f->type == 0 || f->type >= RRC_FRAME_TYPES)
		return rrc_fail(err, EBADMSG, "frame of unknown type %u", f->type);
	if (f->stored > RRC_FRAME_MAX || f->raw > RRC_FRAME_MAX)
		return rrc_fail(err, EBADMSG, "frame of %u bytes is too long", f->stored);
	if (f->flags & ~RRC_FRAME_ZSTD)
		return rrc_fail(err, EBADMSG, "frame with unknown flags %x", f->flags);
	/* So that only who opens log frames ever has to do with two lengths. */
	if (f->flags && f->type != RRC_FRAME_LOG)
		return rrc_fail(err, EBADMSG, "a packed frame of type %u", f->type);
	if (!(f->flags & RRC_FRAME_ZSTD) && f->stored != f->raw)
		return rrc_fail(err, EBADMSG, "frame with two lengths");
	return 0;
}

int rrc_frame_verify(const struct rrc_frame *f, const void *payload, struct rrc_error *err)
{
	if (frame_sum(f, payload) != f->sum)
		return rrc_fail(err, EBADMSG,
				"checksum of a frame at position %llu does not match: "
				"it was damaged",
				(unsigned long long)f->pos);
	return 0;
}

int rrc_frame_open(const struct rrc_frame *f, const void *payload, void *buf, struct rrc_error *err)
{
	size_t n;

	if (!(f->flags & RRC_FRAME_ZSTD)) {
		memcpy(buf, payload, f->stored);
		return 0;
	}
	n = ZSTD_decompress(buf, f->raw, payload, f->stored);
	if (ZSTD_isError(n) || n != f->raw)
		return rrc_fail(err, EBADMSG, "a frame at position %llu does not decompress",
				(unsigned long long)f->pos);
	return 0;
}

int rrc_hello_open(const struct rrc_frame *f, const void *payload, struct rrc_hello *h,
		   struct rrc_error *err)
{
	if (f->type != RRC_FRAME_HELLO || f->stored != sizeof(*h))
		return rrc_fail(err, EPROTO, "the first frame is no greeting");
	memcpy(h, payload, sizeof(*h));
	if (strnlen(h->name, sizeof(h->name)) == sizeof(h->name) ||
	    strnlen(h->kernel, sizeof(h->kernel)) == sizeof(h->kernel))
		return rrc_fail(err, EPROTO, "a greeting with a name that does not end");
	return 0;
}

struct rrc_packer {
	ZSTD_CCtx *ctx;
	uint8_t *buf;
	size_t size;
};

struct rrc_packer *rrc_packer_new(void)
{
	struct rrc_packer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->ctx = ZSTD_createCCtx();
	if (!p->ctx) {
		free(p);
		return NULL;
	}
	return p;
}

void rrc_packer_free(struct rrc_packer *p)
{
	if (!p)
		return;
	ZSTD_freeCCtx(p->ctx);
	free(p->buf);
	free(p);
}

long rrc_packer_log(struct rrc_packer *p, const void *records, uint32_t len, uint64_t pos,
		    uint64_t aux, const void **out)
{
	size_t need = sizeof(struct rrc_frame) + ZSTD_compressBound(len);
	struct rrc_frame f;
	uint32_t stored = len;
	uint8_t flags = 0;

	if (len > RRC_FRAME_MAX)
		return -EFBIG;
	if (p->size < need) {
		uint8_t *bigger = realloc(p->buf, need);

		if (!bigger)
			return -ENOMEM;
		p->buf = bigger;
		p->size = need;
	}
	if (len >= RRC_ZSTD_LEAST) {
		size_t n = ZSTD_compressCCtx(p->ctx, p->buf + sizeof(f), need - sizeof(f), records,
					     len, RRC_ZSTD_LEVEL);

		if (!ZSTD_isError(n) && n < len) {
			stored = (uint32_t)n;
			flags = RRC_FRAME_ZSTD;
		}
	}
	if (!flags)
		memcpy(p->buf + sizeof(f), records, len);
	rrc_frame_seal(&f, RRC_FRAME_LOG, flags, p->buf + sizeof(f), stored, len, pos, aux);
	memcpy(p->buf, &f, sizeof(f));
	*out = p->buf;
	return (long)(sizeof(f) + stored);
}
