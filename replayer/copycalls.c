// SPDX-License-Identifier: MIT
/* Calls that a copy is to be given again, see copycalls.h. Descriptors are given their recorded numbers when a call
 * makes them, so that leaving others out changes none. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "carry.h"
#include "copycalls.h"
#include "reclog.h"
#include "syscalls.h"
#include "util.h"

int rrc_copycalls_reserve(struct rrc_copycalls *c, size_t more)
{
	size_t size = rrc_max(c->n + more, c->size * 2);
	struct rrc_rec **bigger;

	if (c->n + more <= c->size)
		return 0;
	bigger = realloc(c->list, size * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	c->list = bigger;
	c->size = size;
	return 0;
}

int rrc_copycalls_read(struct rrc_copycalls *c, const void *log, size_t len, struct rrc_error *err)
{
	const struct rrc_rec *rec;
	size_t off = 0;

	while ((rec = rrc_reclog_next(log, len, &off, err))) {
		enum rrc_carry carry = rrc_carry_of(rec);
		struct rrc_rec *copy;

		if (carry == RRC_CARRY_NOTHING)
			continue;
		if (carry == RRC_CARRY_WHOLE)
			return rrc_fail(err, EOPNOTSUPP, "%s needs a whole checkpoint",
					rec->kind == RRC_REC_SYSCALL ? rrc_sysname(rec->nr)
								     : "a record that is no call");
		copy = rrc_copycalls_reserve(c, 1) ? NULL : malloc(rec->size);
		if (!copy)
			return rrc_fail(err, ENOMEM, "no memory for calls");
		memcpy(copy, rec, rec->size);
		rrc_copycalls_add(c, copy);
	}
	return err->code;
}

void rrc_copycalls_free(struct rrc_copycalls *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->list[i]);
	free(c->list);
	*c = (struct rrc_copycalls){ 0 };
}

/* ---- a descriptor's life ---- */

/* Its result is this new descriptor, and nothing else came of it. */
static bool makes(const struct rrc_rec *rec, int64_t fd)
{
	int how = rec->nr == RRC_NR_open ? 1 : 2;

	if (rec->ret != fd || !(rrc_sysrow(rec->nr)->flags & RRC_ROW_FDRET))
		return false;
	switch (rec->nr) {
	case RRC_NR_open:
	case RRC_NR_openat:
		return !(rec->args[how] & (O_CREAT | O_TRUNC));
	case RRC_NR_accept:
	case RRC_NR_accept4:
	case RRC_NR_socket:
	case RRC_NR_eventfd2:
	case RRC_NR_timerfd_create:
	case RRC_NR_epoll_create1:
		return true;
	default:
		return false;
	}
}

static bool is_about(const struct rrc_rec *rec, uint64_t fd)
{
	unsigned int arg = rrc_sysrow(rec->nr)->fd;

	return (arg < 6 && rec->args[arg] == fd) ||
	       (rec->nr == RRC_NR_epoll_ctl && rec->args[2] == fd) ||
	       (rrc_sysrow(rec->nr)->flags & RRC_ROW_FDRET && rec->ret == (int64_t)fd);
}

/* Gone with the descriptor that it was about. */
static bool ends_with_it(const struct rrc_rec *rec, uint64_t fd)
{
	switch (rec->nr) {
	case RRC_NR_lseek:
	case RRC_NR_epoll_ctl:
	case RRC_NR_setsockopt:
	case RRC_NR_ioctl:
	case RRC_NR_timerfd_settime:
		return true;
	case RRC_NR_fcntl:
		return rec->args[1] == F_SETFL || rec->args[1] == F_SETFD;
	default:
		break;
	}
	switch (rrc_carry_of(rec)) {
	case RRC_CARRY_READ:
	case RRC_CARRY_WRITE:
		return rec->fdkind == RRC_FD_ANON && rec->args[0] == fd;
	case RRC_CARRY_OFFSET:
		return true;
	default:
		return false;
	}
}

static void leave_out(struct rrc_copycalls *c, size_t from, uint32_t pid, uint64_t fd)
{
	size_t to = from;

	for (size_t i = from; i < c->n; i++) {
		struct rrc_rec *rec = c->list[i];

		if (rec->pid == pid && is_about(rec, fd)) {
			c->bytes -= rec->size;
			free(rec);
		} else {
			c->list[to++] = rec;
		}
	}
	c->n = to;
}

