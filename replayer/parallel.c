// SPDX-License-Identifier: MIT
/* Many things at once, see parallel.h. */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "parallel.h"
#include "util.h"

#define MAX_THREADS 4
#define WORTH	    256 /* things; a thread costs as much as some of them */
#define SLICE	    16

struct work {
	uint32_t n, next;
	void (*fn)(void *ctx, uint32_t i);
	void *ctx;
};

static void work(struct work *w)
{
	uint32_t i;

	while ((i = __atomic_fetch_add(&w->next, SLICE, __ATOMIC_RELAXED)) < w->n)
		for (uint32_t end = rrc_min(i + SLICE, w->n); i < end; i++)
			w->fn(w->ctx, i);
}

/* Whoever replayed is bound to one CPU. */
static void *elsewhere(void *arg)
{
	cpu_set_t all;

	CPU_ZERO(&all);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &all);
	sched_setaffinity(0, sizeof(all), &all);
	work(arg);
	return NULL;
}

void rrc_parallel(uint32_t n, void (*fn)(void *ctx, uint32_t i), void *ctx)
{
	struct work w = { .n = n, .fn = fn, .ctx = ctx };
	long cpus = rrc_min(sysconf(_SC_NPROCESSORS_ONLN), (long)MAX_THREADS);
	pthread_t threads[MAX_THREADS];
	int started = 0;

	while (n >= WORTH && started + 1 < cpus &&
	       !pthread_create(&threads[started], NULL, elsewhere, &w))
		started++;
	work(&w);
	while (started)
		pthread_join(threads[--started], NULL);
}
