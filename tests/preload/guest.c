// SPDX-License-Identifier: MIT
/* Guests of the lock log: `guest NAME [FACTOR [PACE]]` prints what depends on the order of threads at one kind of lock. Each
 * differs from run to run; a replay must print what the recorded run did. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "guest-spin.h"

static void *mutex_thread(void *arg)
{
	long me = (long)arg, i;

	for (i = 0; i < factor * ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		mix(&digest, (uint64_t)me);
		jitter();
		pthread_mutex_unlock(&mutex);
		jitter();
	}
	return NULL;
}

static void *trylock_thread(void *arg)
{
	long me = (long)arg, i;
	struct timespec soon;
	int r;

	for (i = 0; i < factor * ROUNDS / 3; i++) {
		r = pthread_mutex_trylock(&mutex);
		mix(&own[me], (uint64_t)r);
		if (!r) {
			mix(&digest, (uint64_t)me);
			jitter();
			pthread_mutex_unlock(&mutex);
		}
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 2000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_sec++;
			soon.tv_nsec -= 1000000000;
		}
		r = pthread_mutex_timedlock(&second, &soon);
		mix(&own[me], (uint64_t)r);
		if (!r) {
			mix(&other_digest, (uint64_t)me);
			jitter();
			pthread_mutex_unlock(&second);
		}
	}
	return NULL;
}

/* The same by C11's names, threads included. */
static mtx_t c11_mutex;
static cnd_t c11_turn;
static int c11_given, c11_finished;

static int c11_thread(void *arg)
{
	long me = (long)arg, i;

	for (i = 0; i < factor * ROUNDS / 10; i++) {
		if (mtx_trylock(&c11_mutex) != thrd_success) {
			mix(&own[me], 1);
			mtx_lock(&c11_mutex);
		}
		while (i && c11_given == me && c11_finished < THREADS - 1)
			cnd_wait(&c11_turn, &c11_mutex);
		c11_given = (int)me;
		mix(&digest, (uint64_t)me);
		if (i == factor * ROUNDS / 10 - 1)
			c11_finished++;
		cnd_broadcast(&c11_turn);
		mtx_unlock(&c11_mutex);
		jitter();
	}
	return 7;
}

static void c11(void)
{
	thrd_t t[THREADS];
	long i;
	int r;

	mtx_init(&c11_mutex, mtx_plain);
	cnd_init(&c11_turn);
	for (i = 0; i < THREADS; i++)
		thrd_create(&t[i], c11_thread, (void *)i);
	for (i = 0; i < THREADS; i++) {
		thrd_join(t[i], &r);
		if (r != 7)
			abort();
	}
}

/* A signal handler that comes anywhere, in wrappers too, and calls them itself. */
static _Atomic int handled;

static void on_alarm(int sig)
{
	struct timespec ts;
	int saved = errno;

	(void)sig;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (!pthread_mutex_trylock(&second))
		pthread_mutex_unlock(&second);
	handled++;
	errno = saved;
}

static void signals(void)
{
	struct itimerval often = { { 0, 50 }, { 0, 50 } };
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct timespec ts;

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (handled < 2000) {
		pthread_mutex_lock(&mutex);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&mutex);
	}
}

static pthread_rwlock_t rwlock;
static sem_t sem;
static pthread_cond_t not_full;

/* Each way through the recorder once, by one thread; a tracer takes it instruction by instruction. */
static void steps(void)
{
	struct timespec past = { 1, 0 }, ts;
	int i;

	sem_init(&sem, 0, 2);
	pthread_cond_init(&not_full, NULL);
	__asm__ volatile("int3");
	for (i = 0; i < 2; i++) { /* a change of owner (from nobody), then a repeat */
		pthread_mutex_lock(&mutex);
		mix(&own[0], (uint64_t)pthread_mutex_trylock(&mutex));
		clock_gettime(CLOCK_MONOTONIC, &ts);
		own[1 + i] = (uint64_t)ts.tv_nsec;
		mix(&own[0], (uint64_t)pthread_cond_timedwait(&not_full, &mutex, &past));
		pthread_mutex_unlock(&mutex);
		mix(&own[0], (uint64_t)sem_trywait(&sem));
		pthread_rwlock_rdlock(&rwlock);
		pthread_rwlock_unlock(&rwlock);
	}
	mix(&own[0], (uint64_t)sem_trywait(&sem));
	clock_gettime(CLOCK_REALTIME, &ts);
	own[3] = (uint64_t)ts.tv_nsec;
}

/* Where the lock log is, and which: "ADDRESS INODE". */
static void area(char *buf, size_t size)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	buf[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "rrc-locklog"))
			snprintf(buf, size, "%.12s %s", line, strstr(line, "00:01 ") ?: "");
	if (f)
		fclose(f);
}

