/* SPDX-License-Identifier: GPL-2.0 */
/* From a call's row in the table to the pieces of its record: where the bytes are and how many. */
#ifndef RRC_PLAN_BPF_H
#define RRC_PLAN_BPF_H

#include "maps.bpf.h"

/* A dynptr holds less than 16 MiB; the table's own limit is above that. */
#define MAX_PAYLOAD ((16u << 20) - 4096)
#define EFAULT	    14
#define PAGE_SIZE   4096
#define STR_MAX	    4096
#define VEC_MAX	    1024 /* UIO_MAXIOV: the kernel takes no more elements at once */

struct user_msghdr {
	u64 name;
	u32 namelen, pad;
	u64 iov, iovlen;
	u64 control, controllen;
	u32 flags, pad2;
};

struct user_mmsghdr {
	struct user_msghdr hdr;
	u32 len, pad;
};

static __always_inline u64 arg_of(struct rrc_thread *t, u8 i)
{
	return i < 6 ? t->rec.args[i] : 0;
}

static __always_inline void fault(struct rrc_thread *t)
{
	t->rec.flags |= RRC_F_FAULT | RRC_F_BARRIER;
	count(faults);
}

static __always_inline void truncated(struct rrc_thread *t)
{
	t->rec.flags |= RRC_F_TRUNC | RRC_F_BARRIER;
	count(truncated);
}

/* A limit of the table that cuts bytes which came out is told; one that cuts those that went in is
 * the kernel's own. */
static __always_inline u64 at_most(struct rrc_thread *t, struct rrc_piece *p, u64 len, u32 k)
{
	if (!k || len <= k)
		return len;
	if (p->dir == RRC_SEG_OUT)
		truncated(t);
	return k;
}

static __always_inline void add_piece(struct rrc_thread *t, struct rrc_piece *p, u64 len)
{
	u32 n = t->npiece;

	if (!len)
		return;
	if (n >= RRC_REC_MAX_SEG || len > MAX_PAYLOAD || t->total + len > MAX_PAYLOAD) {
		truncated(t);
		return;
	}
	p->len = len;
	t->piece[n & (RRC_REC_MAX_SEG - 1)] = *p;
	t->total += len;
	t->npiece = n + 1;
}

static __always_inline void plan_msghdr(struct rrc_thread *t, struct rrc_piece *p, u64 ptr, u8 how,
					u32 k)
{
	struct user_msghdr h;
	u64 len;

	if (bpf_probe_read_user(&h, sizeof(h), (void *)ptr)) {
		if (t->rec.ret != -EFAULT)
			fault(t);
		return;
	}
	if (how == RRC_LEN_MSGHDR) {
		/* The result can be more than the vector holds (MSG_TRUNC): the vector's end ends it. */
		p->kind = RRC_PIECE_IOVEC;
		p->src = h.iov;
		p->count = h.iovlen;
		len = t->rec.ret;
	} else if (how == RRC_LEN_MSGNAME) {
		p->src = h.name;
		len = h.name ? at_most(t, p, h.namelen, k) : 0;
	} else {
		p->src = h.control;
		len = h.control ? at_most(t, p, h.controllen, k) : 0;
		/* Descriptors may be in it, which nobody can give out again. */
		if (len && t->rec.fdkind == RRC_FD_UNIX)
			t->rec.flags |= RRC_F_BARRIER;
	}
	add_piece(t, p, len);
}

struct mmsg_ctx {
	u64 ptr, sum;
	u8 how;
	u8 err;
};

static long sum_mmsg(u64 i, struct mmsg_ctx *c)
{
	struct user_mmsghdr m;

	if (bpf_probe_read_user(&m, sizeof(m), (void *)(c->ptr + i * sizeof(m)))) {
		c->err = 1;
		return 1;
	}
	if (c->how == RRC_LEN_MMSGHDR)
		c->sum += m.len;
	else if (c->how == RRC_LEN_MMSGNAME)
		c->sum += m.hdr.name ? m.hdr.namelen : 0;
	else
		c->sum += m.hdr.control ? m.hdr.controllen : 0;
	return 0;
}

static __always_inline void plan_mmsghdr(struct rrc_thread *t, struct rrc_piece *p, u64 ptr, u8 how)
{
	struct mmsg_ctx c = { .ptr = ptr, .how = how };
	s64 n = t->rec.ret;

	if (n <= 0)
		return;
	if (n > VEC_MAX)
		n = VEC_MAX;
	bpf_loop(n, sum_mmsg, &c, 0);
	if (c.err) {
		fault(t);
		return;
	}
	if (how == RRC_LEN_MMSGCTL && c.sum && t->rec.fdkind == RRC_FD_UNIX)
		t->rec.flags |= RRC_F_BARRIER;
	p->kind = how == RRC_LEN_MMSGHDR    ? RRC_PIECE_MMSG
		  : how == RRC_LEN_MMSGNAME ? RRC_PIECE_MMSGNAME
					    : RRC_PIECE_MMSGCTL;
	p->count = n;
	add_piece(t, p, c.sum);
}

/* Length and direction by the command; one that is not known is a barrier and has no segment. */
static __always_inline u64 plan_command(struct rrc_thread *t, struct rrc_piece *p, u8 arg)
{
	u64 key = RRC_CMD_KEY(t->rec.nr, arg_of(t, arg));
	struct rrc_cmdrow *c = bpf_map_lookup_elem(&rrc_cmds, &key);

	if (!c)
		return 0;
	p->dir = c->dir;
	return c->len;
}

