/* SPDX-License-Identifier: MIT */
/*
 * The delta: what a checkpoint after the first consists of, beside its manifest. One file, `delta`:
 *
 *	struct rrc_delta_head
 *	sections: struct rrc_delta_sec, its body, zeros up to a multiple of 8
 *
 * It is applied to a tree that is as it was at checkpoint `after`, in which the calls of the log between the
 * two that left something in the kernel were made again (lib/carry.h). Its whole checksum is in the manifest.
 * Pages and threads are named by ids inside the container's pid namespace.
 */
#ifndef RRC_DELTA_H
#define RRC_DELTA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

#include "err.h"

#define RRC_DELTA_NAME	    "delta" /* the file in a checkpoint's directory */
#define RRC_DELTA_MAGIC	    0x44435252u /* "RRCD" */
#define RRC_DELTA_PAGE	    4096u
#define RRC_DELTA_MAX_XSAVE 16384u /* AMX included */
#define RRC_DELTA_BATCH	    1024u /* pages of one section at most */
#define RRC_DELTA_ZERO	    1u /* in an address: the page is all zeros and has no bytes */
#define RRC_DELTA_LINE	    64u /* bytes: the smallest part of a page that is sent */

struct rrc_delta_head {
	uint32_t magic;
	uint32_t version; /* RRC_FORMAT_VERSION */
	uint64_t number; /* of this checkpoint */
	uint64_t after; /* of the one that it is applied to */
	uint64_t length; /* of all sections */
};
_Static_assert(sizeof(struct rrc_delta_head) == 32, "delta head");

enum rrc_delta_sec_type {
	RRC_DELTA_THREAD =
		1, /* struct rrc_delta_thread, then its xsave area: one for every thread */
	RRC_DELTA_PAGES, /* struct rrc_delta_pages, addresses, packed bytes */
	RRC_DELTA_STACK, /* struct rrc_delta_stack: a mapping that grows down as it is touched */
	RRC_DELTA_LINES, /* struct rrc_delta_pages, struct rrc_delta_changed for each page, packed bytes */
	RRC_DELTA_TYPES,
};

struct rrc_delta_sec {
	uint32_t type;
	uint32_t length; /* of the body, without padding */
};
_Static_assert(sizeof(struct rrc_delta_sec) == 8, "delta section");

struct rrc_delta_thread {
	uint32_t pid, tid;
	uint64_t mask; /* of blocked signals */
	/* As it is to go on: a call that was broken off and begins again has rip at its instruction and its number
	 * in rax; one that CRIU would have ended has -EINTR (a manifest's RESTART says which). orig_rax = -1. */
	struct user_regs_struct regs;
	uint32_t xsave_len; /* NT_X86_XSTATE, behind this */
	uint32_t pad;
};
_Static_assert(sizeof(struct rrc_delta_thread) == 16 + 27 * 8 + 8, "delta thread");

struct rrc_delta_pages {
	uint32_t pid;
	uint32_t
		count; /* addresses, multiples of RRC_DELTA_PAGE, but for the flag RRC_DELTA_ZERO */
	uint32_t raw; /* bytes of those that are not zero; packed with zstd unless stored == raw */
	uint32_t stored;
	/* then uint64_t addr[count], then stored bytes */
};
_Static_assert(sizeof(struct rrc_delta_pages) == 16, "delta pages");

/* A page that an earlier delta on the same whole checkpoint had, and that is as it was but for some lines. In a
 * section of such, raw counts their bytes. */
struct rrc_delta_changed {
	uint64_t addr;
	uint64_t lines; /* bit n: bytes 64n and on are other ones; not 0 */
};
_Static_assert(sizeof(struct rrc_delta_changed) == 16, "delta lines");

struct rrc_delta_stack {
	uint32_t pid;
	uint32_t pad;
	uint64_t start, end; /* as it is now */
};
_Static_assert(sizeof(struct rrc_delta_stack) == 24, "delta stack");

/* Made in memory; functions return 0 or -ENOMEM. */
struct rrc_delta;
struct rrc_delta *rrc_delta_new(uint64_t number, uint64_t after);
void rrc_delta_free(struct rrc_delta *d);
static inline void rrc_delta_freep(struct rrc_delta **d)
{
	rrc_delta_free(*d);
}
int rrc_delta_add_thread(struct rrc_delta *d, const struct rrc_delta_thread *t, const void *xsave);
int rrc_delta_add_stack(struct rrc_delta *d, const struct rrc_delta_stack *s);
/* Pages of one process; pages[i] are the bytes of addr[i]. Those that are all zeros are found here. Any
 * number: sections of RRC_DELTA_BATCH are made. */
int rrc_delta_add_pages(struct rrc_delta *d, uint32_t pid, const uint64_t *addr,
			const uint8_t *const *pages, size_t count);
/* The same of pages of which only some lines changed. */
int rrc_delta_add_lines(struct rrc_delta *d, uint32_t pid, const struct rrc_delta_changed *list,
			const uint8_t *const *pages, size_t count);
/* Which lines of two pages differ; 0: none. */
uint64_t rrc_delta_differ(const uint8_t *a, const uint8_t *b);
/* Lines put into a page; data are theirs, side by side. */
void rrc_delta_put_lines(uint8_t *page, uint64_t lines, const uint8_t *data);
/* The bytes, sealed; valid until the next add. */
const void *rrc_delta_bytes(struct rrc_delta *d, size_t *len);

/* Reads: the whole is checked before the first call (bounds, types, counts, addresses that are a user's and not
 * in two pieces); packed bytes are opened on the way. A callback's non-zero result ends it and is returned. */
struct rrc_delta_reader {
	int (*thread)(void *ctx, const struct rrc_delta_thread *t, const uint8_t *xsave,
		      struct rrc_error *err);
	int (*stack)(void *ctx, const struct rrc_delta_stack *s, struct rrc_error *err);
	/* data: NULL for a page of zeros. */
	int (*page)(void *ctx, uint32_t pid, uint64_t addr, const uint8_t *data,
		    struct rrc_error *err);
	/* data: as for rrc_delta_put_lines(). */
	int (*lines)(void *ctx, uint32_t pid, const struct rrc_delta_changed *c,
		     const uint8_t *data, struct rrc_error *err);
	void *ctx;
};
int rrc_delta_check(const void *buf, size_t len, struct rrc_error *err);
const struct rrc_delta_head *rrc_delta_head(const void *buf); /* of a checked one */
int rrc_delta_read(const void *buf, size_t len, const struct rrc_delta_reader *r,
		   struct rrc_error *err);

#endif
