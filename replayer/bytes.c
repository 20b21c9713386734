// SPDX-License-Identifier: MIT
/* A record's segments and the program's memory: inputs compared, outputs written where they belong. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ptrace.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"

#define IOV_MAX_COUNT 1024

/* As the kernel has them: struct msghdr and mmsghdr of libc are the same on x86-64. */
struct vec_list {
	struct iovec *iov;
	size_t n, cap;
	uint64_t left; /* bytes of the segment that have no place yet */
};

static int add_place(struct vec_list *v, uint64_t addr, uint64_t len)
{
	len = rrc_min(len, v->left);
	if (!len)
		return 0;
	if (v->n == v->cap) {
		size_t cap = v->cap ? v->cap * 2 : 8;
		struct iovec *more = realloc(v->iov, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		v->iov = more;
		v->cap = cap;
	}
	v->iov[v->n++] = (struct iovec){ (void *)addr, len };
	v->left -= len;
	return 0;
}

static int add_iovec(const struct tracee *t, struct vec_list *v, uint64_t addr, uint64_t count)
{
	rrc_autofree struct iovec *iov = NULL;
	int r;

	if (count > IOV_MAX_COUNT)
		return -EINVAL;
	iov = calloc(count + 1, sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	r = rrc_mem_read(t->tid, addr, iov, count * sizeof(*iov));
	for (uint64_t i = 0; !r && i < count && v->left; i++)
		r = add_place(v, (uint64_t)iov[i].iov_base, iov[i].iov_len);
	return r;
}

static int add_msg(const struct tracee *t, struct vec_list *v, uint64_t addr, unsigned int kind)
{
	struct msghdr h;
	int r = rrc_mem_read(t->tid, addr, &h, sizeof(h));

	if (r)
		return r;
	switch (kind) {
	case RRC_LEN_MSGNAME:
	case RRC_LEN_MMSGNAME:
		return add_place(v, (uint64_t)h.msg_name, h.msg_namelen);
	case RRC_LEN_MSGCTL:
	case RRC_LEN_MMSGCTL:
		return add_place(v, (uint64_t)h.msg_control, h.msg_controllen);
	default:
		return add_iovec(t, v, (uint64_t)h.msg_iov, h.msg_iovlen);
	}
}

/* How many bytes of element i were moved: a result, so from the log. */
static uint32_t moved(const struct rrc_rec *rec, int64_t i)
{
	const size_t at = (size_t)i * sizeof(struct mmsghdr) + offsetof(struct mmsghdr, msg_len);
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &data);
	uint32_t len = UINT32_MAX;

	if (seg && at + sizeof(len) <= seg->len)
		memcpy(&len, data + at, sizeof(len));
	return len;
}

/* Elements from seg.index on, until the segment's bytes all have their place. */
static int add_mmsg(const struct tracee *t, struct vec_list *v, uint64_t addr, unsigned int kind,
		    const struct rrc_seg *seg, const struct rrc_rec *rec)
{
	int r = 0;

	for (int64_t i = seg->index; !r && i < rec->ret && v->left; i++) {
		uint64_t rest = 0;
		uint32_t len = moved(rec, i);

		if (kind == RRC_LEN_MMSGHDR && v->left > len) {
			rest = v->left - len;
			v->left = len;
		}
		r = add_msg(t, v, addr + (uint64_t)i * sizeof(struct mmsghdr), kind);
		v->left += rest;
	}
	return r;
}

/* The call's row: of a restarted call that of the call it is the rest of. */
static const struct rrc_sysrow *row_of(const struct tracee *t, const struct rrc_rec *rec)
{
	if (rec->nr == RRC_NR_restart_syscall && t->restart)
		return rrc_sysrow(t->restart->nr);
	return rrc_sysrow(rec->nr);
}

/* Where a segment's bytes are in the program's memory. */
static int places(const struct tracee *t, const struct rrc_rec *rec, const struct rrc_seg *seg,
		  struct vec_list *v)
{
	const struct rrc_sysrow *row = row_of(t, rec);
	const struct rrc_segrow *sr = &row->seg[seg->row];
	uint64_t args[6], ptr;
	int r;

	if (seg->row >= row->nseg)
		return -EBADMSG;
	rrc_regs_args(&t->regs, args);
	ptr = args[sr->ptr % 6];
	v->left = seg->len;
	switch (sr->len) {
	case RRC_LEN_IOVEC:
		r = add_iovec(t, v, ptr, args[sr->arg % 6]);
		break;
	case RRC_LEN_MSGHDR:
	case RRC_LEN_MSGNAME:
	case RRC_LEN_MSGCTL:
		r = add_msg(t, v, ptr, sr->len);
		break;
	case RRC_LEN_MMSGHDR:
	case RRC_LEN_MMSGNAME:
	case RRC_LEN_MMSGCTL:
		r = add_mmsg(t, v, ptr, sr->len, seg, rec);
		break;
	default:
		r = add_place(v, ptr, seg->len);
	}
	return r ? r : v->left ? -EBADMSG : 0;
}

/* The places as local copies: buf holds seg.len bytes. */
static int read_places(const struct tracee *t, const struct vec_list *v, uint8_t *buf)
{
	for (size_t i = 0; i < v->n; i++) {
		int r = rrc_mem_read(t->tid, (uint64_t)v->iov[i].iov_base, buf, v->iov[i].iov_len);

		if (r)
			return r;
		buf += v->iov[i].iov_len;
	}
	return 0;
}

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i;
}

