/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From a planned record to the ring. t->rec is the header, t->piece[] says where the bytes are. The
 * ring's own record may be longer than rec.size says: the reader goes by rec.size.
 */
#ifndef RRC_EMIT_BPF_H
#define RRC_EMIT_BPF_H

#include "maps.bpf.h"
#include "plan.bpf.h"

extern int bpf_probe_read_user_dynptr(const struct bpf_dynptr *dst, u32 off, u32 size,
				      const void *unsafe_ptr) __ksym __weak;

struct user_iovec {
	u64 base, len;
};

/* Bytes of user memory into a record, where the kernel has no function for it: by way of a page. */
struct copy_ctx {
	struct bpf_dynptr *dst;
	u64 src;
	u32 off, len;
	int err;
};

static long copy_slice(u64 i, struct copy_ctx *c)
{
	u32 done = i * RRC_SCRATCH, n, zero = 0;
	void *buf = bpf_map_lookup_elem(&rrc_scratch, &zero);

	if (!buf || done >= c->len)
		return 1;
	n = c->len - done;
	if (n > RRC_SCRATCH)
		n = RRC_SCRATCH;
	c->err = bpf_probe_read_user(buf, n, (void *)(c->src + done));
	if (c->err)
		return 1;
	c->err = bpf_dynptr_write(c->dst, c->off + done, buf, n, 0);
	return c->err != 0;
}

static __always_inline int copy_user(struct bpf_dynptr *dst, u32 off, u32 len, u64 src)
{
	struct copy_ctx c = { .dst = dst, .src = src, .off = off, .len = len };

	if (cfg_user_dynptr)
		return bpf_probe_read_user_dynptr(dst, off, len, (void *)src);
	bpf_loop((len + RRC_SCRATCH - 1) / RRC_SCRATCH, copy_slice, &c, 0);
	return c.err;
}

struct iov_ctx {
	struct bpf_dynptr *dst;
	u64 iov;
	u32 off, left;
	int err;
};

static long copy_iov(u64 i, struct iov_ctx *c)
{
	struct user_iovec v;
	u32 n;

	c->err = bpf_probe_read_user(&v, sizeof(v), (void *)(c->iov + i * sizeof(v)));
	if (c->err)
		return 1;
	n = v.len < c->left ? v.len : c->left;
	if (n) {
		c->err = copy_user(c->dst, c->off, n, v.base);
		if (c->err)
			return 1;
		c->off += n;
		c->left -= n;
	}
	return c->left == 0;
}

/* Copies a string by way of the scratch page; its length with the NUL, or negative. */
static __always_inline long copy_str(struct bpf_dynptr *dst, u32 off, u32 max, u64 src)
{
	u32 zero = 0;
	u8 *buf = bpf_map_lookup_elem(&rrc_scratch, &zero);
	long n;

	if (!buf)
		return -1;
	if (max > STR_MAX)
		max = STR_MAX;
	n = bpf_probe_read_user_str(buf, max, (void *)src);
	if (n == 0) { /* what 6.1 says of an empty string */
		buf[0] = 0;
		n = 1;
	}
	if (n < 0 || n > STR_MAX)
		return -1;
	if (bpf_dynptr_write(dst, off, buf, n, 0))
		return -1;
	return n;
}

struct mmsg_copy {
	struct iov_ctx to; /* left: room in the record for all elements together */
	u64 vec;
	u8 kind;
};

static long copy_mmsg(u64 i, struct mmsg_copy *c)
{
	struct user_mmsghdr m;
	struct iov_ctx v = c->to;
	u32 len;

	c->to.err = bpf_probe_read_user(&m, sizeof(m), (void *)(c->vec + i * sizeof(m)));
	if (c->to.err)
		return 1;
	if (c->kind == RRC_PIECE_MMSG) {
		v.iov = m.hdr.iov;
		v.left = m.len < c->to.left ? m.len : c->to.left;
		len = v.left;
		bpf_loop(m.hdr.iovlen < VEC_MAX ? m.hdr.iovlen : VEC_MAX, copy_iov, &v, 0);
		c->to.err = v.err;
		len -= v.left;
	} else {
		bool name = c->kind == RRC_PIECE_MMSGNAME;
		u64 src = name ? m.hdr.name : m.hdr.control;
		u64 n = name ? m.hdr.namelen : m.hdr.controllen;

		len = !src ? 0 : n < c->to.left ? n : c->to.left;
		if (len)
			c->to.err = copy_user(c->to.dst, c->to.off, len, src);
	}
	c->to.off += len;
	c->to.left -= len;
	return c->to.err != 0;
}

