/* SPDX-License-Identifier: MIT */
/* Read-write locks. Readers are ordered among each other too: it costs events, not correctness. */
#include "preload.h"

RRC_NEXT_OF(pthread_rwlock_rdlock)
RRC_NEXT_OF(pthread_rwlock_tryrdlock)
RRC_NEXT_OF(pthread_rwlock_timedrdlock)
RRC_NEXT_OF(pthread_rwlock_clockrdlock)
RRC_NEXT_OF(pthread_rwlock_wrlock)
RRC_NEXT_OF(pthread_rwlock_trywrlock)
RRC_NEXT_OF(pthread_rwlock_timedwrlock)
RRC_NEXT_OF(pthread_rwlock_clockwrlock)

static void drop(struct rrc_pl_call *c)
{
	pthread_rwlock_unlock(c->lock);
}

#define TAKE(name, ...)                                                         \
	static int take_##name(struct rrc_pl_call *c)                           \
	{                                                                       \
		return RRC_NEXT(pthread_rwlock_##name)(c->lock, ##__VA_ARGS__); \
	}
TAKE(rdlock)
TAKE(tryrdlock)
TAKE(timedrdlock, c->until)
TAKE(clockrdlock, c->clock, c->until)
TAKE(wrlock)
TAKE(trywrlock)
TAKE(timedwrlock, c->until)
TAKE(clockwrlock, c->clock, c->until)

static const struct rrc_pl_op rd = { RRC_LL_RD, take_rdlock, take_rdlock, drop, NULL, 0 };
static const struct rrc_pl_op rd_try = {
	RRC_LL_RD_TRY, take_tryrdlock, take_rdlock, drop, NULL, 0
};
static const struct rrc_pl_op rd_timed = {
	RRC_LL_RD_TIMED, take_timedrdlock, take_rdlock, drop, NULL, 0
};
static const struct rrc_pl_op rd_clock = {
	RRC_LL_RD_TIMED, take_clockrdlock, take_rdlock, drop, NULL, 0
};
static const struct rrc_pl_op wr = { RRC_LL_WR, take_wrlock, take_wrlock, drop, NULL, 0 };
static const struct rrc_pl_op wr_try = {
	RRC_LL_WR_TRY, take_trywrlock, take_wrlock, drop, NULL, 0
};
static const struct rrc_pl_op wr_timed = {
	RRC_LL_WR_TIMED, take_timedwrlock, take_wrlock, drop, NULL, 0
};
static const struct rrc_pl_op wr_clock = {
	RRC_LL_WR_TIMED, take_clockwrlock, take_wrlock, drop, NULL, 0
};

RRC_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	struct rrc_pl_call c = { .lock = l };

	return rrc_pl_acquire(&rd, &c);
}

RRC_EXPORT int pthread_rwlock_tryrdlock(pthread_rwlock_t *l)
{
	struct rrc_pl_call c = { .lock = l };

	return rrc_pl_acquire(&rd_try, &c);
}

RRC_EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *restrict l,
					  const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = l, .until = until };

	return rrc_pl_acquire(&rd_timed, &c);
}

RRC_EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *restrict l, clockid_t clock,
					  const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = l, .clock = clock, .until = until };

	return rrc_pl_acquire(&rd_clock, &c);
}

RRC_EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	struct rrc_pl_call c = { .lock = l };

	return rrc_pl_acquire(&wr, &c);
}

RRC_EXPORT int pthread_rwlock_trywrlock(pthread_rwlock_t *l)
{
	struct rrc_pl_call c = { .lock = l };

	return rrc_pl_acquire(&wr_try, &c);
}

RRC_EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *restrict l,
					  const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = l, .until = until };

	return rrc_pl_acquire(&wr_timed, &c);
}

RRC_EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *restrict l, clockid_t clock,
					  const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = l, .clock = clock, .until = until };

	return rrc_pl_acquire(&wr_clock, &c);
}