/* A forked child has a lock log of its own, at its parent's address. */
static void forks(void)
{
	char parents[600], own_area[600];
	int status;

	area(parents, sizeof(parents));
	if (fork() == 0) {
		area(own_area, sizeof(own_area));
		_exit(parents[0] && strcmp(parents, own_area) && !strncmp(parents, own_area, 13)
			      ? 5
			      : 1);
	}
	wait(&status);
	digest = (uint64_t)WEXITSTATUS(status);
}

static pthread_spinlock_t spin;

static void *spin_thread(void *arg)
{
	long me = (long)arg, i;

	for (i = 0; i < factor * ROUNDS / 3; i++) {
		if (i % 4 || pthread_spin_trylock(&spin))
			pthread_spin_lock(&spin);
		mix(&digest, (uint64_t)me);
		pthread_spin_unlock(&spin);
		jitter();
	}
	return NULL;
}

/* A queue: threads 0 and 1 put, 2 and 3 take, sometimes with a time limit. */
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static int queue[4], queued, taken;

static void put(int v)
{
	pthread_mutex_lock(&mutex);
	while (queued == 4)
		pthread_cond_wait(&not_full, &mutex);
	queue[queued++] = v;
	pthread_cond_signal(&not_empty);
	pthread_mutex_unlock(&mutex);
}

static int get(long me)
{
	struct timespec soon;
	int v = -1;

	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_sec += 60;
	pthread_mutex_lock(&mutex);
	while (!queued && taken < factor * ROUNDS)
		mix(&own[me],
		    (uint64_t)(taken & 1 ? pthread_cond_wait(&not_empty, &mutex)
					 : pthread_cond_clockwait(&not_empty, &mutex,
								  CLOCK_MONOTONIC, &soon)));
	if (queued) {
		v = queue[--queued];
		mix(&digest, (uint64_t)me << 32 | (uint64_t)v);
		taken++;
		pthread_cond_signal(&not_full);
		if (taken == factor * ROUNDS)
			pthread_cond_broadcast(&not_empty);
	}
	pthread_mutex_unlock(&mutex);
	return v;
}