/* A few bytes around a difference, printable. */
static void excerpt(char *out, size_t size, const uint8_t *p, size_t at, size_t len)
{
	size_t from = at > 8 ? at - 8 : 0, n = 0;

	for (size_t i = from; i < len && i < from + 32 && n + 5 < size; i++) {
		if (p[i] >= ' ' && p[i] < 0x7f && p[i] != '\\')
			out[n++] = (char)p[i];
		else
			n += (size_t)snprintf(out + n, size - n, "\\x%02x", p[i]);
	}
	out[n] = '\0';
}

/* 0: the program's bytes are the recorded ones; 1: not; negative: not readable. */
static int same_bytes(struct rrc_engine *e, const struct tracee *t, const struct rrc_rec *rec,
		      const struct rrc_seg *seg, const uint8_t *data)
{
	rrc_autofree uint8_t *mine = malloc(seg->len + 1);
	struct vec_list v = { 0 };
	char here[160], there[160];
	size_t at;
	int r;

	if (!mine)
		return -ENOMEM;
	r = places(t, rec, seg, &v);
	r = r ? r : read_places(t, &v, mine);
	free(v.iov);
	if (r == -ENOMEM)
		return r;
	if (r) {
		snprintf(e->rep.first, sizeof(e->rep.first), "%u bytes of %s are not readable",
			 seg->len, rrc_sysname(rec->nr));
		return 1;
	}
	e->rep.bytes += seg->len;
	at = first_difference(mine, data, seg->len);
	if (at == seg->len)
		return 0;
	excerpt(here, sizeof(here), mine, at, seg->len);
	excerpt(there, sizeof(there), data, at, seg->len);
	snprintf(e->rep.first, sizeof(e->rep.first),
		 "%s has \"%s\" where the log has \"%s\" (byte %zu of %u)", rrc_sysname(rec->nr),
		 here, there, at, seg->len);
	return 1;
}

/* Inputs are recorded at the call's exit: one that the kernel wrote to is not what was given. */
bool rrc_bytes_overwritten(const struct rrc_rec *rec, unsigned int seg)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	uint64_t at, other;

	if (segs[seg].row >= row->nseg)
		return false;
	at = rec->args[row->seg[segs[seg].row].ptr % 6];
	for (unsigned int i = 0; i < rec->nseg; i++) {
		if (segs[i].dir != RRC_SEG_OUT || segs[i].row >= row->nseg)
			continue;
		other = rec->args[row->seg[segs[i].row].ptr % 6];
		if (other < at + segs[seg].len && at < other + segs[i].len)
			return true;
	}
	return false;
}

int rrc_bytes_check(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *data = rrc_rec_payload(rec);

	/* bytes of a file that went straight to a socket are not in memory */
	if (row->special == RRC_S_SENDFILE)
		return 0;
	for (unsigned int i = 0; i < rec->nseg; i++) {
		if (segs[i].dir == RRC_SEG_IN && !rrc_bytes_overwritten(rec, i)) {
			int r = same_bytes(e, t, rec, &segs[i], data);

			if (r)
				return r;
			if (row->flags & RRC_ROW_OUTPUT && segs[i].row == 0) {
				e->rep.outputs++;
				e->rep.output_bytes += segs[i].len;
			}
		}
		data += segs[i].len;
	}
	return 0;
}

int rrc_bytes_write(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct rrc_error *err)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *data = rrc_rec_payload(rec);

	(void)e;
	for (unsigned int i = 0; i < rec->nseg; data += segs[i].len, i++) {
		struct vec_list v = { 0 };
		const uint8_t *from = data;
		int r;

		if (segs[i].dir != RRC_SEG_OUT)
			continue;
		r = places(t, rec, &segs[i], &v);
		for (size_t k = 0; !r && k < v.n; k++) {
			r = rrc_mem_write(t->tid, (uint64_t)v.iov[k].iov_base, from,
					  v.iov[k].iov_len);
			from += v.iov[k].iov_len;
		}
		free(v.iov);
		if (r)
			return rrc_fail(err, r, "thread %u: cannot write the results of %s: %s",
					t->ns_tid, rrc_sysname(rec->nr), strerror(-r));
	}
	return 0;
}

int rrc_bytes_same(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *data = rrc_rec_payload(rec);

	for (unsigned int i = 0; i < rec->nseg; data += segs[i].len, i++)
		if (segs[i].dir == RRC_SEG_OUT && same_bytes(e, t, rec, &segs[i], data))
			return 1;
	return 0;
}
