/* SPDX-License-Identifier: MIT */
/*
 * Which pages of a process were written: userfaultfd's asynchronous write protection and PAGEMAP_SCAN (Linux
 * 6.7; Documentation/admin-guide/mm/{userfaultfd,pagemap}.rst). The process is not asked: it is given a
 * userfaultfd once, by an injected call, which we take away; nobody waits for a fault to be handled, and nothing stays
 * behind when we end.
 */
#ifndef RRC_DIRTY_H
#define RRC_DIRTY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "pages.h"

struct rrc_dirty;

/* Whether this kernel can: tried on ourselves. 0, or why not. */
int rrc_dirty_probe(struct rrc_error *err);

/* Process pid, of which thread tid is stopped and traced by the caller's thread. Makes three calls in it. */
struct rrc_dirty *rrc_dirty_new(pid_t pid, pid_t tid, struct rrc_error *err);
void rrc_dirty_free(struct rrc_dirty *d);

/* Looks at the mappings and watches those that are new. */
int rrc_dirty_map(struct rrc_dirty *d, struct rrc_error *err);

/* From here on: nothing was written yet. */
int rrc_dirty_begin(struct rrc_dirty *d, struct rrc_error *err);

/* Copies what was written since the last time into p, and how many pages that was into *count. Any number of
 * threads may be running: what they write meanwhile is found the next time. Addresses that no mapping
 * known to us has make it look at the mappings. */
int rrc_dirty_collect(struct rrc_dirty *d, struct rrc_pages *p, uint64_t *count,
		      struct rrc_error *err);

/* These pages, by address, are as good as written; they stay so, so that the next collect finds them too. They are all
 * that was written since the last collect if a log of faults says so (writelog.h), and nothing is fresh. */
int rrc_dirty_pages(struct rrc_dirty *d, const uint64_t *addr, size_t n, struct rrc_pages *p,
		    uint64_t *count, struct rrc_error *err);
/* Some mapping came to be watched since the last collect: only another one protects it. */
bool rrc_dirty_fresh(const struct rrc_dirty *d);

/* All of [start, end) that is there is as good as written; what p has of it is forgotten. To be called after a
 * collect that knew the mappings as they are. */
int rrc_dirty_range(struct rrc_dirty *d, uint64_t start, uint64_t end, struct rrc_pages *p,
		    uint64_t *count, struct rrc_error *err);

/* A call changed a file (RRC_ANY_FILE: some file): what of it is mapped and shared is copied as the file has it now, since
 * no page was written. -ENOTSUP: only a whole checkpoint will do. */
#define RRC_ANY_FILE UINT64_MAX
int rrc_dirty_file(struct rrc_dirty *d, uint64_t inode, struct rrc_pages *p, struct rrc_error *err);

/* What cannot be watched is copied whole. The process is stopped. */
int rrc_dirty_unwatched(struct rrc_dirty *d, struct rrc_pages *p, uint64_t *count,
			struct rrc_error *err);
/* … and is said by name: the next one, from *iter = 0 on; NULL: no more. */
const char *rrc_dirty_unwatched_name(const struct rrc_dirty *d, size_t *iter);

/* The main stack, as the mappings were looked at last; 0: it grew since it was asked for last time. */
int rrc_dirty_stack(struct rrc_dirty *d, uint64_t *start, uint64_t *end);
/* The end of the heap; 0: it has none. */
uint64_t rrc_dirty_heap_end(const struct rrc_dirty *d);
/* Where the lock log is (lib/locklog.h); 0: it has none. */
uint64_t rrc_dirty_locklog(const struct rrc_dirty *d);

#endif
