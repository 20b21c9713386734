/* SPDX-License-Identifier: MIT */
/*
 * Written pages of a child that does all that a program can do to its memory, round after round: what was copied is
 * its memory, byte for byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ptrace.h>

#include "dirty.h"
#include "memory.h"
#include "writelog.h"

static void stop(pid_t pid)
{
	rrc_autofree pid_t *tids = NULL;
	struct rrc_error err = { 0 };

	cr_assert_geq(rrc_seize_process(pid, 0, &tids, &err), 1, "%s", err.msg);
}

/* One look at the child: what the log would tell of, then what it wrote. */
static void look(struct rrc_dirty *d, struct rrc_pages *world, const struct told *told, size_t n)
{
	struct rrc_pages *fresh = rrc_pages_new();
	struct rrc_error err = { 0 };
	uint64_t count;

	if (n)
		cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_dirty_collect(d, fresh, &count, &err), 0, "%s", err.msg);
	for (size_t i = 0; i < n; i++) {
		if (told[i].start == UNSEEN)
			continue;
		rrc_pages_drop(world, told[i].start, told[i].end);
		cr_assert_eq(rrc_dirty_range(d, told[i].start, told[i].end, fresh, &count, &err), 0,
			     "%s", err.msg);
	}
	keep(world, fresh);
	rrc_pages_free(fresh);
}

/* What the log of faults has of the child since the mark, by address, into fresh. 0: it does not tell all. */
static int by_log(struct rrc_writelog *log, struct rrc_dirty *d, pid_t pid, const struct told *told,
		  size_t n, struct rrc_pages *fresh)
{
	const struct rrc_written *w;
	struct rrc_error err = { 0 };
	long written = rrc_writelog_take(log, &w);
	int all = written >= 0 && !rrc_dirty_fresh(d);
	uint64_t count;

	for (size_t i = 0; i < n; i++)
		all &= told[i].start != UNSEEN;
	for (long i = 0; i < written && all; i++)
		if (w[i].tid == (uint32_t)pid)
			cr_assert_eq(rrc_dirty_pages(d, &w[i].addr, 1, fresh, &count, &err), 0,
				     "%s", err.msg);
	return all && !rrc_dirty_fresh(d);
}

static size_t last_look(struct rrc_writelog *log, struct rrc_dirty *d, pid_t pid,
			struct rrc_pages *world, const struct told *told, size_t n)
{
	struct rrc_pages *fresh = rrc_pages_new();
	struct rrc_error err = { 0 };
	uint64_t count;
	int all;

	if (n)
		cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	all = by_log(log, d, pid, told, n, fresh);
	if (!all)
		cr_assert_eq(rrc_dirty_collect(d, fresh, &count, &err), 0, "%s", err.msg);
	for (size_t i = 0; i < n; i++) {
		if (told[i].start == UNSEEN)
			continue;
		rrc_pages_drop(world, told[i].start, told[i].end);
		cr_assert_eq(rrc_dirty_range(d, told[i].start, told[i].end, fresh, &count, &err), 0,
			     "%s", err.msg);
	}
	keep(world, fresh);
	rrc_pages_free(fresh);
	return (size_t)all;
}

static void all_of_it(uint64_t seed, struct rrc_writelog *log)
{
	struct told told[4 * OPS];
	struct rrc_error err = { 0 };
	struct rrc_pages *world = rrc_pages_new();
	struct rrc_dirty *d;
	size_t seen = 0, logged = 0, n;
	char ops = log ? FEW : 'x'; /* after few of them the log is often enough */
	pid_t pid;

	if (rrc_dirty_probe(&err))
		cr_skip_test("%s", err.msg);
	pid = start(child, seed);
	hear(told, 1);
	stop(pid);
	d = rrc_dirty_new(pid, pid, &err);
	cr_assert(d, "%s", err.msg);
	/* Before anything is protected all that is there counts as written: the base. */
	cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	look(d, world, NULL, 0);
	compare(pid, world, -1);
	for (int round = 0; round < ROUNDS; round++) {
		if (log && !(round & 1)) {
			rrc_writelog_mark(log);
			look(d, world, NULL, 0);
		}
		cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
		cr_assert_eq(write(to_child[1], &ops, 1), 1);
		if (log && round & 1)
			rrc_writelog_mark(log);
		if (round & 1)
			look(d, world, NULL, 0); /* while it runs */
		n = hear(told, RRC_ARRAY_SIZE(told));
		stop(pid);
		if (log)
			logged += last_look(log, d, pid, world, told, n);
		else
			look(d, world, told, n);
		seen += compare(pid, world, round);
	}
	cr_assert_gt(seen, 1000u);
	cr_assert(!log || logged, "the log was never enough");
	rrc_dirty_free(d);
	rrc_pages_free(world);
	end(pid);
}

Test(dirty, what_was_copied_is_the_memory, .timeout = 60)
{
	all_of_it(1, NULL);
}

Test(dirty, what_was_copied_is_the_memory_another_way, .timeout = 60)
{
	all_of_it(20261124, NULL);
}

