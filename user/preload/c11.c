/* SPDX-License-Identifier: MIT */
/* C11's mutexes and condition variables: in libc they are the POSIX ones with other results, reached past our
 * wrappers. */
#include <threads.h>

#include "preload.h"

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "one and the same");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "one and the same");

static int as_c11(int r)
{
	switch (r) {
	case 0:
		return thrd_success;
	case EBUSY:
		return thrd_busy;
	case ETIMEDOUT:
		return thrd_timedout;
	case ENOMEM:
		return thrd_nomem;
	}
	return thrd_error;
}

RRC_EXPORT int mtx_lock(mtx_t *m)
{
	return as_c11(pthread_mutex_lock((pthread_mutex_t *)m));
}

RRC_EXPORT int mtx_trylock(mtx_t *m)
{
	return as_c11(pthread_mutex_trylock((pthread_mutex_t *)m));
}

RRC_EXPORT int mtx_timedlock(mtx_t *restrict m, const struct timespec *restrict until)
{
	return as_c11(pthread_mutex_timedlock((pthread_mutex_t *)m, until));
}

RRC_EXPORT int cnd_wait(cnd_t *c, mtx_t *m)
{
	return as_c11(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

RRC_EXPORT int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m,
			     const struct timespec *restrict until)
{
	return as_c11(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}

RRC_EXPORT int cnd_signal(cnd_t *c)
{
	return as_c11(pthread_cond_signal((pthread_cond_t *)c));
}

RRC_EXPORT int cnd_broadcast(cnd_t *c)
{
	return as_c11(pthread_cond_broadcast((pthread_cond_t *)c));
}
