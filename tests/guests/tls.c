/* SPDX-License-Identifier: MIT */
/* Guest: thread-local storage, thread-specific data, pthread_once. */
#include <pthread.h>

#include "guest.h"

static __thread int local = 7;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void gone(void *p)
{
	say("destroyed %ld\n", (long)p);
}

static void init(void)
{
	must(pthread_key_create(&key, gone) == 0);
	say("initialised\n");
}

static void *work(void *arg)
{
	pthread_once(&once, init);
	pthread_setspecific(key, arg);
	local += (int)(long)arg;
	errno = (int)(long)arg;
	say("local %d errno %d specific %ld\n", local, errno, (long)pthread_getspecific(key));
	return NULL;
}

int main(void)
{
	pthread_t t;
	long i;

	guest_begin();
	for (i = 1; i < 4; i++) {
		must(pthread_create(&t, NULL, work, (void *)(i * 100)) == 0);
		must(pthread_join(t, NULL) == 0);
	}
	say("main's own %d\n", local);
	return 0;
}
