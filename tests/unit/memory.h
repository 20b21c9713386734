/* SPDX-License-Identifier: MIT */
/* A child that does all that a program can do to its memory, round after round, and tells what a log would tell; and a
 * comparison of its memory with what was copied of it. */
#ifndef MEMORY_H
#define MEMORY_H

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "help.h"
#include "mappings.h"
#include "pages.h"
#include "ptrace.h"
#include "util.h"

#define AREA	 0x310000000000ull
#define AREA_LEN (512ull * RRC_PAGE)
#define OPS	 40
#define ROUNDS	 60
#define UNSEEN	 1 /* told instead of a place: the kernel wrote */
#define FEW	 'f' /* asks for a round of a tenth */

/* What the child did to its mappings, for the test to know as a log would. */
struct told {
	uint64_t start, end;
};

static int to_child[2], from_child[2];

static uint64_t some(uint64_t *seed, uint64_t below)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (*seed >> 33) % below;
}

static void say(uint64_t start, uint64_t end)
{
	struct told t = { start, end };

	if (write(from_child[1], &t, sizeof(t)) != sizeof(t))
		_exit(1);
}

static void fill(uint64_t addr, uint64_t value)
{
	*(volatile uint64_t *)(addr + value % (RRC_PAGE - 8)) = value;
}

/* Pages of the area may not be there, or not to be written: each is asked for first. */
static int mapped(uint64_t addr)
{
	unsigned char there;

	return !mincore((void *)addr, RRC_PAGE, &there);
}

static int writable(uint64_t addr)
{
	int *ends = (int *)addr;

	/* The kernel writes there, or says that it cannot. */
	if (syscall(SYS_pipe2, ends, O_CLOEXEC))
		return 0;
	close(ends[0]);
	close(ends[1]);
	return 1;
}

static __attribute__((noinline)) int deep(int n)
{
	volatile char frame[3000];

	frame[n % 3000] = (char)n;
	return n ? deep(n - 1) + frame[n % 3000] : 0;
}

static void one_op(uint64_t *seed)
{
	uint64_t at = AREA + some(seed, 512) * RRC_PAGE;
	uint64_t len = rrc_min((1 + some(seed, 24)) * RRC_PAGE, AREA + AREA_LEN - at);
	uint64_t to = AREA + some(seed, 256) * RRC_PAGE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	void *old;

	switch (some(seed, 13)) {
	case 0:
		munmap((void *)at, len);
		say(at, at + len);
		break;
	case 1:
		mmap((void *)at, len, PROT_READ | PROT_WRITE, flags, -1, 0);
		say(at, at + len);
		break;
	case 2:
		madvise((void *)at, len, MADV_DONTNEED);
		say(at, at + len);
		break;
	case 3: /* moved, if nothing is in the way of it */
		if (len <= RRC_PAGE * 8 && mapped(at) && (to + len <= at || to >= at + len)) {
			old = mremap((void *)at, RRC_PAGE, RRC_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     (void *)to);
			if (old != MAP_FAILED) {
				say(at, at + RRC_PAGE);
				say(to, to + RRC_PAGE);
			}
		}
		break;
	case 4:
		old = sbrk((intptr_t)(some(seed, 9) * RRC_PAGE) - 4 * RRC_PAGE);
		say(rrc_min((uint64_t)old, (uint64_t)sbrk(0)),
		    rrc_max((uint64_t)old, (uint64_t)sbrk(0)));
		if ((uint64_t)old < (uint64_t)sbrk(0))
			fill((uint64_t)old & ~(uint64_t)(RRC_PAGE - 1), *seed >> 1);
		break;
	case 5:
		deep((int)some(seed, 60) * 4);
		break;
	case 6:
		if (writable(at)) {
			fill(at, *seed >> 1);
			mprotect((void *)at, RRC_PAGE, PROT_NONE);
			mprotect((void *)at, RRC_PAGE,
				 some(seed, 2) ? PROT_READ | PROT_WRITE : PROT_NONE);
		}
		break;
	case 7: /* by the kernel, which takes no fault for it */
		if (writable(at)) {
			struct iovec from = { seed, sizeof(*seed) }, by = { (void *)at, 8 };

			process_vm_writev(getpid(), &from, 1, &by, 1, 0);
			say(UNSEEN, UNSEEN);
		}
		break;
	default:
		for (; len; len -= RRC_PAGE, at += RRC_PAGE)
			if (writable(at))
				fill(at, *seed >> 1);
		break;
	}
}