struct emit_ctx {
	struct bpf_dynptr *dst;
	struct rrc_thread *t;
	u32 off;
};

static long emit_piece(u64 i, struct emit_ctx *c)
{
	struct rrc_thread *t = c->t;
	struct rrc_piece *p = &t->piece[i & (RRC_REC_MAX_SEG - 1)];
	struct rrc_seg seg = { .row = p->row, .dir = p->dir };
	long n = p->len;

	if (p->kind == RRC_PIECE_BYTES) {
		if (copy_user(c->dst, c->off, p->len, p->src))
			n = -1;
	} else if (p->kind == RRC_PIECE_STR) {
		n = copy_str(c->dst, c->off, p->len, p->src);
	} else {
		struct mmsg_copy m = {
			.to = { .dst = c->dst, .iov = p->src, .off = c->off, .left = p->len },
			.vec = p->src,
			.kind = p->kind,
		};
		u32 count = p->count < VEC_MAX ? p->count : VEC_MAX;

		if (p->kind == RRC_PIECE_IOVEC)
			bpf_loop(count, copy_iov, &m.to, 0);
		else
			bpf_loop(count, copy_mmsg, &m, 0);
		n = m.to.err ? -1 : n - m.to.left;
	}
	if (n < 0) {
		/* The segment stays, empty; rule 4. */
		t->rec.flags |= RRC_F_FAULT | RRC_F_BARRIER;
		count(faults);
		n = 0;
	}
	seg.len = n;
	bpf_dynptr_write(c->dst, sizeof(struct rrc_rec) + (i & (RRC_REC_MAX_SEG - 1)) * sizeof(seg),
			 &seg, sizeof(seg), 0);
	c->off += n;
	return 0;
}

/* Any number of pieces of any kind and size. */
static __always_inline void emit_pieces(struct rrc_thread *t)
{
	u32 fixed = sizeof(struct rrc_rec) + t->npiece * sizeof(struct rrc_seg);
	struct emit_ctx c = { .t = t, .off = fixed };
	struct bpf_dynptr dst;
	u64 zero = 0;
	u32 pad;

	if (bpf_ringbuf_reserve_dynptr(&rrc_events, (fixed + t->total + 7) & ~7u, 0, &dst)) {
		bpf_ringbuf_discard_dynptr(&dst, 0);
		count(lost);
		return;
	}
	c.dst = &dst;
	bpf_loop(t->npiece, emit_piece, &c, 0);
	pad = -c.off & 7;
	if (pad)
		bpf_dynptr_write(&dst, c.off, &zero, pad, 0);
	t->rec.size = c.off + pad;
	t->rec.nseg = t->npiece;
	bpf_dynptr_write(&dst, 0, &t->rec, sizeof(t->rec), 0);
	if (t->rec.flags & RRC_F_BARRIER)
		count_barrier(t->rec.nr);
	bpf_ringbuf_submit_dynptr(&dst, wake_flags(t->rec.flags, t->rec.seq));
}

