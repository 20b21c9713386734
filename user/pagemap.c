/* SPDX-License-Identifier: MIT */
/* PAGEMAP_SCAN, see pagemap.h. */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>

#include "pagemap.h"

#define USER_END 0x7ffffffff000ull

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
_Static_assert(sizeof(struct scan) == 96, "struct pm_scan_arg");
#define SCAN		_IOWR('f', 16, struct scan)
#define SCAN_WP		(1u << 0)
#define SCAN_CHECK	(1u << 1)
#define PAGE_IS_WRITTEN (1u << 1)
#define PAGE_IS_PRESENT (1u << 3)
#define PAGE_IS_SWAPPED (1u << 4)

static long scan(int pagemap, struct scan s, struct rrc_page_region *r, size_t most)
{
	int n;

	s.size = sizeof(s);
	s.vec = (uint64_t)r;
	s.vec_len = most;
	n = ioctl(pagemap, SCAN, &s);
	return n < 0 ? -errno : n;
}

long rrc_pagemap_written(int pagemap, uint64_t start, struct rrc_page_region *r, size_t most)
{
	/* Exactly these masks take the kernel's short way; it passes over what is not watched. */
	return scan(pagemap,
		    (struct scan){ .flags = SCAN_WP,
				   .start = start,
				   .end = USER_END,
				   .category_mask = PAGE_IS_WRITTEN,
				   .return_mask = PAGE_IS_WRITTEN },
		    r, most);
}

/* The mark of a page that has no content, and is watched all the same, looks like one that was swapped out. */
static uint64_t have_content(void)
{
	struct sysinfo s;

	return !sysinfo(&s) && !s.totalswap ? PAGE_IS_PRESENT : PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
}

long rrc_pagemap_protect(int pagemap, uint64_t start, struct rrc_page_region *r, size_t most)
{
	return scan(pagemap,
		    (struct scan){ .flags = SCAN_WP,
				   .start = start,
				   .end = USER_END,
				   .category_mask = PAGE_IS_WRITTEN,
				   .category_anyof_mask = have_content(),
				   .return_mask = PAGE_IS_WRITTEN },
		    r, most);
}

long rrc_pagemap_present(int pagemap, uint64_t start, uint64_t end, struct rrc_page_region *r,
			 size_t most)
{
	return scan(pagemap,
		    (struct scan){ .start = start,
				   .end = end,
				   .category_anyof_mask = have_content(),
				   .return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED },
		    r, most);
}

int rrc_pagemap_watched(int pagemap, uint64_t page)
{
	struct rrc_page_region r;
	struct scan s = {
		.size = sizeof(s),
		.flags = SCAN_CHECK,
		.start = page,
		.end = page + 4096,
		.vec = (uint64_t)&r,
		.vec_len = 1,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	if (ioctl(pagemap, SCAN, &s) >= 0)
		return 1;
	return errno == EPERM ? 0 : -errno;
}
