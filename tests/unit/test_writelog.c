/* SPDX-License-Identifier: MIT */
/*
 * The log of write faults against the scan of all pages: threads write without a pause while pages are protected, and
 * whatever the scan finds in the end is in the log.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "dirty.h"
#include "help.h"
#include "ptrace.h"
#include "util.h"
#include "writelog.h"

#define AREA	0x320000000000ull
#define PAGES	2048u
#define WRITERS 3
#define ROUNDS	150

static void *writer(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;

	for (;;) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		*(volatile uint64_t *)(AREA + (seed >> 33) % PAGES * RRC_PAGE) = seed;
	}
	return NULL;
}

static pid_t start(void)
{
	int ready[2];
	pid_t pid;
	char c;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		mmap((void *)AREA, PAGES * RRC_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		for (uintptr_t i = 1; i < WRITERS; i++)
			pthread_create(&t, NULL, writer, (void *)i);
		if (write(ready[1], "x", 1) == 1)
			writer(NULL);
		_exit(1);
	}
	cr_assert_eq(read(ready[0], &c, 1), 1);
	return pid;
}

static int stop(pid_t pid, pid_t **tids)
{
	struct rrc_error err = { 0 };
	int n = rrc_seize_process(pid, 0, tids, &err);

	cr_assert_eq(n, WRITERS, "%s", err.msg);
	return n;
}

static void go_on(pid_t *tids, int n)
{
	for (int i = 0; i < n; i++)
		cr_assert_eq(ptrace(PTRACE_DETACH, tids[i], NULL, NULL), 0);
	free(tids);
}

/* Of the pages that the scan found, how many are not in the log. */
static size_t missing(struct rrc_pages *p, const struct rrc_written *w, long n, size_t *found)
{
	static uint8_t logged[PAGES];
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t all = rrc_pages_all(p, &addr, &data), missed = 0;

	memset(logged, 0, sizeof(logged));
	for (long i = 0; i < n; i++)
		if (w[i].addr >= AREA && w[i].addr < AREA + PAGES * RRC_PAGE)
			logged[(w[i].addr - AREA) / RRC_PAGE] = 1;
	for (size_t i = 0; i < all; i++) {
		if (addr[i] < AREA || addr[i] >= AREA + PAGES * RRC_PAGE)
			continue;
		++*found;
		missed += !logged[(addr[i] - AREA) / RRC_PAGE];
	}
	return missed;
}

Test(writelog, has_what_a_scan_finds, .timeout = 60)
{
	struct rrc_error err = { 0 };
	struct rrc_pages *p = rrc_pages_new();
	const struct rrc_written *w;
	struct rrc_writelog *log;
	size_t found = 0, missed = 0;
	struct rrc_dirty *d;
	uint64_t count;
	pid_t pid, *tids;
	int stopped;

	if (rrc_dirty_probe(&err))
		cr_skip_test("%s", err.msg);
	log = rrc_writelog_open(rrc_pidns_ino(getpid()), &err);
	cr_assert(log, "%s", err.msg);
	pid = start();
	stopped = stop(pid, &tids);
	d = rrc_dirty_new(pid, pid, &err);
	cr_assert(d, "%s", err.msg);
	cr_assert_eq(rrc_dirty_map(d, &err), 0, "%s", err.msg);
	for (int i = 0; i < ROUNDS; i++) {
		long n;

		go_on(tids, stopped);
		rrc_writelog_mark(log);
		cr_assert_eq(rrc_dirty_collect(d, p, &count, &err), 0, "%s", err.msg);
		rrc_pages_clear(p);
		stopped = stop(pid, &tids);
		n = rrc_writelog_take(log, &w);
		cr_assert_eq(rrc_dirty_collect(d, p, &count, &err), 0, "%s", err.msg);
		if (n >= 0)
			missed += missing(p, w, n, &found);
		rrc_pages_clear(p);
	}
	cr_assert_gt(found, 1000u, "%zu", found);
	cr_assert_eq(missed, 0u, "%zu of %zu", missed, found);
	kill(pid, SIGKILL);
	free(tids);
	while (waitpid(-1, NULL, __WALL) > 0)
		; /* its threads, which we trace */
	rrc_writelog_free(log);
	rrc_dirty_free(d);
	rrc_pages_free(p);
}
