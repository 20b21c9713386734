/* SPDX-License-Identifier: MIT */
/*
 * The question PAGEMAP_SCAN, and the flags of userfaultfd that go with it, by the kernel's numbers: the headers of
 * the systems that we build on are older (include/uapi/linux/fs.h, userfaultfd.h).
 */
#ifndef RRC_PAGEMAP_H
#define RRC_PAGEMAP_H

#include <stddef.h>
#include <stdint.h>

#define RRC_UFFD_WP_HUGETLBFS_SHMEM (1u << 12)
#define RRC_UFFD_WP_UNPOPULATED	    (1u << 13)
#define RRC_UFFD_WP_ASYNC	    (1u << 15)
#define RRC_UFFD_FEATURES \
	(RRC_UFFD_WP_HUGETLBFS_SHMEM | RRC_UFFD_WP_UNPOPULATED | RRC_UFFD_WP_ASYNC)

struct rrc_page_region {
	uint64_t start, end, categories;
};

/* Pages from start on that were written, and are protected again: what is written from now on is
 * found the next time. At most `most` regions, then ask again from the end of the last one. Their number
 * or negative errno. Regions may span mappings, and name pages that have no content. */
long rrc_pagemap_written(int pagemap, uint64_t start, struct rrc_page_region *r, size_t most);

/* The same of pages that have content, and no others: one without would be marked, and CRIU takes a mark for a page
 * that was swapped out, and saves it. For the first look. */
long rrc_pagemap_protect(int pagemap, uint64_t start, struct rrc_page_region *r, size_t most);

/* Pages in [start, end) that have content. */
long rrc_pagemap_present(int pagemap, uint64_t start, uint64_t end, struct rrc_page_region *r,
			 size_t most);

/* 1: writes to the mapping at this page are noticed; 0: they are not; or negative errno. */
int rrc_pagemap_watched(int pagemap, uint64_t page);

#endif
