/* SPDX-License-Identifier: MIT */
/* Written pages of another process, see dirty.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dirty.h"
#include "mappedfile.h"
#include "mappings.h"
#include "pagecopy.h"
#include "pagemap.h"
#include "ptrace.h"
#include "util.h"

#define REGIONS	       4096u /* of one scan; more are asked for */
#define FEW_PAGES      16u /* a run shorter than this is copied without asking what of it is there */
#define MOST_UNWATCHED (16u << 20) /* bytes that are copied each time */

struct rrc_dirty {
	pid_t pid;
	int uffd, pagemap, mem;
	struct rrc_mappings maps;
	struct rrc_page_region *found, *there;
	bool unmarked; /* pages without content count as written, until they are marked at the first collect */
	bool fresh; /* watched since the last collect: nothing there is protected yet */
};

/* ---- the descriptor ---- */

static int open_api(int fd, struct rrc_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = RRC_UFFD_FEATURES };

	if (ioctl(fd, UFFDIO_API, &api))
		return rrc_fail(err, errno,
				"this kernel cannot watch writes (userfaultfd, Linux 6.7): %s",
				strerror(errno));
	return 0;
}

/* Made in the process, since it is for the memory of who makes it. */
static int steal_uffd(pid_t pid, pid_t tid, struct rrc_error *err)
{
	uint64_t make[6] = { O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY }, shut[6] = { 0 };
	rrc_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	long there, ret;
	int fd, e;

	if (pidfd < 0)
		return rrc_fail(err, errno, "process %d: %s", pid, strerror(errno));
	e = rrc_inject(tid, SYS_userfaultfd, make, &there, err);
	if (e)
		return e;
	if (there < 0)
		return rrc_fail(err, there, "process %d may not make a userfaultfd: %s", pid,
				strerror((int)-there));
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)there, 0);
	e = errno;
	shut[0] = (uint64_t)there;
	if (rrc_inject(tid, SYS_close, shut, &ret, err) || fd < 0) {
		if (fd >= 0)
			close(fd);
		return rrc_fail(err, e, "process %d: its userfaultfd: %s", pid, strerror(e));
	}
	return fd;
}

struct rrc_dirty *rrc_dirty_new(pid_t pid, pid_t tid, struct rrc_error *err)
{
	struct rrc_dirty *d = calloc(1, sizeof(*d));
	char path[64];

	if (!d) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	d->pid = pid;
	d->pagemap = d->mem = d->uffd = -1;
	d->found = malloc(REGIONS * sizeof(*d->found));
	d->there = malloc(REGIONS * sizeof(*d->there));
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	d->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	d->mem = open(path, O_RDONLY | O_CLOEXEC);
	if (!d->found || !d->there || d->pagemap < 0 || d->mem < 0) {
		rrc_fail(err, errno, "process %d: %s", pid, strerror(errno));
		goto fail;
	}
	if (rrc_mappings_open(&d->maps, pid, err))
		goto fail;
	d->uffd = steal_uffd(pid, tid, err);
	if (d->uffd < 0 || open_api(d->uffd, err))
		goto fail;
	return d;
fail:
	rrc_dirty_free(d);
	return NULL;
}

void rrc_dirty_free(struct rrc_dirty *d)
{
	if (!d)
		return;
	if (d->uffd >= 0)
		close(d->uffd);
	if (d->pagemap >= 0)
		close(d->pagemap);
	if (d->mem >= 0)
		close(d->mem);
	rrc_mappings_close(&d->maps);
	free(d->found);
	free(d->there);
	free(d);
}

/* ---- mappings ---- */

/* A mapping that mremap moved is watched no more, nor is all that it merged with at its new place
 * (mremap_userfaultfd_prep), and yet their pages keep the mark of those that were not written. Letting go once takes the
 * marks away: then all that is there counts as written. */
