/* SPDX-License-Identifier: MIT */
/* Guests whose threads spin on an atomic and take a lock now and then: how often is chance, and shows nowhere. */
#ifndef TESTS_PRELOAD_GUEST_SPIN_H
#define TESTS_PRELOAD_GUEST_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "guest.h"

/* Workers that spin on a counter and look at a lock now and then, as redis' do: how often is chance. */
static _Atomic int pending[2];
static pthread_mutex_t gate[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
static int stop; /* under the gates */

static void *spinner_thread(void *arg)
{
	long me = (long)arg;
	int i, last;

	for (;;) {
		for (i = 0; i < 20000 && !pending[me]; i++)
			;
		if (!pending[me]) {
			pthread_mutex_lock(&gate[me]);
			last = stop;
			pthread_mutex_unlock(&gate[me]);
			if (last)
				return NULL;
			continue;
		}
		mix(&own[me], (uint64_t)pending[me]);
		pending[me] = 0;
	}
}

static void spinners(void)
{
	pthread_t t[2];
	long i, round;

	for (i = 0; i < 2; i++) {
		pthread_mutex_lock(&gate[i]);
		pthread_create(&t[i], NULL, spinner_thread, (void *)i);
	}
	for (round = 1; round <= factor * 60; round++) {
		for (i = 0; i < 2; i++)
			pthread_mutex_unlock(&gate[i]);
		for (i = 0; i < 2; i++)
			pending[i] = (int)round;
		for (i = 0; i < 2; i++)
			while (pending[i])
				sched_yield();
		for (i = 0; round % 3 && i < 200; i++)
			jitter();
		for (i = 0; i < 2; i++)
			pthread_mutex_lock(&gate[i]);
	}
	stop = 1;
	for (i = 0; i < 2; i++) {
		pthread_mutex_unlock(&gate[i]);
		pthread_join(t[i], NULL);
	}
}

/* The same in a pool whose threads do something: gates stay open for some rounds, and what the threads do takes
 * locks too, their own, each other's and the allocator's. How often they come to their gates between two of
 * these differs from run to run, and shows nowhere. */
static pthread_mutex_t mine[THREADS] = {
	PTHREAD_MUTEX_INITIALIZER,
	PTHREAD_MUTEX_INITIALIZER,
	PTHREAD_MUTEX_INITIALIZER,
	PTHREAD_MUTEX_INITIALIZER,
};

static void pool_work(long me)
{
	struct timespec ts;
	void *p;
	int i;

	for (i = 0; i < 3; i++) {
		pthread_mutex_lock(&mine[me]);
		p = malloc(40);
		pthread_mutex_unlock(&mine[me]);
		pthread_mutex_lock(&mutex);
		mix(&digest, (uint64_t)me);
		pthread_mutex_unlock(&mutex);
		if (pthread_mutex_trylock(&second)) {
			mix(&own[me], 1);
		} else {
			mix(&other_digest, (uint64_t)me);
			jitter();
			pthread_mutex_unlock(&second);
		}
		free(p);
	}
	clock_gettime(CLOCK_MONOTONIC, &ts);
	mix(&own[me], (uint64_t)ts.tv_nsec);
}

static void *pool_thread(void *arg)
{
	long me = (long)arg;
	int i, last;

	for (;;) {
		for (i = 0; i < 5000 && !pending[me]; i++)
			;
		if (!pending[me]) {
			pthread_mutex_lock(&gate[me]);
			last = stop;
			pthread_mutex_unlock(&gate[me]);
			if (last)
				return NULL;
			continue;
		}
		pool_work(me);
		pending[me] = 0;
	}
}

static void pool_round(long round)
{
	long i;

	for (i = 0; i < 2; i++)
		pending[i] = (int)round;
	pool_work(2);
	for (i = 0; i < 2; i++)
		while (pending[i])
			sched_yield();
	for (i = 0; round % 5 && i < 100; i++)
		jitter();
}

static void pool(void)
{
	bool open = false;
	pthread_t t[2];
	long i, round;

	for (i = 0; i < 2; i++) {
		pthread_mutex_lock(&gate[i]);
		pthread_create(&t[i], NULL, pool_thread, (void *)i);
	}
	for (round = 1; round <= factor * 100; round++) {
		for (i = 0; i < 2 && !open; i++)
			pthread_mutex_unlock(&gate[i]);
		open = round % 4 != 0;
		pool_round(round);
		for (i = 0; i < 2 && !open; i++)
			pthread_mutex_lock(&gate[i]);
	}
	for (i = 0; i < 2 && open; i++)
		pthread_mutex_lock(&gate[i]);
	stop = 1;
	for (i = 0; i < 2; i++) {
		pthread_mutex_unlock(&gate[i]);
		pthread_join(t[i], NULL);
	}
	mix(&digest, other_digest);
}

#endif