static void *cond_thread(void *arg)
{
	long me = (long)arg, i;

	for (i = 0; me < 2 && i < factor * ROUNDS / 2; i++) {
		put((int)(i * 2 + me));
		jitter();
	}
	while (me >= 2 && get(me) >= 0)
		jitter();
	return NULL;
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static uint64_t version;

static void *rwlock_thread(void *arg)
{
	long me = (long)arg, i;

	for (i = 0; i < factor * ROUNDS / 2; i++) {
		if (me == 0) {
			pthread_rwlock_wrlock(&rwlock);
			version++;
		} else if (pthread_rwlock_tryrdlock(&rwlock)) {
			mix(&own[me], 99);
			pthread_rwlock_rdlock(&rwlock);
		}
		mix(&own[me], version);
		pthread_rwlock_unlock(&rwlock);
		jitter();
	}
	return NULL;
}

static sem_t sem;

static void *sem_thread(void *arg)
{
	long me = (long)arg, i;
	int r, value;

	for (i = 0; i < factor * ROUNDS / 2; i++) {
		r = i % 3 ? -1 : sem_trywait(&sem);
		mix(&own[me], (uint64_t)r);
		if (r)
			sem_wait(&sem);
		mix(&digest, (uint64_t)me);
		jitter();
		sem_post(&sem);
		sem_getvalue(&sem, &value);
		mix(&own[me], (uint64_t)value);
		jitter();
	}
	return NULL;
}

static pthread_once_t *onces; /* all zero: PTHREAD_ONCE_INIT */
static once_flag *flags;
static __thread long runner;

static void note_runner(void)
{
	pthread_mutex_lock(&mutex);
	mix(&digest, (uint64_t)runner);
	pthread_mutex_unlock(&mutex);
}

static void *once_thread(void *arg)
{
	long i;

	runner = (long)arg;
	for (i = 0; i < factor * ROUNDS; i++) {
		pthread_once(&onces[i], note_runner);
		if (i % 8 == 0)
			call_once(&flags[i], note_runner);
		jitter();
	}
	return NULL;
}

static pthread_barrier_t barrier;

static void *barrier_thread(void *arg)
{
	long me = (long)arg, i;

	for (i = 0; i < factor * ROUNDS / 20; i++) {
		jitter();
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			mix(&digest, (uint64_t)me);
	}
	return NULL;
}

/* Memory is made by one thread and freed by another: who gets which address depends on the order. */
static _Atomic(void *) mailbox[16];

static void *alloc_thread(void *arg)
{
	long me = (long)arg, i;
	void *p;

	for (i = 0; i < factor * ROUNDS; i++) {
		unsigned int k = (unsigned int)(i * 7 + me) % 16;

		p = i % 5 ? malloc(24 + (size_t)(i % 13) * 40) : calloc(3, 50 + (size_t)(i % 7));
		mix(&own[me], (uint64_t)(uintptr_t)p);
		pthread_mutex_lock(&mutex);
		p = atomic_exchange(&mailbox[k], p);
		pthread_mutex_unlock(&mutex);
		if (p && i % 11 == 0) {
			p = realloc(p, 600);
			mix(&own[me], (uint64_t)(uintptr_t)p);
		}
		free(p);
		if (pace > 1)
			jitter();
	}
	return NULL;
}

static int (*inner)(clockid_t, struct timespec *);

static void *clock_thread(void *arg)
{
	long me = (long)arg, i;
	struct timespec ts;
	struct timeval tv;

	for (i = 0; i < factor * ROUNDS; i++) {
		clock_gettime(i % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, &ts);
		mix(&own[me], (uint64_t)ts.tv_sec);
		mix(&own[me], (uint64_t)ts.tv_nsec);
		gettimeofday(&tv, NULL);
		mix(&own[me], (uint64_t)tv.tv_usec);
		mix(&own[me], (uint64_t)time(NULL));
		clock_getres(CLOCK_MONOTONIC_COARSE, &ts);
		mix(&own[me], (uint64_t)ts.tv_nsec);
		mix(&own[me], (uint64_t)sched_getcpu());
		inner(CLOCK_MONOTONIC, &ts); /* by libc's own way to the vDSO */
		mix(&own[me], (uint64_t)ts.tv_nsec);
		if (pace > 1)
			jitter();
	}
	return NULL;
}

/* Threads that come and go: their places are used again. */
static int alive;

static void *short_thread(void *arg)
{
	pthread_mutex_lock(&mutex);
	mix(&digest, (uint64_t)(long)arg);
	alive--;
	pthread_cond_signal(&not_full);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void births(void)
{
	pthread_attr_t detached;
	pthread_t t;
	long i;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	for (i = 0; i < factor * 300; i++) {
		pthread_mutex_lock(&mutex);
		while (alive == THREADS)
			pthread_cond_wait(&not_full, &mutex);
		alive++;
		pthread_mutex_unlock(&mutex);
		jitter();
		if (pthread_create(&t, &detached, short_thread, (void *)i))
			abort();
	}
	pthread_mutex_lock(&mutex);
	while (alive)
		pthread_cond_wait(&not_full, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void mutexes(void)
{
	together(mutex_thread);
}
static void trylocks(void)
{
	together(trylock_thread);
	mix(&digest, other_digest);
}

static void conds(void)
{
	together(cond_thread);
}
static void rwlocks(void)
{
	together(rwlock_thread);
}
static void allocs(void)
{
	together(alloc_thread);
}
static void clocks(void)
{
	inner = (int (*)(clockid_t, struct timespec *))dlsym(dlopen("libc.so.6", RTLD_NOW),
							     "clock_gettime");
	together(clock_thread);
}

static void once(void)
{
	onces = calloc((size_t)factor * ROUNDS, sizeof(*onces));
	flags = calloc((size_t)factor * ROUNDS, sizeof(*flags));
	together(once_thread);
}

static void spins(void)
{
	pthread_spin_init(&spin, 0);
	together(spin_thread);
}

static void sems(void)
{
	sem_init(&sem, 0, 1);
	together(sem_thread);
}

static void barriers(void)
{
	pthread_barrier_init(&barrier, NULL, THREADS);
	together(barrier_thread);
}

static const struct {
	const char *name;
	void (*run)(void);
} guests[] = {
	{ "steps", steps },	  { "c11", c11 },	{ "signals", signals },
	{ "forks", forks },	  { "mutex", mutexes }, { "trylock", trylocks },
	{ "spin", spins },	  { "cond", conds },	{ "rwlock", rwlocks },
	{ "sem", sems },	  { "once", once },	{ "barrier", barriers },
	{ "alloc", allocs },	  { "clock", clocks },	{ "births", births },
	{ "spinners", spinners }, { "pool", pool },
};

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 2)
		return 2;
	if (argc > 2)
		factor = atol(argv[2]);
	if (argc > 3)
		pace = atol(argv[3]); /* how slow */
	for (i = 0; i < sizeof(guests) / sizeof(guests[0]); i++)
		if (!strcmp(argv[1], guests[i].name))
			break;
	if (i == sizeof(guests) / sizeof(guests[0]))
		return 2;
	guests[i].run();
	printf("%s %016lx", argv[1], digest);
	for (i = 0; i < THREADS; i++)
		printf(" %016lx", own[i]);
	printf("\n");
	return 0;
}