static int copies; /* the child makes one of itself after each round, which stands */

static void make_copy(void)
{
	pid_t copy = fork();

	if (!copy) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		raise(SIGSTOP);
		_exit(1);
	}
	if (copy < 0 || waitpid(copy, NULL, WUNTRACED) != copy)
		_exit(1);
	say(0, (uint64_t)copy);
}

static void child(uint64_t seed)
{
	char c;

	mmap((void *)AREA, AREA_LEN, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (uint64_t i = 0; i < 512; i += 3)
		fill(AREA + i * RRC_PAGE, i + 1);
	if (copies)
		make_copy();
	say(0, 0);
	while (read(to_child[0], &c, 1) == 1) {
		for (int i = 0; i < (c == FEW ? OPS / 10 : OPS); i++)
			one_op(&seed);
		if (copies)
			make_copy();
		say(0, 0);
	}
	_exit(0);
}

static pid_t start(void (*body)(uint64_t seed), uint64_t seed)
{
	pid_t pid;

	cr_assert(!pipe(to_child) && !pipe(from_child));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
		body(seed);
	}
	cr_assert_gt(pid, 0);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) > 0)
		;
}

/* Until it says that it is done with its round. */
static size_t hear(struct told *told, size_t most)
{
	size_t n = 0;

	for (;;) {
		cr_assert_lt(n, most);
		cr_assert_eq(read(from_child[0], &told[n], sizeof(*told)), (ssize_t)sizeof(*told));
		if (!told[n].start && !told[n].end)
			return n;
		n++;
	}
}

/* What the copy has by now: the newest of all rounds. */
static void keep(struct rrc_pages *world, struct rrc_pages *fresh)
{
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t n = rrc_pages_all(fresh, &addr, &data);

	for (size_t i = 0; i < n; i++) {
		uint8_t *room = rrc_pages_room(world, 1);

		cr_assert(room);
		memcpy(room, data[i], RRC_PAGE);
		cr_assert_eq(rrc_pages_put(world, addr[i], room), 0);
	}
	rrc_pages_clear(fresh);
}

static const uint8_t *page_of(const uint64_t *addr, const uint8_t *const *data, size_t n,
			      uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		if (addr[i] == at)
			return data[i];
	return NULL;
}

/* Memory of the area and the heap is what the copy has, and zeros where it has nothing. */
static size_t compare(pid_t pid, struct rrc_pages *world, int round)
{
	static const uint8_t zeros[RRC_PAGE];
	struct rrc_mappings m;
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t n = rrc_pages_all(world, &addr, &data), seen = 0;
	uint8_t now[RRC_PAGE];

	cr_assert_eq(rrc_mappings_open(&m, pid, NULL), 0);
	cr_assert_eq(rrc_mappings_read(&m, NULL), 0);
	for (size_t i = 0; i < m.n; i++) {
		const struct rrc_mapping *v = &m.map[i];
		int ours = v->heap || v->stack || (v->start >= AREA && v->end <= AREA + AREA_LEN);

		for (uint64_t at = v->start; ours && at < v->end; at += RRC_PAGE) {
			const uint8_t *have = page_of(addr, data, n, at);

			cr_assert_eq(rrc_mem_read(pid, at, now, sizeof(now)), 0);
			cr_assert(!memcmp(now, have ? have : zeros, sizeof(now)),
				  "round %d: the page at %#llx of %s (%s)", round,
				  (unsigned long long)at, v->name, have ? "copied" : "not copied");
			seen++;
		}
	}
	/* Nothing is kept where nothing is: the backup could not put it there. */
	for (size_t i = 0; i < n; i++)
		cr_assert(rrc_mappings_at(&m, addr[i]), "round %d: %#llx is not mapped", round,
			  (unsigned long long)addr[i]);
	rrc_mappings_close(&m);
	return seen;
}

#endif
