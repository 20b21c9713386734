/* SPDX-License-Identifier: MIT */
/* Mutexes and spinlocks: lock, trylock, and with a time limit. Unlocking is not wrapped: it is no operation. */
#include "preload.h"

RRC_NEXT_OF(pthread_mutex_lock)
RRC_NEXT_OF(pthread_mutex_trylock)
RRC_NEXT_OF(pthread_mutex_timedlock)
RRC_NEXT_OF(pthread_mutex_clocklock)
RRC_NEXT_OF(pthread_spin_lock)
RRC_NEXT_OF(pthread_spin_trylock)

static int take_lock(struct rrc_pl_call *c)
{
	return RRC_NEXT(pthread_mutex_lock)(c->lock);
}

static int take_try(struct rrc_pl_call *c)
{
	return RRC_NEXT(pthread_mutex_trylock)(c->lock);
}

static int take_timed(struct rrc_pl_call *c)
{
	return RRC_NEXT(pthread_mutex_timedlock)(c->lock, c->until);
}

static int take_clock(struct rrc_pl_call *c)
{
	return RRC_NEXT(pthread_mutex_clocklock)(c->lock, c->clock, c->until);
}

static void drop(struct rrc_pl_call *c)
{
	pthread_mutex_unlock(c->lock);
}

static int take_spin(struct rrc_pl_call *c)
{
	return RRC_NEXT(pthread_spin_lock)(c->lock);
}

static int take_spin_try(struct rrc_pl_call *c)
{
	return RRC_NEXT(pthread_spin_trylock)(c->lock);
}

static void drop_spin(struct rrc_pl_call *c)
{
	pthread_spin_unlock(c->lock);
}

static const struct rrc_pl_op lock_op = { RRC_LL_MUTEX, take_lock, take_lock, drop, NULL, 0 };
static const struct rrc_pl_op try_op = { RRC_LL_MUTEX_TRY, take_try, take_lock, drop, NULL, 0 };
static const struct rrc_pl_op timed_op = {
	RRC_LL_MUTEX_TIMED, take_timed, take_lock, drop, NULL, 0
};
static const struct rrc_pl_op clock_op = {
	RRC_LL_MUTEX_TIMED, take_clock, take_lock, drop, NULL, 0
};
static const struct rrc_pl_op spin_op = { RRC_LL_SPIN, take_spin, take_spin, drop_spin, NULL, 0 };
static const struct rrc_pl_op spin_try_op = { RRC_LL_SPIN_TRY, take_spin_try, take_spin,
					      drop_spin,       NULL,	      0 };

RRC_EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
	struct rrc_pl_call c = { .lock = m };

	return rrc_pl_acquire(&lock_op, &c);
}

RRC_EXPORT int pthread_mutex_trylock(pthread_mutex_t *m)
{
	struct rrc_pl_call c = { .lock = m };

	return rrc_pl_acquire(&try_op, &c);
}

RRC_EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict m,
				       const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = m, .until = until };

	return rrc_pl_acquire(&timed_op, &c);
}

RRC_EXPORT int pthread_mutex_clocklock(pthread_mutex_t *restrict m, clockid_t clock,
				       const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = m, .clock = clock, .until = until };

	return rrc_pl_acquire(&clock_op, &c);
}

RRC_EXPORT int pthread_spin_lock(pthread_spinlock_t *l)
{
	struct rrc_pl_call c = { .lock = (void *)l };

	return rrc_pl_acquire(&spin_op, &c);
}

RRC_EXPORT int pthread_spin_trylock(pthread_spinlock_t *l)
{
	struct rrc_pl_call c = { .lock = (void *)l };

	return rrc_pl_acquire(&spin_try_op, &c);
}
