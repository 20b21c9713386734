/* SPDX-License-Identifier: MIT */
/* What the log says that a delta must look at, and pages kept by their address. */
#include "changes.h"
#include "dirty.h"
#include "help.h"
#include "pages.h"
#include "syscalls.h"

static void call(struct rrc_changes *c, unsigned int nr, int64_t ret, uint64_t a, uint64_t b,
		 uint64_t third)
{
	struct rrc_rec r = { .size = sizeof(r),
			     .kind = RRC_REC_SYSCALL,
			     .nr = (uint16_t)nr,
			     .ret = ret,
			     .pid = 7,
			     .args = { a, b, third } };

	rrc_changes_note(c, &r);
}

static void is(const struct rrc_range *r, uint64_t start, uint64_t end)
{
	cr_assert_eq(r->pid, 7u);
	cr_assert_eq(r->start, start, "%#llx", (unsigned long long)r->start);
	cr_assert_eq(r->end, end, "%#llx", (unsigned long long)r->end);
}

Test(changes, memory_that_calls_gave_and_took)
{
	struct rrc_changes *c = rrc_changes_new();
	struct rrc_range *r;

	call(c, RRC_NR_mmap, 0x10000, 0, 0x2000, 3);
	call(c, RRC_NR_mmap, -12, 0, 0x2000, 3);
	call(c, RRC_NR_munmap, 0, 0x20000, 0x1000, 0);
	call(c, RRC_NR_madvise, 0, 0x30000, 0x1000, 4);
	call(c, RRC_NR_mprotect, 0, 0x40000, 0x1000, 1);
	call(c, RRC_NR_mremap, 0x60000, 0x50000, 0x1000, 0x3000);
	call(c, RRC_NR_brk, 0x555000, 0x555000, 0, 0);
	cr_assert_eq(rrc_changes_take(c, &r), 6);
	is(&r[0], 0x10000, 0x12000);
	is(&r[1], 0x20000, 0x21000);
	is(&r[2], 0x30000, 0x31000);
	is(&r[3], 0x50000, 0x51000);
	is(&r[4], 0x60000, 0x63000);
	cr_assert(r[5].brk && r[5].start == 0x555000);
	free(r);
	cr_assert_eq(rrc_changes_take(c, &r), 0, "given twice");
	cr_assert_not(rrc_changes_whole(c, NULL, NULL));
	/* A call about mappings of which nobody knows what it does to them. */
	call(c, RRC_NR_remap_file_pages, 0, 0x10000, 0x1000, 0);
	cr_assert(rrc_changes_whole(c, NULL, NULL));
	rrc_changes_free(c);
}

Test(changes, writes_of_the_kernel_that_take_no_fault)
{
	static const struct {
		unsigned int nr, fdkind;
		uint64_t third;
		int unseen;
	} t[] = {
		{ RRC_NR_read, RRC_FD_TCP, 0, 0 },
		{ RRC_NR_read, RRC_FD_REG, 0, 1 }, /* O_DIRECT, it may be */
		{ RRC_NR_preadv2, RRC_FD_CHR, 0, 1 },
		{ RRC_NR_write, RRC_FD_REG, 0, 0 },
		{ RRC_NR_write, RRC_FD_PROC, 0, 1 }, /* its own memory, it may be */
		{ RRC_NR_process_vm_writev, RRC_FD_NONE, 0, 1 },
		{ RRC_NR_mlock, RRC_FD_NONE, 0, 1 },
		{ RRC_NR_mprotect, RRC_FD_NONE, 0, 1 },
		{ RRC_NR_madvise, RRC_FD_NONE, 4, 0 },
		{ RRC_NR_madvise, RRC_FD_NONE, 23, 1 },
	};
	struct rrc_changes *c = rrc_changes_new();

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct rrc_rec r = { .size = sizeof(r),
				     .kind = RRC_REC_SYSCALL,
				     .nr = (uint16_t)t[i].nr,
				     .fdkind = (uint8_t)t[i].fdkind,
				     .args = { 0, 0, t[i].third } };
		uint64_t before = rrc_changes_unseen(c);

		rrc_changes_note(c, &r);
		cr_assert_eq(rrc_changes_unseen(c) != before, t[i].unseen, "%zu", i);
	}
	rrc_changes_free(c);
}

static void call_on(struct rrc_changes *c, unsigned int nr, unsigned int fdkind, uint64_t obj,
		    int64_t ret, uint64_t b, uint64_t third)
{
	struct rrc_rec r = { .size = sizeof(r),
			     .kind = RRC_REC_SYSCALL,
			     .nr = (uint16_t)nr,
			     .fdkind = (uint8_t)fdkind,
			     .obj = obj,
			     .ret = ret,
			     .pid = 7,
			     .args = { 0, b, third } };

	rrc_changes_note(c, &r);
}

