/* SPDX-License-Identifier: MIT */
/* What all guests of the lock log have: threads that meet by chance, and digests of who came when. */
#ifndef TESTS_PRELOAD_GUEST_H
#define TESTS_PRELOAD_GUEST_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <x86intrin.h>

#define THREADS 4
#define ROUNDS	3000

static long factor = 1, pace = 1;

static uint64_t digest =
	14695981039346656037ULL; /* of what happened, in the order in which it did */
static uint64_t own[THREADS]; /* of what each thread saw */

static void mix(uint64_t *h, uint64_t v)
{
	*h = (*h ^ v) * 1099511628211ULL;
}

/* Time that no log knows: threads meet otherwise in each run. */
static void jitter(void)
{
	unsigned int n = (unsigned int)__rdtsc() >> 3 & 127;

	if (n == 5)
		sched_yield();
	for (volatile unsigned int i = 0; i < n * (unsigned int)pace; i++)
		;
}

static void together(void *(*fn)(void *))
{
	pthread_t t[THREADS];
	long i;

	for (i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, fn, (void *)i);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static uint64_t other_digest;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;

#endif
