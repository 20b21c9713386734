/* SPDX-License-Identifier: MIT */
/* Condition variables. What is ordered is the mutex that a wait takes again. In REPLAY a wait never enters the
 * real one, and a signal is a broadcast: it lets those out that were restored inside a real wait. */
#include "preload.h"

RRC_NEXT_AS(cond_wait, "pthread_cond_wait", "GLIBC_2.3.2")
RRC_NEXT_AS(cond_timedwait, "pthread_cond_timedwait", "GLIBC_2.3.2")
RRC_NEXT_AS(cond_clockwait, "pthread_cond_clockwait", NULL)
RRC_NEXT_AS(cond_signal, "pthread_cond_signal", "GLIBC_2.3.2")
RRC_NEXT_AS(cond_broadcast, "pthread_cond_broadcast", "GLIBC_2.3.2")
RRC_NEXT_AS(mutex_lock, "pthread_mutex_lock", NULL)
/* programs linked before 2003 */
RRC_NEXT_AS(old_wait, "pthread_cond_wait", "GLIBC_2.2.5")
RRC_NEXT_AS(old_timedwait, "pthread_cond_timedwait", "GLIBC_2.2.5")
RRC_NEXT_AS(old_signal, "pthread_cond_signal", "GLIBC_2.2.5")
RRC_NEXT_AS(old_broadcast, "pthread_cond_broadcast", "GLIBC_2.2.5")

typedef int (*wait_fn)(void *cond, void *mutex);
typedef int (*timedwait_fn)(void *cond, void *mutex, const struct timespec *until);
typedef int (*clockwait_fn)(void *cond, void *mutex, clockid_t clock, const struct timespec *until);
typedef int (*signal_fn)(void *cond);

static int take_wait(struct rrc_pl_call *c)
{
	return ((wait_fn)find_cond_wait())(c->cond, c->lock);
}

static int take_timedwait(struct rrc_pl_call *c)
{
	return ((timedwait_fn)find_cond_timedwait())(c->cond, c->lock, c->until);
}

static int take_clockwait(struct rrc_pl_call *c)
{
	return ((clockwait_fn)find_cond_clockwait())(c->cond, c->lock, c->clock, c->until);
}

static int take_old_wait(struct rrc_pl_call *c)
{
	return ((wait_fn)find_old_wait())(c->cond, c->lock);
}

static int take_old_timedwait(struct rrc_pl_call *c)
{
	return ((timedwait_fn)find_old_timedwait())(c->cond, c->lock, c->until);
}

static int again(struct rrc_pl_call *c)
{
	return ((int (*)(void *))find_mutex_lock())(c->lock);
}

static void let_go(struct rrc_pl_call *c)
{
	pthread_mutex_unlock(c->lock);
}

static const struct rrc_pl_op wait_op = { RRC_LL_COND, take_wait, again, let_go, let_go, 0 };
static const struct rrc_pl_op timed_op = {
	RRC_LL_COND_TIMED, take_timedwait, again, let_go, let_go, 0
};
static const struct rrc_pl_op clock_op = {
	RRC_LL_COND_TIMED, take_clockwait, again, let_go, let_go, 0
};
static const struct rrc_pl_op old_wait_op = {
	RRC_LL_COND, take_old_wait, again, let_go, let_go, 0
};
static const struct rrc_pl_op old_timed_op = {
	RRC_LL_COND_TIMED, take_old_timedwait, again, let_go, let_go, 0
};

#define VERSION(id, name, version) __asm__(".symver " #id "," #name version)
VERSION(rrc_cond_wait, pthread_cond_wait, "@@GLIBC_2.3.2");
VERSION(rrc_cond_timedwait, pthread_cond_timedwait, "@@GLIBC_2.3.2");
VERSION(rrc_cond_signal, pthread_cond_signal, "@@GLIBC_2.3.2");
VERSION(rrc_cond_broadcast, pthread_cond_broadcast, "@@GLIBC_2.3.2");
VERSION(rrc_old_wait, pthread_cond_wait, "@GLIBC_2.2.5");
VERSION(rrc_old_timedwait, pthread_cond_timedwait, "@GLIBC_2.2.5");
VERSION(rrc_old_signal, pthread_cond_signal, "@GLIBC_2.2.5");
VERSION(rrc_old_broadcast, pthread_cond_broadcast, "@GLIBC_2.2.5");

int rrc_cond_wait(pthread_cond_t *v, pthread_mutex_t *m);
int rrc_cond_timedwait(pthread_cond_t *v, pthread_mutex_t *m, const struct timespec *until);
int rrc_cond_signal(pthread_cond_t *v);
int rrc_cond_broadcast(pthread_cond_t *v);
int rrc_old_wait(void *v, pthread_mutex_t *m);
int rrc_old_timedwait(void *v, pthread_mutex_t *m, const struct timespec *until);
int rrc_old_signal(void *v);
int rrc_old_broadcast(void *v);

RRC_EXPORT int rrc_cond_wait(pthread_cond_t *v, pthread_mutex_t *m)
{
	struct rrc_pl_call c = { .lock = m, .cond = v };

	return rrc_pl_acquire(&wait_op, &c);
}

RRC_EXPORT int rrc_cond_timedwait(pthread_cond_t *v, pthread_mutex_t *m,
				  const struct timespec *until)
{
	struct rrc_pl_call c = { .lock = m, .cond = v, .until = until };

	return rrc_pl_acquire(&timed_op, &c);
}

RRC_EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict v, pthread_mutex_t *restrict m,
				      clockid_t clock, const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = m, .cond = v, .clock = clock, .until = until };

	return rrc_pl_acquire(&clock_op, &c);
}

RRC_EXPORT int rrc_old_wait(void *v, pthread_mutex_t *m)
{
	struct rrc_pl_call c = { .lock = m, .cond = v };

	return rrc_pl_acquire(&old_wait_op, &c);
}

RRC_EXPORT int rrc_old_timedwait(void *v, pthread_mutex_t *m, const struct timespec *until)
{
	struct rrc_pl_call c = { .lock = m, .cond = v, .until = until };

	return rrc_pl_acquire(&old_timed_op, &c);
}

RRC_EXPORT int rrc_cond_signal(pthread_cond_t *v)
{
	if (rrc_unlikely(rrc_pl_mode() == RRC_LL_REPLAY))
		return ((signal_fn)find_cond_broadcast())(v);
	return ((signal_fn)find_cond_signal())(v);
}

RRC_EXPORT int rrc_cond_broadcast(pthread_cond_t *v)
{
	return ((signal_fn)find_cond_broadcast())(v);
}

RRC_EXPORT int rrc_old_signal(void *v)
{
	if (rrc_unlikely(rrc_pl_mode() == RRC_LL_REPLAY))
		return ((signal_fn)find_old_broadcast())(v);
	return ((signal_fn)find_old_signal())(v);
}

RRC_EXPORT int rrc_old_broadcast(void *v)
{
	return ((signal_fn)find_old_broadcast())(v);
}