static int watch(struct rrc_dirty *d, struct rrc_mapping *m)
{
	struct uffdio_register r = {
		.range = { m->start, m->end - m->start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (rrc_pagemap_watched(d->pagemap, m->start) == 1)
		return 0;
	if (ioctl(d->uffd, UFFDIO_REGISTER, &r) || ioctl(d->uffd, UFFDIO_UNREGISTER, &r.range) ||
	    ioctl(d->uffd, UFFDIO_REGISTER, &r))
		return -errno;
	d->fresh = true;
	return 0;
}

int rrc_dirty_map(struct rrc_dirty *d, struct rrc_error *err)
{
	uint64_t unwatched = 0;
	int ret = rrc_mappings_read(&d->maps, err);

	for (size_t i = 0; !ret && i < d->maps.n; i++) {
		struct rrc_mapping *m = &d->maps.map[i];
		int bad = m->kernels ? 0 : watch(d, m);

		if (bad == -EPERM && m->shared && !(m->prot & PROT_WRITE))
			bad = 0; /* of a file that is open for reading: nobody can write there */
		if (bad == -ENOENT || bad == -ESRCH)
			return rrc_fail(err, ESRCH, "process %d is gone", d->pid);
		m->unwatched = bad != 0;
		if (bad)
			unwatched += m->end - m->start;
	}
	if (!ret && unwatched > MOST_UNWATCHED)
		ret = rrc_fail(err, E2BIG,
			       "process %d has %llu MB of memory whose writes cannot be watched",
			       d->pid, (unsigned long long)(unwatched >> 20));
	return ret;
}

int rrc_dirty_stack(struct rrc_dirty *d, uint64_t *start, uint64_t *end)
{
	for (size_t i = 0; i < d->maps.n; i++) {
		if (!d->maps.map[i].stack)
			continue;
		*start = d->maps.map[i].start;
		*end = d->maps.map[i].end;
		return 1;
	}
	return 0;
}

uint64_t rrc_dirty_heap_end(const struct rrc_dirty *d)
{
	uint64_t end = 0;

	for (size_t i = 0; i < d->maps.n; i++)
		if (d->maps.map[i].heap)
			end = d->maps.map[i].end;
	return end;
}

uint64_t rrc_dirty_locklog(const struct rrc_dirty *d)
{
	for (size_t i = 0; i < d->maps.n; i++)
		if (d->maps.map[i].locklog)
			return d->maps.map[i].start;
	return 0;
}

const char *rrc_dirty_unwatched_name(const struct rrc_dirty *d, size_t *iter)
{
	while (*iter < d->maps.n) {
		const struct rrc_mapping *m = &d->maps.map[(*iter)++];

		if (m->unwatched)
			return m->name[0] ? m->name : "memory without a name";
	}
	return NULL;
}

/* ---- pages ---- */

/* A page that is not there any more is left out: whoever took it away is in the log, and its range is looked at
 * because of that. */
static struct rrc_pagecopy copy_to(const struct rrc_dirty *d, struct rrc_pages *p)
{
	return (struct rrc_pagecopy){ .pid = d->pid, .mem = d->mem, .to = p };
}

/* Of [start, end) what has content. Reading the rest would give the program pages that it never touched. */
static int gather_present(struct rrc_dirty *d, struct rrc_pagecopy *c, uint64_t start, uint64_t end)
{
	int ret = 0;
	long n;

	do {
		n = rrc_pagemap_present(d->pagemap, start, end, d->there, REGIONS);
		if (n < 0)
			return (int)n;
		for (long i = 0; i < n && !ret; i++)
			ret = rrc_pagecopy_add(c, d->there[i].start, d->there[i].end);
		if (n)
			start = d->there[n - 1].end;
	} while (!ret && n == (long)REGIONS && start < end);
	return ret;
}

static int failed(struct rrc_dirty *d, int ret, struct rrc_error *err)
{
	return ret ? rrc_fail(err, ret, "memory of process %d: %s", d->pid, strerror(-ret)) : 0;
}

/* Is all of it in mappings that we know? A stack grows without a call. */
static bool known(const struct rrc_dirty *d, uint64_t start, uint64_t end)
{
	const struct rrc_mapping *m = rrc_mappings_at(&d->maps, start);

	while (m && m->end < end)
		m = rrc_mappings_at(&d->maps, m->end);
	return m != NULL;
}

int rrc_dirty_begin(struct rrc_dirty *d, struct rrc_error *err)
{
	uint64_t start = 0;
	long n;

	d->unmarked = true;
	do {
		n = rrc_pagemap_protect(d->pagemap, start, d->found, REGIONS);
		if (n < 0)
			return failed(d, (int)n, err);
		if (n)
			start = d->found[n - 1].end;
	} while (n == (long)REGIONS);
	return 0;
}

int rrc_dirty_collect(struct rrc_dirty *d, struct rrc_pages *p, uint64_t *count,
		      struct rrc_error *err)
{
	struct rrc_pagecopy c = copy_to(d, p);
	bool unknown = false;
	uint64_t start = 0;
	int ret = 0;
	long n;

	*count = 0;
	d->fresh = false;
	do {
		n = rrc_pagemap_written(d->pagemap, start, d->found, REGIONS);
		if (n < 0)
			return failed(d, (int)n, err);
		for (long i = 0; i < n && !ret; i++) {
			const struct rrc_page_region *r = &d->found[i];

			unknown |= !known(d, r->start, r->end);
			if (!d->unmarked && r->end - r->start < FEW_PAGES * RRC_PAGE)
				ret = rrc_pagecopy_add(&c, r->start, r->end);
			else
				ret = gather_present(d, &c, r->start, r->end);
		}
		if (n)
			start = d->found[n - 1].end;
	} while (!ret && n == (long)REGIONS);
	d->unmarked = false;
	if (!ret)
		ret = rrc_pagecopy_flush(&c);
	*count = c.count;
	if (!ret && unknown)
		return rrc_dirty_map(d, err);
	return failed(d, ret, err);
}

bool rrc_dirty_fresh(const struct rrc_dirty *d)
{
	return d->fresh;
}

int rrc_dirty_pages(struct rrc_dirty *d, const uint64_t *addr, size_t n, struct rrc_pages *p,
		    uint64_t *count, struct rrc_error *err)
{
	struct rrc_pagecopy c = copy_to(d, p);
	bool unknown = false;
	int ret = 0;

	for (size_t i = 0, next; i < n && !ret; i = next) {
		for (next = i + 1; next < n && addr[next] == addr[next - 1] + RRC_PAGE; next++)
			;
		unknown |= !known(d, addr[i], addr[next - 1] + RRC_PAGE);
		ret = rrc_pagecopy_add(&c, addr[i], addr[next - 1] + RRC_PAGE);
	}
	if (!ret)
		ret = rrc_pagecopy_flush(&c);
	*count = c.count;
	if (!ret && unknown)
		return rrc_dirty_map(d, err);
	return failed(d, ret, err);
}

int rrc_dirty_range(struct rrc_dirty *d, uint64_t start, uint64_t end, struct rrc_pages *p,
		    uint64_t *count, struct rrc_error *err)
{
	struct rrc_pagecopy c = copy_to(d, p);
	int ret;

	start &= ~(uint64_t)(RRC_PAGE - 1);
	end = (end + RRC_PAGE - 1) & ~(uint64_t)(RRC_PAGE - 1);
	rrc_pages_drop(p, start, end);
	ret = gather_present(d, &c, start, end);
	if (!ret)
		ret = rrc_pagecopy_flush(&c);
	*count = c.count;
	return failed(d, ret, err);
}

int rrc_dirty_file(struct rrc_dirty *d, uint64_t inode, struct rrc_pages *p, struct rrc_error *err)
{
	uint64_t bytes = 0;
	int ret = 0;

	for (size_t i = 0; i < d->maps.n && !ret; i++) {
		const struct rrc_mapping *m = &d->maps.map[i];

		if (!m->shared || !m->inode || m->locklog ||
		    (inode != RRC_ANY_FILE && m->inode != inode))
			continue;
		bytes += m->end - m->start;
		ret = bytes > MOST_UNWATCHED
			      ? rrc_fail(err, ENOTSUP,
					 "much of a file is mapped that was changed by a call")
			      : rrc_mappedfile_copy(d->pid, m, p, err);
	}
	return ret;
}

int rrc_dirty_unwatched(struct rrc_dirty *d, struct rrc_pages *p, uint64_t *count,
			struct rrc_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < d->maps.n && !ret; i++)
		if (d->maps.map[i].unwatched)
			ret = rrc_dirty_range(d, d->maps.map[i].start, d->maps.map[i].end, p, count,
					      err);
	return ret;
}

/* ---- the host ---- */

int rrc_dirty_probe(struct rrc_error *err)
{
	rrc_autoclose int fd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	rrc_autoclose int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct rrc_page_region r[1];
	int ret;
	long n;

	if (fd < 0 || pagemap < 0)
		return rrc_fail(err, errno, "no userfaultfd here: %s", strerror(errno));
	ret = open_api(fd, err);
	if (ret)
		return ret;
	/* Nothing is watched, so nothing is found: but the kernel knows the question. */
	n = rrc_pagemap_written(pagemap, 0, r, 1);
	return n < 0 ? rrc_fail(err, (int)n, "this kernel has no PAGEMAP_SCAN (Linux 6.7): %s",
				strerror((int)-n))
		     : 0;
}
