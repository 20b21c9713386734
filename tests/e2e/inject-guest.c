/* SPDX-License-Identifier: MIT */
/*
 * A server with threads that is attached to while it runs. Workers use every kind of lock and count what they did by
 * themselves; others wait, for as long as they are not released, in a mutex, condition variables and semaphores.
 *
 *	inject-guest PORT		commands: pause, resume, release, work (until it did some), count (operations
 *					so far), digest
 *	inject-guest --spin PORT	the same, with a thread that waits for a read-write lock for ever
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define WAITERS 6
#define THREADS (WORKERS + WAITERS)
#define LOCKS	5

/* One thread's count is written by it alone; the last is the first thread's. */
static struct {
	unsigned long n;
	char pad[56];
} __attribute__((aligned(64))) counts[THREADS + 1];

static pthread_mutex_t locks[LOCKS];
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER, taken = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, timed = PTHREAD_COND_INITIALIZER;
static sem_t sem, timed_sem, tokens;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER, rests = PTHREAD_COND_INITIALIZER;
static int released, paused, resting;
static unsigned long rounds, wanted; /* by all threads; as many are waited for */
static unsigned long values[LOCKS];
/* Each under one lock. */
static unsigned long by_exchange, by_rwlock, by_held, by_guard;
static void *parcel; /* allocated by one thread, freed by another; under locks[0] */

static void lock_gate(int me)
{
	counts[me].n++;
	pthread_mutex_lock(&gate);
}

static void rest(int me)
{
	lock_gate(me);
	if (++rounds == wanted)
		pthread_cond_signal(&rests);
	while (paused) {
		resting++;
		pthread_cond_signal(&rests);
		pthread_cond_wait(&go, &gate);
		counts[me].n++;
		resting--;
	}
	pthread_mutex_unlock(&gate);
}

static void exchange(int me)
{
	void *mine;

	counts[me].n += 2; /* malloc, lock */
	mine = malloc(100 + (unsigned int)me);
	pthread_mutex_lock(&locks[0]);
	if (parcel) {
		counts[me].n++;
		free(parcel);
	}
	parcel = mine;
	by_exchange = by_exchange * 31 + ((unsigned long)mine >> 4);
	pthread_mutex_unlock(&locks[0]);
}

static void round_of(int me, unsigned long i)
{
	unsigned long k = (i * 7 + (unsigned long)me) % LOCKS;
	struct timespec ts;

	counts[me].n++;
	pthread_mutex_lock(&locks[k]);
	values[k] = values[k] * 31 + (unsigned long)me;
	pthread_mutex_unlock(&locks[k]);
	counts[me].n++;
	if (pthread_mutex_trylock(&locks[(k + 1) % LOCKS]) == 0) {
		values[(k + 1) % LOCKS] += 3;
		pthread_mutex_unlock(&locks[(k + 1) % LOCKS]);
	}
	if (i % 8 == 0) {
		counts[me].n += 2;
		sem_wait(&tokens);
		sem_post(&tokens);
		pthread_rwlock_wrlock(&rwlock);
		by_rwlock = by_rwlock * 31 + (unsigned long)me;
		pthread_rwlock_unlock(&rwlock);
		exchange(me);
		counts[me].n++;
		clock_gettime(CLOCK_MONOTONIC, &ts);
	}
}

