/* SPDX-License-Identifier: MIT */
/* Copies on write of a child, made after each round of all that it can do to its memory: what differs between one and
 * the next, put upon the first, is the newest, byte for byte, and little else is found. And the device of the fork
 * module: what it gives is checked, and that it is missing is said. */
#include <errno.h>

#include "engines.h"
#include "forkdev.h"
#include "memory.h"
#include "shadowmem.h"

/* What the backup does by itself: memory that went and came anew is empty. */
static size_t hear_round(struct rrc_pages *world, struct told *told, size_t most)
{
	size_t n = hear(told, most) - 1;

	cr_assert(!told[n].start && told[n].end);
	for (size_t i = 0; i < n; i++)
		rrc_pages_drop(world, (told[i].start + RRC_PAGE - 1) & ~(uint64_t)(RRC_PAGE - 1),
			       told[i].end);
	return n;
}

static uint64_t difference(const struct rrc_shadowmem *now, const struct rrc_shadowmem *before,
			   struct rrc_pages *world)
{
	struct rrc_pages *fresh = rrc_pages_new();
	struct rrc_error err = { 0 };
	uint64_t count;

	cr_assert_eq(rrc_shadowmem_written(now, before, false, fresh, &count, &err), 0, "%s",
		     err.msg);
	keep(world, fresh);
	rrc_pages_free(fresh);
	return count;
}

/* What is not mapped any more is no matter: the backup has unmapped it, too. */
static void drop_unmapped(const struct rrc_shadowmem *m, struct rrc_pages *world)
{
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t n = rrc_pages_all(world, &addr, &data);

	for (size_t i = 0; i < n; i++)
		if (!rrc_mappings_at(&m->maps, addr[i]))
			rrc_pages_drop(world, addr[i], addr[i] + RRC_PAGE);
}

static void all_of_it(uint64_t seed)
{
	struct told told[4 * OPS];
	struct rrc_error err = { 0 };
	struct rrc_pages *world = rrc_pages_new();
	struct rrc_shadowmem copy[2];
	size_t seen = 0, n;
	bool marks;
	pid_t pid;

	if (rrc_shadowmem_probe(&marks, &err))
		cr_skip_test("%s", err.msg);
	copies = 1;
	pid = start(child, seed);
	n = hear_round(world, told, RRC_ARRAY_SIZE(told));
	cr_assert_eq(rrc_shadowmem_open(&copy[0], (pid_t)told[n].end, &err), 0, "%s", err.msg);
	difference(&copy[0], NULL, world);
	for (int round = 0; round < ROUNDS; round++) {
		struct rrc_shadowmem *was = &copy[round & 1], *now = &copy[!(round & 1)];

		cr_assert_eq(write(to_child[1], "x", 1), 1);
		n = hear_round(world, told, RRC_ARRAY_SIZE(told));
		cr_assert_eq(rrc_shadowmem_open(now, (pid_t)told[n].end, &err), 0, "%s", err.msg);
		difference(now, was, world);
		drop_unmapped(now, world);
		seen += compare(now->pid, world, round);
		kill(was->pid, SIGKILL);
		rrc_shadowmem_close(was);
	}
	cr_assert_gt(seen, 1000u);
	rrc_pages_free(world);
	end(pid);
}

Test(shadowmem, what_was_copied_is_the_memory, .timeout = 60)
{
	all_of_it(1);
}

Test(shadowmem, what_was_copied_is_the_memory_another_way, .timeout = 60)
{
	all_of_it(20261124);
}

