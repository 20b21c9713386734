/* SPDX-License-Identifier: MIT */
/* pthread_once: who ran the routine, and barriers: who was the serial thread. */
#include <threads.h>

#include "preload.h"

RRC_NEXT_OF(pthread_once)
RRC_NEXT_OF(pthread_barrier_wait)

/* The routine takes no argument, so its thread carries it. */
static __thread void (*routine)(void) __attribute__((tls_model("initial-exec")));
static __thread void *flag __attribute__((tls_model("initial-exec")));

/* Only the turn is missing. */
static int nothing(struct rrc_pl_call *c)
{
	(void)c;
	return 0;
}

static void drop(struct rrc_pl_call *c)
{
	(void)c;
}

static const struct rrc_pl_op routine_op = { RRC_LL_ONCE_RUN, nothing, nothing, drop, NULL, 0 };

/* Its turn is taken in here, where nobody can have seen it done. */
static void run_routine(void)
{
	void (*fn)(void) = routine;
	struct rrc_pl_call c = { .lock = flag };

	rrc_me.inside = false;
	rrc_pl_acquire(&routine_op, &c);
	fn();
	rrc_me.inside = true;
}

static int run_once(struct rrc_pl_call *c)
{
	void (*outer)(void) = routine;
	void *outer_flag = flag;
	int r;

	routine = (void (*)(void))c->cond;
	flag = c->lock;
	r = RRC_NEXT(pthread_once)(c->lock, run_routine);
	routine = outer;
	flag = outer_flag;
	return r;
}

static const struct rrc_pl_op once_op = { RRC_LL_ONCE, run_once, run_once, drop, NULL, 0 };
static const struct rrc_pl_op ran_op = { RRC_LL_ONCE, nothing, nothing, drop, NULL, 0 };

/* Unlike a lock, what is nested in it comes before its own operation. In REPLAY the thread whose next event says
 * so runs the routine at once; any other waits for its turn, and finds it done. */
RRC_EXPORT int pthread_once(pthread_once_t *once, void (*fn)(void))
{
	struct rrc_pl_call c = { .lock = once, .cond = (void *)fn };
	const struct rrc_ll_event *e;

	if (rrc_unlikely(rrc_pl_mode() == RRC_LL_REPLAY && !rrc_me.inside)) {
		rrc_me.inside = true;
		if (!rrc_me.slot)
			rrc_pl_register();
		e = rrc_me.slot ? rrc_pl_peek(rrc_me.slot->ops + 1) : NULL;
		if (e && e->kind == RRC_LL_ONCE_RUN) {
			run_once(&c);
			rrc_me.inside = false;
			return rrc_pl_acquire(&ran_op, &c);
		}
		rrc_me.inside = false;
	}
	return rrc_pl_acquire(&once_op, &c);
}

RRC_EXPORT void call_once(once_flag *once, void (*fn)(void))
{
	pthread_once((pthread_once_t *)once, fn);
}

#define SERIAL 255

RRC_EXPORT int pthread_barrier_wait(pthread_barrier_t *b)
{
	struct rrc_ll_event e = { .kind = RRC_LL_BARRIER };
	uint32_t mode;
	int r;

	if (rrc_pl_mode() == RRC_LL_UNSET || rrc_me.inside || rrc_me.ended)
		return RRC_NEXT(pthread_barrier_wait)(b);
	rrc_me.inside = true;
	/* its arrival lets others go on, so it is in the log before */
	rrc_pl_count(RRC_LL_BARRIER_IN);
	r = RRC_NEXT(pthread_barrier_wait)(b);
	mode = rrc_pl_mode();
	if (mode == RRC_LL_REPLAY) {
		if (rrc_pl_replay_plain(&e))
			r = e.result == SERIAL ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
	} else if (mode == RRC_LL_RECORD && r == PTHREAD_BARRIER_SERIAL_THREAD) {
		e.result = SERIAL;
		rrc_pl_plain(&e);
		r = e.result == SERIAL ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
	} else if (mode == RRC_LL_RECORD) {
		rrc_pl_count(RRC_LL_BARRIER);
	}
	rrc_me.inside = false;
	return r;
}
