/* SPDX-License-Identifier: MIT */
/* What a delta must look at, see changes.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "carry.h"
#include "changes.h"
#include "dirty.h"
#include "syscalls.h"
#include "util.h"

#define MOST_RANGES		(1u << 16)
#define LAST_RANGES		8u /* that a new one is compared with */
#define RRC_MADV_POPULATE_WRITE 23 /* newer than the headers of some */

struct rrc_changes {
	pthread_mutex_t lock; /* of the ranges; the rest is atomic */
	struct rrc_range *ranges;
	size_t n, size;
	int whole;
	int direct; /* there is, or was, a descriptor with O_DIRECT */
	unsigned int nr, kind;
	uint64_t descriptors, unseen;
};

struct rrc_changes *rrc_changes_new(void)
{
	struct rrc_changes *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

void rrc_changes_free(struct rrc_changes *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->ranges);
	free(c);
}

static void needs_whole(struct rrc_changes *c, const struct rrc_rec *rec)
{
	if (c->whole)
		return;
	c->nr = rec->nr;
	c->kind = rec->kind;
	__atomic_store_n(&c->whole, 1, __ATOMIC_RELEASE);
}

/* A server that reads or writes files does so into the same buffers, of the same files. */
static int known(const struct rrc_changes *c, const struct rrc_range *r)
{
	for (size_t i = c->n; i > 0 && c->n - i < LAST_RANGES; i--) {
		const struct rrc_range *k = &c->ranges[i - 1];

		if (k->pid == r->pid && !k->brk && !r->brk && k->file == r->file &&
		    k->start <= r->start && k->end >= r->end)
			return 1;
	}
	return 0;
}

