/* SPDX-License-Identifier: MIT */
/* Written pages by comparing copies on write, see shadowmem.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pagecopy.h"
#include "shadowmem.h"
#include "util.h"

/* An entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define ENTRY_MARKED  (1ull << 55) /* soft-dirty */
#define ENTRY_FILE    (1ull << 61) /* a file's page, or shared memory's */
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_FRAME   ((1ull << 55) - 1) /* or where it was swapped out to */
#define ENTRY_PLACE   (ENTRY_FRAME | ENTRY_SWAPPED | ENTRY_PRESENT)
#define ENTRY_THERE   (ENTRY_SWAPPED | ENTRY_PRESENT)
#define ENTRIES	      8192u /* read at once */

static int no_memory_of(pid_t pid, int ret, struct rrc_error *err)
{
	return rrc_fail(err, ret, "memory of process %d: %s", pid, strerror(ret < 0 ? -ret : ret));
}

/* ---- a copy ---- */

int rrc_shadowmem_open(struct rrc_shadowmem *m, pid_t pid, struct rrc_error *err)
{
	char path[64];
	int ret;

	*m = (struct rrc_shadowmem){ .pid = pid, .pagemap = -1, .mem = -1 };
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	m->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	m->mem = m->pagemap < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	ret = m->mem < 0 ? no_memory_of(pid, errno, err) : rrc_mappings_open(&m->maps, pid, err);
	if (!ret)
		ret = rrc_mappings_read(&m->maps, err);
	if (ret)
		rrc_shadowmem_close(m);
	return ret;
}

void rrc_shadowmem_close(struct rrc_shadowmem *m)
{
	if (m->pagemap >= 0)
		close(m->pagemap);
	if (m->mem >= 0)
		close(m->mem);
	rrc_mappings_close(&m->maps);
	*m = (struct rrc_shadowmem){ .pagemap = -1, .mem = -1 };
}

/* ---- private memory ---- */

static int entries(const struct rrc_shadowmem *m, uint64_t start, uint64_t n, uint64_t *e)
{
	ssize_t got = pread(m->pagemap, e, n * sizeof(*e), (off_t)(start / RRC_PAGE * sizeof(*e)));

	return got == (ssize_t)(n * sizeof(*e)) ? 0 : got < 0 ? -errno : -EIO;
}

enum how {
	BY_FRAME, /* two copies are compared */
	BY_MARK,
	ALL
};

static bool is_written(uint64_t now, uint64_t before, enum how how)
{
	/* A file's page in private memory is one that the program only read. */
	if (!(now & ENTRY_THERE) || now & ENTRY_FILE)
		return false;
	return how == BY_FRAME ? (now & ENTRY_PLACE) != (before & ENTRY_PLACE)
			       : how == ALL || now & ENTRY_MARKED;
}

static int add_written(struct rrc_pagecopy *c, uint64_t start, uint64_t n, const uint64_t *now,
		       const uint64_t *before, enum how how)
{
	int ret = 0;

	for (uint64_t i = 0, from; i < n && !ret; i++) {
		for (from = i; i < n && is_written(now[i], before[i], how); i++)
			;
		if (i > from)
			ret = rrc_pagecopy_add(c, start + from * RRC_PAGE, start + i * RRC_PAGE);
	}
	return ret;
}

static int private_memory(const struct rrc_shadowmem *now, const struct rrc_shadowmem *before,
			  const struct rrc_mapping *m, enum how how, struct rrc_pagecopy *c)
{
	uint64_t a[ENTRIES], b[ENTRIES], n;
	int ret = 0;

	memset(b, 0, sizeof(b));
	for (uint64_t at = m->start; at < m->end && !ret; at += n * RRC_PAGE) {
		n = rrc_min((m->end - at) / RRC_PAGE, (uint64_t)ENTRIES);
		ret = entries(now, at, n, a);
		if (!ret && before)
			ret = entries(before, at, n, b);
		if (!ret)
			ret = add_written(c, at, n, a, b, how);
	}
	return ret;
}

/* ---- shared memory of the copy's own: its mappings are fresh, so what is there is asked of the object ---- */

/* As the module decides it (kmod-fork/memory.c); all other shared mappings are of files that both have. */
static bool is_own(const struct rrc_mapping *m)
{
	static const char zero[] = "/dev/zero (deleted)", memfd[] = "/memfd:";

	return !strcmp(m->name, zero) || !strncmp(m->name, memfd, strlen(memfd));
}

static int open_object(const struct rrc_shadowmem *m, const struct rrc_mapping *at)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", m->pid,
		 (unsigned long long)at->start, (unsigned long long)at->end);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* n bytes of the object before, zeros where it had none. */
static int old_bytes(int fd, uint8_t *to, size_t n, off_t at)
{
	ssize_t got = fd < 0 ? 0 : pread(fd, to, n, at);

	if (got < 0)
		return -errno;
	memset(to + got, 0, n - (size_t)got);
	return 0;
}

/* One stretch of data: what differs. Pages that neither had are zeros in both. */
static int differing(const struct rrc_mapping *m, int now, int before, off_t start, off_t end,
		     struct rrc_pages *p, uint64_t *count)
{
	uint8_t old[16 * RRC_PAGE], *room;