Test(dirty, and_so_it_is_by_the_log_of_faults, .timeout = 60)
{
	struct rrc_error err = { 0 };
	struct rrc_writelog *log = rrc_writelog_open(rrc_pidns_ino(getpid()), &err);

	cr_assert(log, "%s", err.msg);
	for (uint64_t seed = 1; seed < 6; seed++)
		all_of_it(seed, log);
	rrc_writelog_free(log);
}

static void writes_three(uint64_t seed)
{
	uint64_t p = AREA;
	char c;

	(void)seed;
	mmap((void *)p, AREA_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	for (uint64_t i = 0; i < 256; i++)
		fill(p + i * RRC_PAGE, i);
	say(0, 0);
	while (read(to_child[0], &c, 1) == 1) {
		fill(p + 3 * RRC_PAGE, 99);
		fill(p + 100 * RRC_PAGE, 100);
		(void)*(volatile char *)(p + 200 * RRC_PAGE); /* read */
		say(0, 0);
	}
	_exit(0);
}

/* Few were written: few are copied, and none that was only read. */
Test(dirty, only_what_was_written, .timeout = 30)
{
	struct rrc_pages *p = rrc_pages_new();
	struct rrc_error err = { 0 };
	const uint8_t *const *data;
	const uint64_t *addr;
	struct rrc_dirty *d;
	struct told told[2];
	uint64_t count, found = 0;
	size_t n;
	pid_t pid;

	if (rrc_dirty_probe(&err))
		cr_skip_test("%s", err.msg);
	pid = start(writes_three, 0);
	hear(told, 1);
	stop(pid);
	d = rrc_dirty_new(pid, pid, &err);
	cr_assert(d, "%s", err.msg);
	cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_dirty_begin(d, &err), 0, "%s", err.msg);
	cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	cr_assert_eq(write(to_child[1], "x", 1), 1);
	hear(told, 1);
	cr_assert_eq(rrc_dirty_collect(d, p, &count, &err), 0, "%s", err.msg);
	n = rrc_pages_all(p, &addr, &data);
	for (size_t i = 0; i < n; i++)
		found += addr[i] >= AREA && addr[i] < AREA + AREA_LEN;
	cr_assert_eq(found, 2u, "%llu", (unsigned long long)found);
	cr_assert(page_of(addr, data, n, AREA + 3 * RRC_PAGE));
	cr_assert(page_of(addr, data, n, AREA + 100 * RRC_PAGE));
	cr_assert_lt(n, 40u, "%zu", n);
	rrc_pages_free(p);
	rrc_dirty_free(d);
	end(pid);
}

/* ---- files ---- */

#define FILE_PAGES 8u

/* Page 1 is written, then gone by a hole; page 2 is written by the mapping and then by a call. */
static void punches(uint64_t how)
{
	int fd = memfd_create("test", 0);
	char c;

	if (ftruncate(fd, FILE_PAGES * RRC_PAGE) ||
	    mmap((void *)AREA, FILE_PAGES * RRC_PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		_exit(1);
	say(0, 0);
	while (read(to_child[0], &c, 1) == 1) {
		if (c == 'w') {
			fill(AREA + RRC_PAGE, 1);
			fill(AREA + 2 * RRC_PAGE, 2);
		} else if (how) {
			(void)!ftruncate(fd, 2 * RRC_PAGE);
		} else {
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RRC_PAGE,
				  RRC_PAGE);
			(void)!pwrite(fd, "by a call", 9, 2 * RRC_PAGE);
		}
		say(0, 0);
	}
	_exit(0);
}

static void child_does(char what)
{
	struct told told[2];

	cr_assert_eq(write(to_child[1], &what, 1), 1);
	hear(told, RRC_ARRAY_SIZE(told));
}

static void changed_file(uint64_t how, int want)
{
	struct rrc_pages *world = rrc_pages_new(), *fresh = rrc_pages_new();
	struct rrc_error err = { 0 };
	struct told told[2];
	struct rrc_dirty *d;
	struct stat st;
	char path[64];
	pid_t pid;

	if (rrc_dirty_probe(&err))
		cr_skip_test("%s", err.msg);
	pid = start(punches, how);
	hear(told, RRC_ARRAY_SIZE(told));
	stop(pid);
	d = rrc_dirty_new(pid, pid, &err);
	cr_assert(d, "%s", err.msg);
	cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	look(d, world, NULL, 0);
	cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	child_does('w');
	look(d, world, NULL, 0);
	child_does('c');
	look(d, world, NULL, 0);
	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid, AREA,
		 AREA + FILE_PAGES * RRC_PAGE);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(rrc_dirty_file(d, st.st_ino, fresh, &err), want, "%s", err.msg);
	keep(world, fresh);
	stop(pid);
	if (!want)
		cr_assert_geq(compare(pid, world, 0), FILE_PAGES);
	rrc_pages_free(fresh);
	rrc_pages_free(world);
	rrc_dirty_free(d);
	end(pid);
}

Test(dirty, a_mapped_file_that_a_call_changed, .timeout = 30)
{
	changed_file(0, 0);
}

Test(dirty, a_mapped_file_that_got_shorter, .timeout = 30)
{
	changed_file(1, -ENOTSUP);
}
