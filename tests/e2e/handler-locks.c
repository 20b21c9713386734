// SPDX-License-Identifier: MIT
/* Takes locks in a signal's handler that often comes inside the recorder's own functions: what cannot be
 * recorded there has to be said. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

#define ROUNDS 2000000

static pthread_mutex_t shared = PTHREAD_MUTEX_INITIALIZER, inside = PTHREAD_MUTEX_INITIALIZER;

static void on_alarm(int sig)
{
	(void)sig;
	pthread_mutex_lock(&inside);
	pthread_mutex_unlock(&inside);
}

static void *work(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&shared);
		pthread_mutex_unlock(&shared);
	}
	return arg;
}

int main(void)
{
	struct itimerval often = { { 0, 500 }, { 0, 500 } };
	pthread_t other;
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	signal(SIGALRM, on_alarm);
	/* In one thread only: the handler must not wait for itself. */
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	if (pthread_create(&other, NULL, work, NULL))
		return 1;
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	work(NULL);
	pthread_join(other, NULL);
	puts("done");
	return 0;
}
