// SPDX-License-Identifier: MIT
/* What the in-process recorder costs: a lock pair and a clock reading, plain, with the library there but
 * off, and recorded while a collector drains; rounds alternate, medians are printed in ns.
 *	locks LIBRARY [ROUNDS]		(locks --worker: the measured program itself) */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "locklog.h"

#define PAIRS	   4000000
#define BURST	   1500 /* less than what makes a ring ask for its drain */
#define BURSTS	   200
#define ROUNDS_MAX 31

enum figure {
	PAIR,
	SHARED,
	CLOCK,
	FIGURES
};
static const char *const names[FIGURES] = { "lock pair, one thread",
					    "lock pair, two threads, one lock", "clock reading" };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void *pairs(void *count)
{
	for (long i = 0; i < (long)count; i++) {
		pthread_mutex_lock(&mutex);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static int worker(void)
{
	struct timespec ts;
	double t[FIGURES];
	pthread_t other;

	raise(SIGSTOP); /* who measures sets the mode now */
	/* libc takes a short cut while there is one thread only: measured is what a server sees */
	pthread_create(&other, NULL, pairs, (void *)0L);
	pthread_join(other, NULL);
	pairs((void *)100000L);
	t[PAIR] = now();
	pairs((void *)(long)PAIRS);
	t[PAIR] = (now() - t[PAIR]) / PAIRS;
	t[SHARED] = now();
	pthread_create(&other, NULL, pairs, (void *)(PAIRS / 4L));
	pairs((void *)(PAIRS / 4L));
	pthread_join(other, NULL);
	t[SHARED] = (now() - t[SHARED]) / (PAIRS / 2);
	/* bursts as between two packets, with time for the collector between them */
	t[CLOCK] = 0;
	for (int burst = 0; burst < BURSTS; burst++) {
		double begin;

		nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
		begin = now();
		for (int i = 0; i < BURST; i++)
			clock_gettime(CLOCK_MONOTONIC, &ts);
		t[CLOCK] += (now() - begin) / BURST / BURSTS;
	}
	return write(1, t, sizeof(t)) == sizeof(t) ? 0 : 1;
}

static void die(const char *what)
{
	fprintf(stderr, "locks: %s\n", what);
	exit(1);
}

static void drain(struct rrc_locklog *ll)
{
	static struct rrc_ll_event room[RRC_LL_RING];
	struct rrc_locklog_batch batch = { .events = room };

	__atomic_store_n(&ll->area->wanted, 0, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < ll->area->slots; i++)
		rrc_locklog_drain(ll, i, &batch);
}

/* One run of the worker; mode UNSET: without the library. */
static void measure(const char *library, enum rrc_ll_mode mode, double t[FIGURES])
{
	struct rrc_locklog ll = { 0 };
	struct rrc_error err = { 0 };
	struct pollfd p;
	int out[2], status;
	pid_t pid;

	if (pipe(out) < 0)
		die("no pipe");
	pid = fork();
	if (!pid) {
		if (mode != RRC_LL_UNSET)
			setenv("LD_PRELOAD", library, 1);
		dup2(out[1], 1);
		execl("/proc/self/exe", "locks", "--worker", NULL);
		_exit(127);
	}
	close(out[1]);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		die("the worker did not start");
	if (mode != RRC_LL_UNSET) {
		if (rrc_locklog_open(pid, &ll, &err) < 0)
			die(err.msg);
		rrc_locklog_set_mode(&ll, mode);
	}
	p = (struct pollfd){ (int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0 };
	kill(pid, SIGCONT);
	while (poll(&p, 1, mode == RRC_LL_RECORD ? 1 : -1) == 0)
		drain(&ll);
	if (read(out[0], t, sizeof(double) * FIGURES) != sizeof(double) * FIGURES)
		die("the worker gave no figures");
	waitpid(pid, &status, 0);
	rrc_locklog_close(&ll);
	close(p.fd);
	close(out[0]);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	static const enum rrc_ll_mode modes[3] = { RRC_LL_UNSET, RRC_LL_OFF, RRC_LL_RECORD };
	static double t[3][FIGURES][ROUNDS_MAX];
	int rounds = argc > 2 ? atoi(argv[2]) : 5;
	double one[FIGURES];

	if (argc > 1 && !strcmp(argv[1], "--worker"))
		return worker();
	if (argc < 2 || rounds < 1 || rounds > ROUNDS_MAX)
		return 2;
	for (int r = 0; r < rounds; r++)
		for (int m = 0; m < 3; m++) {
			measure(argv[1], modes[m], one);
			for (int f = 0; f < FIGURES; f++)
				t[m][f][r] = one[f];
		}
	printf("%-34s %8s %8s %8s %8s\n", "ns", "plain", "off", "record", "added");
	for (int f = 0; f < FIGURES; f++) {
		double median[3];

		for (int m = 0; m < 3; m++) {
			qsort(t[m][f], (size_t)rounds, sizeof(double), by_value);
			median[m] = t[m][f][rounds / 2];
		}
		printf("%-34s %8.1f %8.1f %8.1f %8.1f\n", names[f], median[0], median[1], median[2],
		       median[2] - median[0]);
	}
	return 0;
}