static void work(int me)
{
	struct timespec pause = { 0, 500000 };

	for (unsigned long i = 0;; i++) {
		rest(me);
		round_of(me, i);
		if (i % 4 == 0)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
}

static void *worker(void *arg)
{
	work((int)(long)arg);
	return NULL;
}

/* Comes out of where it waits, holding something, and says that it was its turn. */
static void *waiter(void *arg)
{
	int kind = (int)(long)arg, me = WORKERS + kind;
	struct timespec later;

	clock_gettime(CLOCK_REALTIME, &later);
	later.tv_sec += 3600;
	switch (kind) {
	case 0:
	case 1:
		pthread_mutex_lock(&held);
		by_held = by_held * 31 + (unsigned long)kind;
		pthread_mutex_unlock(&held);
		break;
	case 2:
	case 3:
		pthread_mutex_lock(&guard);
		for (; !released; counts[me].n++)
			if (kind == 2)
				pthread_cond_wait(&cond, &guard);
			else
				pthread_cond_timedwait(&timed, &guard, &later);
		by_guard = by_guard * 31 + (unsigned long)kind;
		pthread_mutex_unlock(&guard);
		break;
	case 4:
		while (sem_wait(&sem) && errno == EINTR)
			;
		break;
	default:
		while (sem_timedwait(&timed_sem, &later) && errno == EINTR)
			;
	}
	counts[me].n += kind != 2 && kind != 3;
	work(me);
	return NULL;
}

static void *stuck(void *arg)
{
	pthread_rwlock_wrlock(&taken);
	return arg;
}

static void release(void)
{
	counts[THREADS].n++;
	pthread_mutex_lock(&guard);
	released = 1;
	pthread_cond_signal(&cond);
	pthread_cond_broadcast(&timed);
	pthread_mutex_unlock(&guard);
	sem_post(&sem);
	sem_post(&timed_sem);
	pthread_mutex_unlock(&held);
}

static void set_paused(int on)
{
	lock_gate(THREADS);
	paused = on;
	if (!on)
		pthread_cond_broadcast(&go);
	while (on && resting < (released ? THREADS : WORKERS)) {
		pthread_cond_wait(&rests, &gate);
		counts[THREADS].n++;
	}
	pthread_mutex_unlock(&gate);
}

static void await_work(void)
{
	lock_gate(THREADS);
	wanted = rounds + 1000;
	while (rounds < wanted) {
		pthread_cond_wait(&rests, &gate);
		counts[THREADS].n++;
	}
	pthread_mutex_unlock(&gate);
}

/* Counts and the digest are asked for in a pause. */
static void command(const char *text, char *answer, size_t size)
{
	unsigned long sum = 0;

	snprintf(answer, size, "ok\n");
	if (!strncmp(text, "pause", 5)) {
		set_paused(1);
	} else if (!strncmp(text, "resume", 6)) {
		set_paused(0);
	} else if (!strncmp(text, "release", 7)) {
		release();
	} else if (!strncmp(text, "work", 4)) {
		await_work();
	} else if (!strncmp(text, "count", 5)) {
		for (int i = 0; i <= THREADS; i++)
			sum += counts[i].n;
		snprintf(answer, size, "%lu\n", sum);
	} else {
		for (int i = 0; i < LOCKS; i++)
			sum = sum * 31 + values[i];
		sum = sum * 31 + by_exchange * 7 + by_rwlock * 5 + by_held * 3 + by_guard;
		snprintf(answer, size, "%016lx\n", sum);
	}
}

static void serve(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0), c;
	char text[64], answer[64];
	ssize_t n;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (void *)&a, sizeof(a)) || listen(s, 8)) {
		perror("inject-guest");
		exit(1);
	}
	while ((c = accept(s, NULL, NULL)) >= 0) {
		while ((n = read(c, text, sizeof(text) - 1)) > 0) {
			text[n] = 0;
			command(text, answer, sizeof(answer));
			if (write(c, answer, strlen(answer)) < 0)
				break;
		}
		close(c);
	}
}

int main(int argc, char **argv)
{
	int spin = argc > 1 && !strcmp(argv[1], "--spin");
	pthread_t t;

	if (argc != 2 + spin)
		return 2;
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&locks[i], NULL);
	sem_init(&sem, 0, 0);
	sem_init(&timed_sem, 0, 0);
	sem_init(&tokens, 0, 2);
	pthread_mutex_lock(&held);
	pthread_rwlock_wrlock(&taken);
	for (long i = 0; i < WORKERS; i++)
		pthread_create(&t, NULL, worker, (void *)i);
	for (long i = 0; i < WAITERS; i++)
		pthread_create(&t, NULL, waiter, (void *)i);
	if (spin)
		pthread_create(&t, NULL, stuck, NULL);
	serve(atoi(argv[argc - 1]));
	return 0;
}
