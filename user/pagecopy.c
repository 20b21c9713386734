/* SPDX-License-Identifier: MIT */
/* Copies pages out of another process, see pagecopy.h. */
#include <errno.h>
#include <unistd.h>

#include "pagecopy.h"
#include "util.h"

/* One page that the quick way does not reach: its program may not read it, or it is going away. */
static int copy_slowly(const struct rrc_pagecopy *c, uint64_t addr, uint8_t *to)
{
	return pread(c->mem, to, RRC_PAGE, (off_t)addr) == RRC_PAGE;
}

static int put_run(struct rrc_pages *p, uint64_t addr, const uint8_t *from, size_t n)
{
	int ret = 0;

	for (size_t i = 0; i < n && !ret; i++)
		ret = rrc_pages_put(p, addr + i * RRC_PAGE, from + i * RRC_PAGE);
	return ret;
}

/* Of all that was asked for, how many pages from the beginning on came, or -ESRCH. */
static ssize_t copy_quickly(const struct rrc_pagecopy *c, uint8_t *room)
{
	struct iovec to = { room, c->pages * RRC_PAGE };
	ssize_t got = 0, n;

	if (!c->gently) {
		got = process_vm_readv(c->pid, &to, 1, c->from, (unsigned long)c->n, 0);
		if (got < 0 && errno == ESRCH)
			return -ESRCH;
		return got > 0 ? got / RRC_PAGE : 0;
	}
	for (int i = 0; i < c->n; i++) {
		n = pread(c->mem, room + got, c->from[i].iov_len, (off_t)c->from[i].iov_base);
		got += n > 0 ? n / RRC_PAGE * RRC_PAGE : 0;
		if (n != (ssize_t)c->from[i].iov_len)
			break;
	}
	return got / RRC_PAGE;
}

int rrc_pagecopy_flush(struct rrc_pagecopy *c)
{
	uint8_t *room = c->pages ? rrc_pages_room(c->to, c->pages) : NULL;
	size_t good, at = 0;
	ssize_t got;
	int ret = 0;

	if (!c->pages)
		return 0;
	if (!room)
		return -ENOMEM;
	got = copy_quickly(c, room);
	if (got < 0)
		return (int)got;
	good = (size_t)got;
	for (int i = 0; i < c->n && !ret; i++) {
		uint64_t addr = (uint64_t)c->from[i].iov_base;
		size_t n = c->from[i].iov_len / RRC_PAGE;
		size_t whole = at + n <= good ? n : at < good ? good - at : 0;

		ret = put_run(c->to, addr, room + at * RRC_PAGE, whole);
		for (size_t k = whole; k < n && !ret; k++) {
			uint8_t *page = room + (at + k) * RRC_PAGE;

			if (copy_slowly(c, addr + k * RRC_PAGE, page))
				ret = rrc_pages_put(c->to, addr + k * RRC_PAGE, page);
			else
				c->left_out++;
		}
		at += n;
	}
	c->count += c->pages;
	c->pages = 0;
	c->n = 0;
	return ret;
}

int rrc_pagecopy_add(struct rrc_pagecopy *c, uint64_t start, uint64_t end)
{
	while (start < end) {
		size_t n = rrc_min((end - start) / RRC_PAGE, (uint64_t)RRC_PAGES_RUN - c->pages);

		c->from[c->n++] = (struct iovec){ (void *)start, n * RRC_PAGE };
		c->pages += n;
		start += n * RRC_PAGE;
		if (c->pages == RRC_PAGES_RUN) {
			int ret = rrc_pagecopy_flush(c);

			if (ret)
				return ret;
		}
	}
	return 0;
}
