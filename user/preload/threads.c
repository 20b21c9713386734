/* SPDX-License-Identifier: MIT */
/* Births and ends of threads: slots are given by the parent, in an order that the log has. */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

#include "preload.h"

static pthread_key_t key;
static bool key_made;

/* What a new thread runs, by its slot: not on the heap, whose order would be ours then. */
static struct start {
	void *(*run)(void *);
	int (*run_c11)(void *);
	void *arg;
} starts[RRC_LL_SLOTS];

static struct start unslotted_start; /* guarded by birth_lock until it is copied */
static uint32_t unslotted_taken;

static bool is_free(uint32_t index)
{
	uint32_t state = __atomic_load_n(&rrc_pl_area->slot[index].state, __ATOMIC_ACQUIRE);

	return state == RRC_LL_FREE || state == RRC_LL_EXITED;
}

/* Under birth_lock. RRC_LL_SLOTS: there is none. */
static uint32_t pick(void)
{
	uint32_t i;

	for (i = 0; i < RRC_LL_SLOTS && !is_free(i); i++)
		;
	return i;
}

static void take_slot(uint32_t index)
{
	struct rrc_ll_area *a = rrc_pl_area;
	struct rrc_ll_slot *s = &a->slot[index];

	s->tid = 0;
	__atomic_store_n(&s->state, RRC_LL_RUNNING, __ATOMIC_RELEASE);
	if (index >= a->slots)
		__atomic_store_n(&a->slots, index + 1, __ATOMIC_RELEASE);
}

/* Makes slot index the calling thread's. */
void rrc_pl_use_slot(uint32_t index)
{
	struct rrc_ll_slot *s = &rrc_pl_area->slot[index];

	take_slot(index);
	s->tid = (uint32_t)syscall(SYS_gettid);
	rrc_me.index = index;
	rrc_me.ring = rrc_pl_area->ring[index];
	rrc_me.tail_seen = __atomic_load_n(&s->tail, __ATOMIC_ACQUIRE);
	rrc_me.streak = rrc_me.spin = rrc_me.stray = 0;
	rrc_me.slot = s;
}

static void started(void)
{
	struct rrc_ll_event e = { .kind = RRC_LL_START };
	uint32_t mode = rrc_pl_mode();

	if (key_made)
		pthread_setspecific(key, (void *)1);
	e.value = rrc_me.slot->tid;
	if (mode == RRC_LL_RECORD)
		rrc_pl_plain(&e);
	else if (mode == RRC_LL_REPLAY)
		rrc_pl_replay_plain(&e);
}

/* The last of the rounds in which destructors run; others may still make keys of theirs live again. */
static void ending(void *round)
{
	struct rrc_ll_event e = { .kind = RRC_LL_EXIT };
	struct rrc_ll_slot *s = rrc_me.slot;
	uintptr_t r = (uintptr_t)round;
	uint32_t mode;
	bool entered;

	if (!s)
		return;
	if (r < PTHREAD_DESTRUCTOR_ITERATIONS) {
		pthread_setspecific(key, (void *)(r + 1));
		return;
	}
	entered = rrc_pl_alloc_enter();
	rrc_me.inside = true;
	mode = rrc_pl_mode();
	if (mode == RRC_LL_RECORD)
		rrc_pl_plain(&e);
	else if (mode == RRC_LL_REPLAY)
		rrc_pl_replay_plain(&e);
	if (entered)
		rrc_pl_alloc_die();
	rrc_me.ended = true;
	rrc_me.slot = NULL;
	rrc_me.inside = false;
	rrc_pl_alloc_leave(entered);
	__atomic_store_n(&s->state, RRC_LL_EXITED, __ATOMIC_SEQ_CST);
	if (rrc_pl_mode() == RRC_LL_REPLAY) {
		__atomic_fetch_add(&rrc_pl_area->exits, 1, __ATOMIC_SEQ_CST);
		rrc_pl_futex(&rrc_pl_area->exits, FUTEX_WAKE, INT32_MAX, NULL);
	}
}

/* The main thread has slot 0. */
void rrc_pl_init_threads(void)
{
	key_made = pthread_key_create(&key, ending) == 0;
	if (!rrc_me.slot)
		rrc_pl_use_slot(0);
}

/* A thread that no wrapper made (clone(2), or born before this library came). */
RRC_SLOW void rrc_pl_register(void)
{
	struct rrc_ll_area *a = rrc_pl_area;
	bool inside = rrc_me.inside;
	uint32_t tid, i;

	if (rrc_me.ended || rrc_pl_mode() == RRC_LL_UNSET)
		return;
	rrc_me.inside = true;
	tid = (uint32_t)syscall(SYS_gettid);
	rrc_pl_lock(&a->birth_lock);
	i = pick();
	if (rrc_pl_mode() == RRC_LL_REPLAY)
		for (i = 0; i < RRC_LL_SLOTS; i++)
			if (a->slot[i].expect_tid == tid && is_free(i))
				break;
	if (i < RRC_LL_SLOTS)
		take_slot(i);
	rrc_pl_unlock(&a->birth_lock);
	if (i < RRC_LL_SLOTS) {
		rrc_pl_use_slot(i);
		started();
	} else {
		rrc_me.ended = true;
		rrc_me.index = RRC_LL_SLOTS;
		__atomic_fetch_add(&a->unslotted, 1, __ATOMIC_RELAXED);
	}
	rrc_me.inside = inside;
}