/* A read of a file whose pages the disk writes: they are copied when it has ended, however they look until then. */
Test(changes, what_was_read_directly_is_copied_afterwards)
{
	struct rrc_changes *c = rrc_changes_new();
	struct rrc_range *r;

	call_on(c, RRC_NR_pread64, RRC_FD_REG, 5, 0x3000, 0x70000, 0x4000);
	cr_assert_eq(rrc_changes_take(c, &r), 0, "nothing is read directly yet");
	call_on(c, RRC_NR_openat, RRC_FD_REG, 5, 3, 0, O_DIRECT);
	call_on(c, RRC_NR_pread64, RRC_FD_REG, 5, 0x3000, 0x70000, 0x4000);
	call_on(c, RRC_NR_pread64, RRC_FD_REG, 5, 0x2000, 0x70000, 0x4000);
	call_on(c, RRC_NR_read, RRC_FD_TCP, 5, 0x3000, 0x90000, 0x4000);
	call_on(c, RRC_NR_read, RRC_FD_CHR, 5, -5, 0x90000, 0x4000);
	call_on(c, RRC_NR_read, RRC_FD_CHR, 5, 0x1000, 0x80000, 0x4000);
	cr_assert_eq(rrc_changes_take(c, &r), 2);
	is(&r[0], 0x70000, 0x73000);
	is(&r[1], 0x80000, 0x81000);
	free(r);
	cr_assert_not(rrc_changes_whole(c, NULL, NULL));
	call_on(c, RRC_NR_preadv, RRC_FD_REG, 5, 0x3000, 0x70000, 1);
	cr_assert(rrc_changes_whole(c, NULL, NULL), "nobody knows where to");
	rrc_changes_free(c);
}

Test(changes, files_that_calls_changed_may_be_mapped)
{
	struct rrc_changes *c = rrc_changes_new();
	struct rrc_range *r;

	call_on(c, RRC_NR_write, RRC_FD_TCP, 5, 10, 0, 10);
	call_on(c, RRC_NR_openat, RRC_FD_REG, 5, 3, 0, O_WRONLY);
	for (int i = 0; i < 100; i++)
		call_on(c, RRC_NR_write, RRC_FD_REG, 50 + i % 2, 10, 0, 10);
	call_on(c, RRC_NR_fallocate, RRC_FD_REG, 60, 0, 3, 0);
	call_on(c, RRC_NR_openat, RRC_FD_REG, 61, 3, 0, O_WRONLY | O_TRUNC);
	call_on(c, RRC_NR_truncate, RRC_FD_NONE, 0, 0, 0, 0);
	cr_assert_eq(rrc_changes_take(c, &r), 5);
	cr_assert_eq(r[0].file, 50u);
	cr_assert_eq(r[1].file, 51u);
	cr_assert_eq(r[2].file, 60u);
	cr_assert_eq(r[3].file, 61u);
	cr_assert_eq(r[4].file, RRC_ANY_FILE);
	free(r);
	cr_assert_not(rrc_changes_whole(c, NULL, NULL));
	rrc_changes_free(c);
}

Test(changes, only_a_whole_one_carries_a_birth_and_a_cut_forgets_it)
{
	struct rrc_rec birth = { .size = sizeof(birth), .kind = RRC_REC_BIRTH };
	struct rrc_changes *c = rrc_changes_new();
	unsigned int nr, kind;
	uint64_t before = rrc_changes_descriptors(c);

	call(c, RRC_NR_read, 5, 3, 0, 5);
	cr_assert_eq(rrc_changes_descriptors(c), before);
	call(c, RRC_NR_accept4, 9, 3, 0, 0);
	cr_assert_neq(rrc_changes_descriptors(c), before);
	cr_assert_not(rrc_changes_whole(c, NULL, NULL));
	rrc_changes_note(c, &birth);
	call(c, RRC_NR_setuid, 0, 3, 0, 0);
	cr_assert(rrc_changes_whole(c, &nr, &kind));
	cr_assert_eq(kind, (unsigned int)RRC_REC_BIRTH, "the first is named");
	rrc_changes_cut(c);
	cr_assert_not(rrc_changes_whole(c, NULL, NULL));
	rrc_changes_free(c);
}

Test(pages, the_newest_of_each_and_none_that_was_dropped)
{
	struct rrc_pages *p = rrc_pages_new();
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t n;

	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 20000; i += 10) {
			uint8_t *room = rrc_pages_room(p, 10);

			cr_assert(room);
			for (uint64_t k = 0; k < 10; k++) {
				memset(room + k * RRC_PAGE, (int)(i + k + (uint64_t)round), 8);
				cr_assert_eq(rrc_pages_put(p, (i + k) * RRC_PAGE,
							   room + k * RRC_PAGE),
					     0);
			}
		}
	}
	rrc_pages_drop(p, 5 * RRC_PAGE, 7 * RRC_PAGE);
	rrc_pages_drop(p, 10000 * (uint64_t)RRC_PAGE, ~0ull);
	n = rrc_pages_all(p, &addr, &data);
	cr_assert_eq(n, 9998u);
	for (size_t i = 0; i < n; i++) {
		cr_assert(addr[i] / RRC_PAGE < 10000 && addr[i] / RRC_PAGE != 5 &&
			  addr[i] / RRC_PAGE != 6);
		cr_assert_eq(*data[i], (uint8_t)(addr[i] / RRC_PAGE + 2));
	}
	/* One that comes back after it was dropped. */
	cr_assert_eq(rrc_pages_put(p, 5 * RRC_PAGE, data[0]), 0);
	cr_assert_eq(rrc_pages_all(p, &addr, &data), 9999u);
	rrc_pages_clear(p);
	cr_assert_eq(rrc_pages_all(p, &addr, &data), 0u);
	rrc_pages_free(p);
}