/* A descriptor was closed whose making is in the list. true: both went, with what was between. */
static bool closed(struct rrc_copycalls *c, const struct rrc_rec *rec)
{
	uint64_t fd = rec->args[0];

	for (size_t i = c->n; i-- > 0;) {
		const struct rrc_rec *r = c->list[i];

		if (r->pid != rec->pid || !is_about(r, fd))
			continue;
		/* Another thread has got the number again before this one was seen to give it back. */
		if (rec->entry_ns && r->exit_ns > rec->entry_ns)
			return false;
		if (makes(r, (int64_t)fd)) {
			leave_out(c, i, rec->pid, fd);
			return true;
		}
		if (!ends_with_it(r, fd))
			return false;
	}
	return false;
}

/* ---- memory that was given back ---- */

/* The same advice again: what it did before is as if it had not been, but for memory that was moved meanwhile. */
static void advised(struct rrc_copycalls *c, const struct rrc_rec *rec)
{
	for (size_t i = c->n; i-- > 0;) {
		struct rrc_rec *r = c->list[i];

		if (r->pid != rec->pid)
			continue;
		if (r->nr == RRC_NR_mremap)
			return;
		if (r->nr != RRC_NR_madvise || memcmp(r->args, rec->args, 3 * sizeof(*r->args)))
			continue;
		c->bytes -= r->size;
		free(r);
		memmove(&c->list[i], &c->list[i + 1], (c->n - i - 1) * sizeof(struct rrc_rec *));
		c->n--;
		return;
	}
}

/* ---- what eventfds count ---- */

#define LOOK_BACK 256 /* records: far enough for those that are written and read all the time */

/* An eventfd's count, in the record of who wrote or read it; NULL: it is another call, or another file. */
static uint8_t *count_in(struct rrc_rec *rec, uint64_t obj, enum rrc_carry want)
{
	if (rec->kind != RRC_REC_SYSCALL || rec->fdkind != RRC_FD_ANON || rec->obj != obj ||
	    rec->nseg != 1 || rrc_rec_segs(rec)->len != sizeof(uint64_t) ||
	    rrc_carry_of(rec) != want)
		return NULL;
	return (uint8_t *)(uintptr_t)rrc_rec_payload(rec);
}

static void take_out(struct rrc_copycalls *c, size_t i)
{
	c->bytes -= c->list[i]->size;
	free(c->list[i]);
	memmove(&c->list[i], &c->list[i + 1], (c->n - i - 1) * sizeof(struct rrc_rec *));
	c->n--;
}

/* The newest kept record that counts for that file in that direction; c->n: there is none. */
static size_t find_count(const struct rrc_copycalls *c, uint64_t obj, enum rrc_carry want,
			 uint8_t **count)
{
	size_t stop = c->n > LOOK_BACK ? c->n - LOOK_BACK : 0;

	for (size_t i = c->n; i-- > stop;) {
		*count = count_in(c->list[i], obj, want);
		if (*count)
			return i;
	}
	return c->n;
}

/* What was written and read again is as if it had not been, whoever was recorded first. true: rec is used up. */
static bool counted(struct rrc_copycalls *c, struct rrc_rec *rec)
{
	bool writes = rrc_carry_of(rec) == RRC_CARRY_WRITE;
	uint8_t *mine = count_in(rec, rec->obj, writes ? RRC_CARRY_WRITE : RRC_CARRY_READ), *other;
	uint64_t n, m;
	size_t i;

	if (!mine)
		return false;
	memcpy(&n, mine, sizeof(n));
	i = find_count(c, rec->obj, writes ? RRC_CARRY_READ : RRC_CARRY_WRITE, &other);
	if (i < c->n) {
		memcpy(&m, other, sizeof(m));
		if (n < m) {
			m -= n;
			memcpy(other, &m, sizeof(m));
			return true;
		}
		n -= m;
		take_out(c, i);
		memcpy(mine, &n, sizeof(n));
		return !n;
	}
	i = writes ? find_count(c, rec->obj, RRC_CARRY_WRITE, &other) : c->n;
	if (i == c->n)
		return false;
	memcpy(&m, other, sizeof(m));
	if (m + n < m)
		return false; /* it would not fit: not an eventfd's */
	m += n;
	memcpy(other, &m, sizeof(m));
	return true;
}

void rrc_copycalls_add(struct rrc_copycalls *c, struct rrc_rec *rec)
{
	if ((rec->nr == RRC_NR_close && closed(c, rec)) ||
	    (rec->fdkind == RRC_FD_ANON && counted(c, rec))) {
		free(rec);
		return;
	}
	if (rec->nr == RRC_NR_madvise && rec->args[2] == MADV_DONTNEED)
		advised(c, rec);
	c->bytes += rec->size;
	c->list[c->n++] = rec;
}
