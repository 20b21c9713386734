/* SPDX-License-Identifier: MIT */
/*
 * Reads a log in memory. The bytes come from outside (a link, a file), so nothing is used before
 * its bounds are checked, and what the format does not know is refused.
 */
#include <errno.h>
#include <string.h>

#include "locklog.h"
#include "reclog.h"
#include "syscalls.h"
#include "util.h"

#define ALL_FLAGS                                                                       \
	(RRC_F_BARRIER | RRC_F_FAULT | RRC_F_TRUNC | RRC_F_UNPATCHED | RRC_F_NONBLOCK | \
	 RRC_F_COMPAT)
#define MAX_SIZE \
	(RRC_REC_MAX_SIZE + sizeof(struct rrc_rec) + RRC_REC_MAX_SEG * sizeof(struct rrc_seg))

static int bad(struct rrc_error *err, const char *what, unsigned long long value)
{
	return rrc_fail(err, -EBADMSG, "record: %s (%llu)", what, value);
}

/* Size of the structure that a record of this kind holds; 0: none, nor a segment for it. */
static size_t kind_size(unsigned int kind)
{
	switch (kind) {
	case RRC_REC_SIGNAL:
		return sizeof(struct rrc_rec_signal);
	case RRC_REC_EXEC:
		return sizeof(struct rrc_rec_exec);
	case RRC_REC_PACKET:
		return sizeof(struct rrc_rec_packet);
	case RRC_REC_CONN:
		return sizeof(struct rrc_rec_conn);
	default:
		return 0;
	}
}

static int is_call(const struct rrc_rec *rec)
{
	return rec->kind == RRC_REC_SYSCALL || rec->kind == RRC_REC_ENTER;
}

static int check_header(const struct rrc_rec *rec, size_t len, struct rrc_error *err)
{
	if (rec->size < sizeof(*rec) || rec->size % 8 || rec->size > MAX_SIZE)
		return bad(err, "impossible size", rec->size);
	if (rec->size > len)
		return bad(err, "goes on after the end of the log, size", rec->size);
	if (rec->kind == RRC_REC_NONE || rec->kind >= RRC_REC_KINDS)
		return bad(err, "unknown kind", rec->kind);
	if (rec->fdkind >= RRC_FDKINDS)
		return bad(err, "unknown kind of descriptor", rec->fdkind);
	if (rec->flags & ~ALL_FLAGS)
		return bad(err, "unknown flags", rec->flags);
	/* A program may ask for any number: what the table does not have is a barrier. */
	if (rec->nr >= RRC_NSYS && !(rec->flags & RRC_F_BARRIER))
		return bad(err, "impossible call number", rec->nr);
	if (rec->reserved)
		return bad(err, "reserved byte is set", rec->reserved);
	if (rec->nseg > RRC_REC_MAX_SEG)
		return bad(err, "too many segments", rec->nseg);
	if (sizeof(*rec) + rec->nseg * sizeof(struct rrc_seg) > rec->size)
		return bad(err, "no room for its segments", rec->nseg);
	return 0;
}

/* Segments are within the record and make up all of it but the padding, which is zero. */
static int check_segs(const struct rrc_rec *rec, struct rrc_error *err)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *bytes = (const uint8_t *)rec;
	uint64_t used = sizeof(*rec) + rec->nseg * sizeof(struct rrc_seg);

	for (unsigned int i = 0; i < rec->nseg; i++) {
		if (segs[i].dir > RRC_SEG_IN)
			return bad(err, "unknown direction of a segment", segs[i].dir);
		if (segs[i].row >= (is_call(rec) ? RRC_ROW_SEGS : 1))
			return bad(err, "segment of a row that no call has", segs[i].row);
		used += segs[i].len;
	}
	if (RRC_ALIGN8(used) != rec->size)
		return bad(err, "segments and size disagree, bytes used", used);
	for (; used < rec->size; used++)
		if (bytes[used])
			return bad(err, "padding is not zero", bytes[used]);
	return 0;
}

/* A packet's own length counts the bytes after its structure; fewer only if it says so. */
static int check_packet(const struct rrc_rec *rec, size_t len, struct rrc_error *err)
{
	struct rrc_rec_packet pkt;

	memcpy(&pkt, rrc_rec_payload(rec), sizeof(pkt));
	if (len - sizeof(pkt) == pkt.len)
		return 0;
	if ((rec->flags & RRC_F_TRUNC) && len - sizeof(pkt) < pkt.len)
		return 0;
	return bad(err, "length of the packet and of its segment disagree", pkt.len);
}