void rrc_pl_adopt(struct rrc_pl_thread *me, uint32_t tid)
{
	struct rrc_ll_area *a = rrc_pl_area;
	uint32_t i = pick();

	if (me->slot || me->ended)
		return;
	me->adopted = true;
	me->index = i;
	if (i == RRC_LL_SLOTS) {
		me->ended = true;
		__atomic_fetch_add(&a->unslotted, 1, __ATOMIC_RELAXED);
		return;
	}
	take_slot(i);
	a->slot[i].tid = tid;
	me->ring = a->ring[i];
	me->tail_seen = a->slot[i].tail;
	me->streak = me->spin = me->stray = 0;
	me->slot = &a->slot[i];
}

RRC_SLOW void rrc_pl_adopted(void)
{
	rrc_me.adopted = false;
	if (key_made)
		pthread_setspecific(key, (void *)1);
}

static int birth_take(struct rrc_pl_call *c)
{
	rrc_pl_lock(&rrc_pl_area->birth_lock);
	c->child = pick();
	return 0;
}

/* The log says the slot. Its last thread may not have come to its end in this run. */
static int birth_force(struct rrc_pl_call *c)
{
	struct rrc_ll_area *a = rrc_pl_area;
	uint32_t exits;

	rrc_pl_lock(&a->birth_lock);
	while (c->child < RRC_LL_SLOTS) {
		exits = __atomic_load_n(&a->exits, __ATOMIC_SEQ_CST);
		if (is_free(c->child))
			break;
		if (rrc_pl_mode() != RRC_LL_REPLAY)
			c->child = pick();
		else
			rrc_pl_futex(&a->exits, FUTEX_WAIT, exits, NULL);
	}
	return 0;
}

static void birth_drop(struct rrc_pl_call *c)
{
	(void)c;
	rrc_pl_unlock(&rrc_pl_area->birth_lock);
}

const struct rrc_pl_op rrc_pl_birth = {
	.kind = RRC_LL_BIRTH,
	.take = birth_take,
	.force = birth_force,
	.drop = birth_drop,
	.pseudo = RRC_LL_LOCK_BIRTH,
};

static void *run(struct start *s)
{
	if (s->run_c11)
		return (void *)(intptr_t)s->run_c11(s->arg);
	return s->run(s->arg);
}

static void *trampoline(void *arg)
{
	uint32_t index = (uint32_t)(uintptr_t)arg;
	struct start mine = starts[index];

	rrc_me.inside = true;
	rrc_pl_use_slot(index);
	started();
	rrc_me.inside = false;
	return run(&mine);
}

/* More threads than slots: it runs, unrecorded and counted. */
static void *unslotted(void *arg)
{
	struct start mine = unslotted_start;

	(void)arg;
	__atomic_store_n(&unslotted_taken, 1, __ATOMIC_SEQ_CST);
	rrc_pl_futex(&unslotted_taken, FUTEX_WAKE, 1, NULL);
	rrc_me.ended = true;
	rrc_me.index = RRC_LL_SLOTS;
	return run(&mine);
}

RRC_NEXT_OF(pthread_create)

static int create(pthread_t *thread, const pthread_attr_t *attr, const struct start *what)
{
	struct rrc_ll_area *a = rrc_pl_area;
	struct rrc_pl_call c = { .lock = NULL };
	bool entered;
	int r;

	a->threaded = 1;
	rrc_pl_acquire(&rrc_pl_birth, &c);
	/* whether a stack is used again, or memory for one is allocated, is no operation of its own */
	entered = rrc_pl_alloc_enter();
	if (c.child < RRC_LL_SLOTS) {
		starts[c.child] = *what;
		take_slot(c.child);
		r = RRC_NEXT(pthread_create)(thread, attr, trampoline, (void *)(uintptr_t)c.child);
		if (r)
			__atomic_store_n(&a->slot[c.child].state, RRC_LL_FREE, __ATOMIC_RELEASE);
	} else {
		__atomic_fetch_add(&a->unslotted, 1, __ATOMIC_RELAXED);
		unslotted_start = *what;
		unslotted_taken = 0;
		r = RRC_NEXT(pthread_create)(thread, attr, unslotted, NULL);
		while (r == 0 && !__atomic_load_n(&unslotted_taken, __ATOMIC_SEQ_CST))
			rrc_pl_futex(&unslotted_taken, FUTEX_WAIT, 0, NULL);
	}
	rrc_pl_alloc_leave(entered);
	rrc_pl_unlock(&a->birth_lock);
	return r;
}

RRC_EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
			      void *(*fn)(void *), void *restrict arg)
{
	struct start what = { .run = fn, .arg = arg };

	if (rrc_pl_mode() == RRC_LL_UNSET)
		return RRC_NEXT(pthread_create)(thread, attr, fn, arg);
	return create(thread, attr, &what);
}

RRC_NEXT_OF(thrd_create)

RRC_EXPORT int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
	struct start what = { .run_c11 = fn, .arg = arg };

	if (rrc_pl_mode() == RRC_LL_UNSET)
		return RRC_NEXT(thrd_create)(thread, fn, arg);
	switch (create(thread, NULL, &what)) {
	case 0:
		return thrd_success;
	case ENOMEM:
	case EAGAIN:
		return thrd_nomem;
	}
	return thrd_error;
}