/* A heap that grew and a mapping that merged with its neighbour: neither makes the rest look written. */
static void writes_three(uint64_t seed)
{
	char c;

	(void)seed;
	mmap((void *)AREA, AREA_LEN, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset((void *)AREA, 1, AREA_LEN);
	make_copy();
	say(0, 0);
	while (read(to_child[0], &c, 1) == 1) {
		mmap((void *)(AREA + AREA_LEN), RRC_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		fill(AREA + 3 * RRC_PAGE, 77);
		fill(AREA + 100 * RRC_PAGE, 78);
		fill(AREA + AREA_LEN, 79);
		make_copy();
		say(0, 0);
	}
	_exit(0);
}

Test(shadowmem, only_what_was_written_is_found, .timeout = 60)
{
	struct rrc_pages *fresh = rrc_pages_new();
	struct rrc_shadowmem copy[2];
	struct rrc_error err = { 0 };
	const uint8_t *const *data;
	const uint64_t *addr;
	struct told told[2];
	size_t n, found = 0;
	uint64_t count;
	bool marks;
	pid_t pid;

	if (rrc_shadowmem_probe(&marks, &err))
		cr_skip_test("%s", err.msg);
	pid = start(writes_three, 0);
	for (int i = 0; i < 2; i++) {
		/* What was read has its frame still. */
		if (i) {
			cr_assert_eq(rrc_shadowmem_written(&copy[0], NULL, false, fresh, &count,
							   &err),
				     0, "%s", err.msg);
			cr_assert_geq(count, 512u);
			rrc_pages_clear(fresh);
			cr_assert_eq(write(to_child[1], "x", 1), 1);
		}
		cr_assert_eq(hear(told, RRC_ARRAY_SIZE(told)), 1);
		cr_assert_eq(rrc_shadowmem_open(&copy[i], (pid_t)told[0].end, &err), 0, "%s",
			     err.msg);
	}
	cr_assert_eq(rrc_shadowmem_written(&copy[1], &copy[0], false, fresh, &count, &err), 0, "%s",
		     err.msg);
	n = rrc_pages_all(fresh, &addr, &data);
	for (size_t i = 0; i < n; i++)
		found += addr[i] >= AREA && addr[i] <= AREA + AREA_LEN;
	cr_assert_eq(found, 3);
	cr_assert_lt(n, 20u); /* and the stacks of both */
	cr_assert(page_of(addr, data, n, AREA + AREA_LEN));
	rrc_pages_free(fresh);
	end(pid);
}

/* ---- shared memory of the copies' own ---- */

static void own_memfd(uint64_t n)
{
	int fd = (int)syscall(SYS_memfd_create, "shared", 0);
	uint8_t *p;

	if (fd < 0 || ftruncate(fd, 64 * RRC_PAGE))
		_exit(1);
	p = mmap((void *)AREA, 64 * RRC_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 0);
	if (p == MAP_FAILED)
		_exit(1);
	for (uint64_t i = 0; i < 20; i++)
		p[i * RRC_PAGE] = (uint8_t)(i + 1);
	p[7 * RRC_PAGE + 5] = (uint8_t)n;
	if (n == 2)
		p[40 * RRC_PAGE] = 1; /* where the other has nothing */
	say(0, 0);
	pause();
	_exit(0);
}

Test(shadowmem, shared_memory_of_its_own_is_compared_by_its_bytes, .timeout = 60)
{
	struct rrc_pages *fresh = rrc_pages_new();
	struct rrc_shadowmem m[2];
	struct rrc_error err = { 0 };
	const uint8_t *const *data;
	const uint64_t *addr;
	struct told told[2];
	size_t n, shared = 0;
	uint64_t count;
	bool marks;
	pid_t pid[2];

	if (rrc_shadowmem_probe(&marks, &err))
		cr_skip_test("%s", err.msg);
	for (int i = 0; i < 2; i++) {
		pid[i] = start(own_memfd, (uint64_t)i + 1);
		hear(told, RRC_ARRAY_SIZE(told));
		cr_assert_eq(rrc_shadowmem_open(&m[i], pid[i], &err), 0, "%s", err.msg);
	}
	cr_assert_eq(rrc_shadowmem_written(&m[1], &m[0], false, fresh, &count, &err), 0, "%s",
		     err.msg);
	n = rrc_pages_all(fresh, &addr, &data);
	for (size_t i = 0; i < n; i++)
		shared += addr[i] >= AREA && addr[i] < AREA + AREA_LEN;
	cr_assert_eq(shared, 2);
	cr_assert_eq(page_of(addr, data, n, AREA + 7 * RRC_PAGE)[5], 2);
	cr_assert_eq(page_of(addr, data, n, AREA + 40 * RRC_PAGE)[0], 1);
	rrc_pages_clear(fresh);
	cr_assert_eq(rrc_shadowmem_written(&m[1], NULL, false, fresh, &count, &err), 0);
	n = rrc_pages_all(fresh, &addr, &data);
	for (size_t i = shared = 0; i < n; i++)
		shared += addr[i] >= AREA && addr[i] < AREA + AREA_LEN;
	cr_assert_eq(shared, 21);
	/* The caller's, when it is marked. */
	for (size_t i = 0; i < m[1].maps.n; i++)
		m[1].maps.map[i].unwatched = m[1].maps.map[i].shared;
	rrc_pages_clear(fresh);
	cr_assert_eq(rrc_shadowmem_written(&m[1], NULL, false, fresh, &count, &err), 0);
	n = rrc_pages_all(fresh, &addr, &data);
	cr_assert_null(page_of(addr, data, n, AREA));
	cr_assert_eq(rrc_shadowmem_all(&m[1], AREA, AREA + AREA_LEN / 8, 64, fresh, &count, &err),
		     0, "%s", err.msg);
	cr_assert_eq(count, 21);
	cr_assert_eq(rrc_shadowmem_all(&m[1], AREA, AREA + AREA_LEN / 8, 20, fresh, &count, &err),
		     -E2BIG);
	rrc_pages_free(fresh);
	end(pid[0]);
	end(pid[1]);
}

/* ---- the device ---- */

Test(forkdev, a_missing_module_is_what_the_host_lacks)
{
	struct rrc_error err = { 0 };

	if (!access(RRC_FORK_DEVICE, F_OK))
		cr_skip_test("it is loaded");
	cr_assert_null(rrc_ckpt_engine_choose("kfork", &err));
	cr_assert_eq(err.exit, RRC_EXIT_HOST);
	cr_assert(strstr(err.msg, RRC_FORK_DEVICE), "%s", err.msg);
}

Test(forkdev, records_that_are_none_end_the_search)
{
	struct rrc_fork_rec r[4] = {
		{ .kind = RRC_FORK_THREAD, .size = 16, .pid = 1 },
		{ .kind = RRC_FORK_SIGNAL, .size = 16, .pid = 2 },
		{ .kind = RRC_FORK_THREAD, .size = 16, .pid = 3 },
		{ .kind = RRC_FORK_SIGNAL, .size = 16, .pid = 4 },
	};
	struct rrc_forkdev d = { .state = (uint8_t *)r, .state_size = sizeof(r) };
	static const uint32_t bad[] = { 0, 8, 20, 48, 0xfffffff8u };
	const struct rrc_fork_rec *first, *second;

	first = rrc_forkdev_next(&d, NULL, RRC_FORK_THREAD);
	second = rrc_forkdev_next(&d, first, RRC_FORK_THREAD);
	cr_assert(first == &r[0] && second == &r[2]);
	cr_assert_null(rrc_forkdev_next(&d, second, RRC_FORK_THREAD));
	cr_assert_null(rrc_forkdev_next(&d, NULL, RRC_FORK_MAPPING));
	for (size_t i = 0; i < RRC_ARRAY_SIZE(bad); i++) {
		r[2].size = bad[i];
		cr_assert_eq(rrc_forkdev_next(&d, NULL, RRC_FORK_SIGNAL), &r[1]);
		cr_assert_null(rrc_forkdev_next(&d, &r[1], RRC_FORK_SIGNAL));
	}
	d.state_size = 8;
	cr_assert_null(rrc_forkdev_next(&d, NULL, RRC_FORK_THREAD));
}