	for (off_t at = start; at < end; at += sizeof(old)) {
		size_t n = (size_t)rrc_min(end - at, (off_t)sizeof(old));
		int ret = old_bytes(before, old, n, at);

		room = rrc_pages_room(p, n / RRC_PAGE);
		if (ret || !room)
			return ret ? ret : -ENOMEM;
		if (pread(now, room, n, at) != (ssize_t)n)
			return -EIO;
		for (size_t i = 0; i < n && !ret; i += RRC_PAGE) {
			if (before >= 0 && !memcmp(room + i, old + i, RRC_PAGE))
				continue;
			ret = rrc_pages_put(p, m->start + (uint64_t)at - m->offset + i, room + i);
			++*count;
		}
		if (ret)
			return ret;
	}
	return 0;
}

static int shared_memory(const struct rrc_shadowmem *now, const struct rrc_shadowmem *before,
			 const struct rrc_mapping *m, struct rrc_pages *p, uint64_t *count)
{
	const struct rrc_mapping *was = before ? rrc_mappings_at(&before->maps, m->start) : NULL;
	rrc_autoclose int fd = open_object(now, m);
	rrc_autoclose int old = was && was->shared && was->start == m->start &&
						was->end == m->end && was->offset == m->offset
					? open_object(before, was)
					: -1;
	off_t end = (off_t)(m->offset + m->end - m->start), at, hole;
	int ret = 0;

	if (fd < 0)
		return -errno;
	for (at = (off_t)m->offset; !ret; at = hole) {
		at = lseek(fd, at, SEEK_DATA);
		if (at < 0 || at >= end)
			break;
		hole = lseek(fd, at, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		/* Objects are whole pages, whatever their size says. */
		hole = rrc_min((hole + RRC_PAGE - 1) & ~(off_t)(RRC_PAGE - 1), end);
		ret = differing(m, fd, old, at, hole, p, count);
	}
	return ret;
}

/* ---- all of it ---- */

int rrc_shadowmem_written(const struct rrc_shadowmem *now, const struct rrc_shadowmem *before,
			  bool marks, struct rrc_pages *p, uint64_t *count, struct rrc_error *err)
{
	struct rrc_pagecopy c = { .pid = now->pid, .mem = now->mem, .gently = 1, .to = p };
	enum how how = before ? BY_FRAME : marks ? BY_MARK : ALL;
	uint64_t shared = 0;
	int ret = 0;

	for (size_t i = 0; i < now->maps.n && !ret; i++) {
		const struct rrc_mapping *m = &now->maps.map[i];

		if (m->kernels || m->unwatched)
			continue;
		if (!m->shared) {
			ret = private_memory(now, before, m, how, &c);
			continue;
		}
		/* Room is one after the other: what was asked for before is copied first. */
		ret = rrc_pagecopy_flush(&c);
		if (!ret && is_own(m))
			ret = shared_memory(now, before, m, p, &shared);
	}
	if (!ret)
		ret = rrc_pagecopy_flush(&c);
	/* A copy stands still: all that it has can be read. */
	if (!ret && c.left_out)
		ret = -EFAULT;
	*count = c.count + shared;
	return ret ? no_memory_of(now->pid, ret, err) : 0;
}

int rrc_shadowmem_all(const struct rrc_shadowmem *m, uint64_t start, uint64_t end, uint64_t most,
		      struct rrc_pages *p, uint64_t *count, struct rrc_error *err)
{
	struct rrc_pagecopy c = { .pid = m->pid,
				  .mem = m->mem,
				  .to = p }; /* shared: no frame changes */
	uint64_t e[512], n;
	int ret = 0;

	for (uint64_t at = start; at < end && !ret; at += n * RRC_PAGE) {
		n = rrc_min((end - at) / RRC_PAGE, (uint64_t)RRC_ARRAY_SIZE(e));
		ret = entries(m, at, n, e);
		for (uint64_t i = 0; i < n && !ret; i++) {
			if (!(e[i] & ENTRY_THERE))
				continue;
			ret = rrc_pagecopy_add(&c, at + i * RRC_PAGE, at + (i + 1) * RRC_PAGE);
			if (!ret && c.count + c.pages > most)
				ret = -E2BIG;
		}
	}
	if (!ret)
		ret = rrc_pagecopy_flush(&c);
	*count = c.count;
	return ret ? no_memory_of(m->pid, ret, err) : 0;
}

/* ---- the host ---- */

int rrc_shadowmem_clear(pid_t pid, struct rrc_error *err)
{
	char path[64];
	rrc_autoclose int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "4", 1) != 1)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

int rrc_shadowmem_probe(bool *marks, struct rrc_error *err)
{
	rrc_autoclose int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint8_t *page =
		mmap(NULL, RRC_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t e = 0;

	if (page == MAP_FAILED)
		return rrc_fail(err, errno, "no memory");
	*(volatile uint8_t *)page = 1;
	if (fd < 0 ||
	    pread(fd, &e, sizeof(e), (off_t)((uint64_t)page / RRC_PAGE * sizeof(e))) != sizeof(e))
		e = 0;
	munmap(page, RRC_PAGE);
	*marks = e & ENTRY_MARKED;
	/* Who may not see frames reads zeros, and all would look the same. */
	if (!(e & ENTRY_PRESENT) || !(e & ENTRY_FRAME))
		return rrc_fail(err, EPERM,
				"frames of memory cannot be seen in /proc/self/pagemap");
	return 0;
}