/* One piece of bytes, of any size. */
static __always_inline void emit_large(struct rrc_thread *t)
{
	struct {
		struct rrc_rec rec;
		struct rrc_seg seg;
	} * r;
	u32 n = t->piece[0].len, off = sizeof(*r), pad;
	struct bpf_dynptr dst;
	u64 zero = 0;

	if (bpf_ringbuf_reserve_dynptr(&rrc_events, (off + n + 7) & ~7u, 0, &dst))
		goto lost;
	if (copy_user(&dst, off, n, t->piece[0].src)) {
		t->rec.flags |= RRC_F_FAULT | RRC_F_BARRIER;
		count(faults);
		n = 0;
	}
	pad = -n & 7;
	if (pad)
		bpf_dynptr_write(&dst, off + n, &zero, pad, 0);
	t->rec.size = off + n + pad;
	t->rec.nseg = 1;
	r = bpf_dynptr_data(&dst, 0, sizeof(*r));
	if (!r)
		goto lost;
	r->rec = t->rec;
	r->seg = (struct rrc_seg){ .len = n, .row = t->piece[0].row, .dir = t->piece[0].dir };
	if (t->rec.flags & RRC_F_BARRIER)
		count_barrier(t->rec.nr);
	bpf_ringbuf_submit_dynptr(&dst, wake_flags(t->rec.flags, t->rec.seq));
	return;
lost:
	bpf_ringbuf_discard_dynptr(&dst, 0);
	count(lost);
}

/* One piece of at most N bytes (a power of two): no call per field, constant sizes. */
#define EMIT_ONE(t, N)                                                                            \
	({                                                                                        \
		struct {                                                                          \
			struct rrc_rec rec;                                                       \
			struct rrc_seg seg;                                                       \
			u8 data[N];                                                               \
		} *_r = bpf_ringbuf_reserve(&rrc_events, sizeof(*_r), 0);                         \
		struct rrc_piece *_p = &(t)->piece[0];                                            \
		u32 _n = _p->len;                                                                 \
                                                                                                  \
		if (!_r) {                                                                        \
			count(lost);                                                              \
		} else {                                                                          \
			if (_n > (N))                                                             \
				_n = (N);                                                         \
			*(u64 *)(_r->data + ((_n - 1) & ((N)-8))) = 0;                            \
			if (bpf_probe_read_user(_r->data, _n, (void *)_p->src)) {                 \
				(t)->rec.flags |= RRC_F_FAULT | RRC_F_BARRIER;                    \
				count(faults);                                                    \
				_n = 0;                                                           \
			}                                                                         \
			(t)->rec.nseg = 1;                                                        \
			(t)->rec.size =                                                           \
				(sizeof(struct rrc_rec) + sizeof(struct rrc_seg) + _n + 7) & ~7u; \
			_r->seg = (struct rrc_seg){ .len = _n, .row = _p->row, .dir = _p->dir };  \
			_r->rec = (t)->rec;                                                       \
			if ((t)->rec.flags & RRC_F_BARRIER)                                       \
				count_barrier((t)->rec.nr);                                       \
			bpf_ringbuf_submit(_r, wake_flags((t)->rec.flags, (t)->rec.seq));         \
		}                                                                                 \
	})

static __always_inline void emit_bare(struct rrc_thread *t)
{
	struct rrc_rec *r = bpf_ringbuf_reserve(&rrc_events, sizeof(*r), 0);

	if (!r) {
		count(lost);
		return;
	}
	t->rec.size = sizeof(*r);
	t->rec.nseg = 0;
	*r = t->rec;
	if (t->rec.flags & RRC_F_BARRIER)
		count_barrier(t->rec.nr);
	bpf_ringbuf_submit(r, wake_flags(t->rec.flags, t->rec.seq));
}

/* Places the record that t describes. A function of its own for the verifier. */
__noinline int rrc_emit(struct rrc_thread *t)
{
	if (!t)
		return 0;
	t->calls++;
	t->rec.seq = next_seq();
	t->rec.exit_ns = bpf_ktime_get_ns(); /* before anybody can see the record: rule 2 */
	if (!t->npiece)
		emit_bare(t);
	else if (t->npiece > 1 || t->piece[0].kind != RRC_PIECE_BYTES)
		emit_pieces(t);
	else if (t->total > 512)
		emit_large(t);
	else if (t->total <= 32)
		EMIT_ONE(t, 32);
	else if (t->total <= 128)
		EMIT_ONE(t, 128);
	else
		EMIT_ONE(t, 512);
	return 0;
}

#endif