/* Whole events of a slot that can be. */
static int check_locks(const struct rrc_rec *rec, struct rrc_error *err)
{
	if (rec->nseg != 1)
		return bad(err, "wrong number of segments for its kind", rec->nseg);
	if (rrc_rec_segs(rec)->len % sizeof(struct rrc_ll_event) ||
	    rrc_rec_segs(rec)->len > RRC_LL_RING * sizeof(struct rrc_ll_event))
		return bad(err, "no whole number of lock events, bytes", rrc_rec_segs(rec)->len);
	if (rec->args[0] >= RRC_LL_SLOTS)
		return bad(err, "impossible thread slot", rec->args[0]);
	/* They wrap, each at its own time: what is done may be the larger number. */
	if (rec->args[1] > UINT32_MAX || rec->args[2] > UINT32_MAX)
		return bad(err, "impossible number of operations", rec->args[1]);
	return 0;
}

static int check_kind(const struct rrc_rec *rec, struct rrc_error *err)
{
	size_t want = kind_size(rec->kind), len;

	if (is_call(rec))
		return 0;
	if (rec->kind == RRC_REC_LOCKS)
		return check_locks(rec, err);
	if (rec->nseg != (want ? 1 : 0))
		return bad(err, "wrong number of segments for its kind", rec->nseg);
	if (!want)
		return 0;
	len = rrc_rec_segs(rec)->len;
	if (len < want || (len > want && rec->kind != RRC_REC_PACKET))
		return bad(err, "wrong length for its kind", len);
	return rec->kind == RRC_REC_PACKET ? check_packet(rec, len, err) : 0;
}

int rrc_rec_check(const void *buf, size_t len, struct rrc_error *err)
{
	const struct rrc_rec *rec = buf;
	int ret;

	if ((uintptr_t)buf % 8)
		return bad(err, "not at a multiple of 8", (uintptr_t)buf % 8);
	if (len < sizeof(*rec))
		return bad(err, "header is cut, bytes left", len);
	ret = check_header(rec, len, err);
	if (!ret)
		ret = check_segs(rec, err);
	return ret ? ret : check_kind(rec, err);
}

const struct rrc_seg *rrc_rec_segs(const struct rrc_rec *rec)
{
	return (const struct rrc_seg *)(rec + 1);
}

const uint8_t *rrc_rec_payload(const struct rrc_rec *rec)
{
	return (const uint8_t *)(rrc_rec_segs(rec) + rec->nseg);
}

const struct rrc_seg *rrc_rec_seg(const struct rrc_rec *rec, unsigned int row, const uint8_t **data)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *pos = rrc_rec_payload(rec);

	for (unsigned int i = 0; i < rec->nseg; i++) {
		if (segs[i].row == row && segs[i].index == 0) {
			*data = pos;
			return &segs[i];
		}
		pos += segs[i].len;
	}
	return NULL;
}

const struct rrc_seg *rrc_rec_input(const struct rrc_rec *rec, const uint8_t **data)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);

	*data = rrc_rec_payload(rec);
	for (unsigned int i = 0; i < rec->nseg; *data += segs[i].len, i++)
		if (segs[i].dir == RRC_SEG_IN)
			return &segs[i];
	return NULL;
}

int64_t rrc_rec_dents_end(const struct rrc_rec *rec)
{
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &data);
	int64_t off = -1;
	uint16_t len;

	/* both kinds of entry have the offset at 8 and their length at 16 */
	for (size_t at = 0; seg && at + 19 <= seg->len; at += len) {
		memcpy(&off, data + at + 8, sizeof(off));
		memcpy(&len, data + at + 16, sizeof(len));
		if (!len)
			break;
	}
	return off;
}

const struct rrc_rec *rrc_reclog_next(const void *log, size_t len, size_t *off,
				      struct rrc_error *err)
{
	const uint8_t *at = (const uint8_t *)log + *off;

	if (*off >= len)
		return NULL;
	if (rrc_rec_check(at, len - *off, err)) {
		rrc_wrap(err, "log, byte %zu", *off);
		return NULL;
	}
	*off += ((const struct rrc_rec *)at)->size;
	return (const struct rrc_rec *)at;
}