static int add(struct rrc_changes *c, struct rrc_range r)
{
	int ret = 0;

	if (r.start >= r.end && !r.file)
		return 0;
	pthread_mutex_lock(&c->lock);
	if (known(c, &r)) {
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	if (c->n == c->size) {
		size_t size = c->size ? c->size * 2 : 64;
		void *bigger =
			size > MOST_RANGES ? NULL : realloc(c->ranges, size * sizeof(*c->ranges));

		if (bigger) {
			c->ranges = bigger;
			c->size = size;
		}
		ret = bigger ? 0 : -ENOMEM;
	}
	if (!ret)
		c->ranges[c->n++] = r;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* Which memory a call that changes mappings was about. What only changes rights changes no content. */
static int note_mappings(struct rrc_changes *c, const struct rrc_rec *rec)
{
	const __u64 *a = rec->args, at = (uint64_t)rec->ret;
	struct rrc_range r = { .pid = rec->pid };
	int ret = 0;

	switch (rec->nr) {
	case RRC_NR_mprotect:
	case RRC_NR_mlock:
	case RRC_NR_munlock:
		return 0;
	case RRC_NR_mmap:
		r.start = at;
		r.end = at + a[1];
		break;
	case RRC_NR_munmap:
	case RRC_NR_madvise:
		r.start = a[0];
		r.end = a[0] + a[1];
		break;
	case RRC_NR_mremap:
		r.start = a[0];
		r.end = a[0] + a[1];
		ret = add(c, r);
		r.start = at;
		r.end = at + a[2];
		break;
	case RRC_NR_brk:
		r.brk = 1;
		r.start = at;
		r.end = at + 1;
		break;
	default:
		return -ENOTSUP;
	}
	return ret ? ret : add(c, r);
}

/* What goes through get_user_pages() for writing, or might: a file system may read into the pages themselves. */
static int unseen(const struct rrc_rec *rec)
{
	if (rec->kind != RRC_REC_SYSCALL)
		return 0;
	switch (rec->nr) {
	case RRC_NR_read:
	case RRC_NR_pread64:
	case RRC_NR_readv:
	case RRC_NR_preadv:
	case RRC_NR_preadv2:
		return rec->fdkind == RRC_FD_REG || rec->fdkind == RRC_FD_CHR;
	case RRC_NR_write:
	case RRC_NR_writev:
	case RRC_NR_pwrite64:
	case RRC_NR_pwritev:
	case RRC_NR_pwritev2:
		return rec->fdkind == RRC_FD_PROC; /* /proc/self/mem */
	case RRC_NR_madvise:
		return rec->args[2] == RRC_MADV_POPULATE_WRITE;
	case RRC_NR_process_vm_writev:
	case RRC_NR_ptrace:
	/* of locked memory these populate what may be written */
	case RRC_NR_mlock:
	case RRC_NR_mlock2:
	case RRC_NR_mlockall:
	case RRC_NR_mprotect:
	case RRC_NR_pkey_mprotect:
		return 1;
	default:
		return rrc_carry_of(rec) == RRC_CARRY_WHOLE;
	}
}

/* What was read into memory by somebody else than the program. It can be under way while its pages are looked at: they
 * are copied when it has ended. */
static int note_direct(struct rrc_changes *c, const struct rrc_rec *rec)
{
	switch (rec->nr) {
	case RRC_NR_open:
		c->direct |= !!(rec->args[1] & O_DIRECT);
		break;
	case RRC_NR_openat:
		c->direct |= !!(rec->args[2] & O_DIRECT);
		break;
	case RRC_NR_openat2: /* its flags are in memory */
		c->direct = 1;
		break;
	case RRC_NR_fcntl:
		c->direct |= rec->args[1] == F_SETFL && rec->args[2] & O_DIRECT;
		break;
	case RRC_NR_read:
	case RRC_NR_pread64:
		if (c->direct && (rec->fdkind == RRC_FD_REG || rec->fdkind == RRC_FD_CHR))
			return add(c,
				   (struct rrc_range){ .pid = rec->pid,
						       .start = rec->args[1],
						       .end = rec->args[1] + (uint64_t)rec->ret });
		break;
	case RRC_NR_readv:
	case RRC_NR_preadv:
	case RRC_NR_preadv2:
		/* where to is not in the record */
		if (c->direct && (rec->fdkind == RRC_FD_REG || rec->fdkind == RRC_FD_CHR))
			return -ENOTSUP;
		break;
	default:
		break;
	}
	return 0;
}

/* A file that changes otherwise than by its mappings: in these no page is written. */
static int note_file(struct rrc_changes *c, const struct rrc_rec *rec)
{
	uint64_t file = rec->fdkind == RRC_FD_REG ? rec->obj : 0;

	switch (rec->nr) {
	case RRC_NR_write:
	case RRC_NR_writev:
	case RRC_NR_pwrite64:
	case RRC_NR_pwritev:
	case RRC_NR_pwritev2:
	case RRC_NR_ftruncate:
	case RRC_NR_fallocate:
	case RRC_NR_creat:
		break;
	case RRC_NR_open:
		file = rec->args[1] & O_TRUNC ? file : 0;
		break;
	case RRC_NR_openat:
		file = rec->args[2] & O_TRUNC ? file : 0;
		break;
	case RRC_NR_truncate:
		file = RRC_ANY_FILE;
		break;
	case RRC_NR_madvise:
		file = rec->args[2] == MADV_REMOVE ? RRC_ANY_FILE : 0;
		break;
	default:
		return 0;
	}
	return file ? add(c, (struct rrc_range){ .file = file }) : 0;
}

static int note_content(struct rrc_changes *c, const struct rrc_rec *rec)
{
	if (rec->kind != RRC_REC_SYSCALL || rec->ret < 0)
		return 0;
	return note_direct(c, rec) || note_file(c, rec);
}

void rrc_changes_direct(struct rrc_changes *c)
{
	__atomic_store_n(&c->direct, 1, __ATOMIC_RELEASE);
}

void rrc_changes_note(struct rrc_changes *c, const struct rrc_rec *rec)
{
	if (rrc_carry_of(rec) == RRC_CARRY_WHOLE)
		needs_whole(c, rec);
	if (unseen(rec))
		__atomic_add_fetch(&c->unseen, 1, __ATOMIC_RELEASE);
	if (rrc_carry_connections(rec))
		__atomic_add_fetch(&c->descriptors, 1, __ATOMIC_RELEASE);
	if (rrc_carry_mappings(rec) && note_mappings(c, rec))
		needs_whole(c, rec);
	if (note_content(c, rec))
		needs_whole(c, rec);
}

void rrc_changes_cut(struct rrc_changes *c)
{
	__atomic_store_n(&c->whole, 0, __ATOMIC_RELEASE);
}

int rrc_changes_whole(struct rrc_changes *c, unsigned int *nr, unsigned int *kind)
{
	int whole = __atomic_load_n(&c->whole, __ATOMIC_ACQUIRE);

	if (nr)
		*nr = c->nr;
	if (kind)
		*kind = c->kind;
	return whole;
}

uint64_t rrc_changes_descriptors(struct rrc_changes *c)
{
	return __atomic_load_n(&c->descriptors, __ATOMIC_ACQUIRE);
}

uint64_t rrc_changes_unseen(struct rrc_changes *c)
{
	return __atomic_load_n(&c->unseen, __ATOMIC_ACQUIRE);
}

long rrc_changes_take(struct rrc_changes *c, struct rrc_range **ranges)
{
	long n = 0;

	*ranges = NULL;
	pthread_mutex_lock(&c->lock);
	if (c->n) {
		n = (long)c->n;
		*ranges = c->ranges;
		c->ranges = NULL;
		c->n = c->size = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}