static __always_inline u64 plan_valres(struct rrc_thread *t, struct rrc_piece *p,
				       const volatile struct rrc_segrow *row, u32 i)
{
	u32 value;

	if (bpf_probe_read_user(&value, sizeof(value), (void *)arg_of(t, row->arg)))
		return 0;
	if (cfg_rows[t->rec.nr & (RRC_NSYS - 1)].flags & RRC_ROW_ENTRY_VALRES &&
	    value > t->entry_len[i])
		value = t->entry_len[i];
	return at_most(t, p, value, row->k);
}

/* Pieces of one row of segments of the call t->rec. A function of its own for the verifier. */
__noinline int rrc_plan_row(struct rrc_thread *t, u32 i)
{
	const volatile struct rrc_segrow *row;
	struct rrc_piece p = { .row = i };
	u64 ptr, len = 0;
	u32 k;
	u8 byte;

	if (!t || i >= RRC_ROW_SEGS)
		return 0;
	row = &cfg_rows[t->rec.nr & (RRC_NSYS - 1)].seg[i];
	if (row->when == RRC_WHEN_OK && t->rec.ret < 0)
		return 0;
	ptr = arg_of(t, row->ptr);
	if (!ptr)
		return 0;
	if (t->rec.ret == -EFAULT && bpf_probe_read_user(&byte, 1, (void *)ptr))
		return 0;
	p.src = ptr;
	p.dir = row->dir;
	k = row->k;
	switch (row->len) {
	case RRC_LEN_RET:
		len = t->rec.ret;
		break;
	case RRC_LEN_RETMUL:
		len = t->rec.ret * k;
		break;
	case RRC_LEN_RETCAP:
		len = t->rec.ret;
		if (arg_of(t, row->arg) < len)
			len = arg_of(t, row->arg);
		if (k)
			len *= k;
		break;
	case RRC_LEN_CONST:
		len = k;
		break;
	case RRC_LEN_ARG:
		len = at_most(t, &p, arg_of(t, row->arg), k);
		break;
	case RRC_LEN_ARGMUL:
		len = (u64)(u32)arg_of(t, row->arg) * k;
		break;
	case RRC_LEN_VALRES:
		len = plan_valres(t, &p, row, i);
		break;
	case RRC_LEN_STR:
		p.kind = RRC_PIECE_STR;
		len = k && k < STR_MAX ? k : STR_MAX;
		break;
	case RRC_LEN_IOVEC:
		p.kind = RRC_PIECE_IOVEC;
		p.count = arg_of(t, row->arg);
		len = t->rec.ret;
		break;
	case RRC_LEN_MSGHDR:
	case RRC_LEN_MSGNAME:
	case RRC_LEN_MSGCTL:
		plan_msghdr(t, &p, ptr, row->len, k);
		return 0;
	case RRC_LEN_MMSGHDR:
	case RRC_LEN_MMSGNAME:
	case RRC_LEN_MMSGCTL:
		plan_mmsghdr(t, &p, ptr, row->len);
		return 0;
	case RRC_LEN_FDSET:
		len = (((u64)(u32)arg_of(t, row->arg) + 63) / 64) * 8;
		break;
	case RRC_LEN_PAGES:
		len = (arg_of(t, row->arg) + PAGE_SIZE - 1) / PAGE_SIZE;
		break;
	case RRC_LEN_IOCTL:
		len = plan_command(t, &p, row->arg);
		break;
	}
	if ((s64)len < 0)
		len = 0;
	add_piece(t, &p, len);
	return 0;
}

/* The same for most calls of a server, without the general case's detours: one segment whose length is
 * the result or a constant. False: not such a call. */
static __always_inline bool plan_simple(struct rrc_thread *t, const volatile struct rrc_sysrow *row,
					u8 nseg)
{
	struct rrc_piece *p = &t->piece[0];
	u8 how = row->seg[0].len;
	s64 ret = t->rec.ret;
	u64 len, ptr;

	if (nseg != 1 || ret < 0)
		return nseg == 1 && row->seg[0].when == RRC_WHEN_OK;
	if (how == RRC_LEN_RET)
		len = ret;
	else if (how == RRC_LEN_CONST)
		len = row->seg[0].k;
	else if (how == RRC_LEN_RETMUL)
		len = ret * row->seg[0].k;
	else
		return false;
	ptr = arg_of(t, row->seg[0].ptr);
	if (!len || !ptr)
		return true;
	if (len > MAX_PAYLOAD)
		return false;
	p->src = ptr;
	p->len = len;
	p->kind = RRC_PIECE_BYTES;
	p->row = 0;
	p->dir = row->seg[0].dir;
	t->npiece = 1;
	t->total = len;
	return true;
}

/* Lengths that the kernel overwrites are read before it does. */
__noinline int rrc_entry_len(struct rrc_thread *t, u32 i)
{
	const volatile struct rrc_segrow *row;
	u32 value = 0;

	if (!t || i >= RRC_ROW_SEGS)
		return 0;
	row = &cfg_rows[t->rec.nr & (RRC_NSYS - 1)].seg[i];
	if (row->len != RRC_LEN_VALRES)
		return 0;
	/* Not readable now: no limit. */
	if (bpf_probe_read_user(&value, sizeof(value), (void *)arg_of(t, row->arg)))
		value = ~0u;
	t->entry_len[i] = value;
	return 0;
}

#endif
