/* SPDX-License-Identifier: MIT */
/* Semaphores: who got which unit. Posts are no operations. */
#include <semaphore.h>

#include "preload.h"

RRC_NEXT_OF(sem_wait)
RRC_NEXT_OF(sem_trywait)
RRC_NEXT_OF(sem_timedwait)
RRC_NEXT_OF(sem_clockwait)
RRC_NEXT_OF(sem_getvalue)

static int take_wait(struct rrc_pl_call *c)
{
	return RRC_NEXT(sem_wait)(c->lock) ? errno : 0;
}

static int take_try(struct rrc_pl_call *c)
{
	return RRC_NEXT(sem_trywait)(c->lock) ? errno : 0;
}

static int take_timed(struct rrc_pl_call *c)
{
	return RRC_NEXT(sem_timedwait)(c->lock, c->until) ? errno : 0;
}

static int take_clock(struct rrc_pl_call *c)
{
	return RRC_NEXT(sem_clockwait)(c->lock, c->clock, c->until) ? errno : 0;
}

/* The log says that a unit was got: a signal that interrupts the wait for it changes nothing. */
static int force(struct rrc_pl_call *c)
{
	while (RRC_NEXT(sem_wait)(c->lock) && errno == EINTR)
		;
	return 0;
}

static void drop(struct rrc_pl_call *c)
{
	sem_post(c->lock);
}

static const struct rrc_pl_op wait_op = { RRC_LL_SEM, take_wait, force, drop, NULL, 0 };
static const struct rrc_pl_op try_op = { RRC_LL_SEM_TRY, take_try, force, drop, NULL, 0 };
static const struct rrc_pl_op timed_op = { RRC_LL_SEM_TIMED, take_timed, force, drop, NULL, 0 };
static const struct rrc_pl_op clock_op = { RRC_LL_SEM_TIMED, take_clock, force, drop, NULL, 0 };

static inline int as_errno(int r)
{
	if (rrc_likely(r == 0))
		return 0;
	errno = r;
	return -1;
}

RRC_EXPORT int sem_wait(sem_t *s)
{
	struct rrc_pl_call c = { .lock = s };

	return as_errno(rrc_pl_acquire(&wait_op, &c));
}

RRC_EXPORT int sem_trywait(sem_t *s)
{
	struct rrc_pl_call c = { .lock = s };

	return as_errno(rrc_pl_acquire(&try_op, &c));
}

RRC_EXPORT int sem_timedwait(sem_t *restrict s, const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = s, .until = until };

	return as_errno(rrc_pl_acquire(&timed_op, &c));
}

RRC_EXPORT int sem_clockwait(sem_t *restrict s, clockid_t clock,
			     const struct timespec *restrict until)
{
	struct rrc_pl_call c = { .lock = s, .clock = clock, .until = until };

	return as_errno(rrc_pl_acquire(&clock_op, &c));
}

RRC_EXPORT int sem_getvalue(sem_t *restrict s, int *restrict value)
{
	struct rrc_ll_event e = { .kind = RRC_LL_VALUE, .lock = (uint16_t)rrc_pl_hash(s) };
	uint32_t mode = rrc_pl_mode();
	int r;

	if (mode == RRC_LL_REPLAY && !rrc_me.inside && rrc_pl_replay_plain(&e)) {
		*value = (int)e.value;
		return 0;
	}
	r = RRC_NEXT(sem_getvalue)(s, value);
	if (mode == RRC_LL_RECORD && !rrc_me.inside) {
		rrc_me.inside = true;
		e.value = (uint32_t)*value;
		rrc_pl_plain(&e);
		*value = (int)e.value;
		rrc_me.inside = false;
	}
	return r;
}
