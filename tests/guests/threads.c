/* SPDX-License-Identifier: MIT */
/* Guest: threads that are made and joined one after the other. */
#include <pthread.h>
#include <sys/syscall.h>

#include "guest.h"

static void *work(void *arg)
{
	long *v = arg;
	char *p = malloc(10000);

	memset(p, (int)*v, 10000);
	*v = *v * *v + p[9999] - (int)*v;
	free(p);
	say("thread <%ld> of <%d>\n", syscall(SYS_gettid), getpid());
	return arg;
}

int main(void)
{
	pthread_attr_t attr;
	pthread_t t;
	void *ret;
	long i;

	guest_begin();
	for (i = 2; i < 8; i++) {
		long v = i;

		must(pthread_create(&t, NULL, work, &v) == 0);
		must(pthread_join(t, &ret) == 0);
		say("joined %ld %d\n", v, ret == &v);
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 20);
	i = 9;
	must(pthread_create(&t, &attr, work, &i) == 0);
	pthread_setname_np(t, "named");
	must(pthread_join(t, NULL) == 0);
	say("own stack %ld\n", i);
	return 0;
}
