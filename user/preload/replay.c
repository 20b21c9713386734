/* SPDX-License-Identifier: MIT */
/* REPLAY: turns are waited for, outcomes come from the feed, the end of the log parks. One thread's view:
 * operation n is the feed's next event, or a repeat, or beyond the end. */
#include <linux/futex.h>
#include <x86intrin.h>

#include "preload.h"

#define SPIN_STREAK 3 /* operations in a row on one lock, */
#define SPIN_TSC    4000 /* and between two of them so many ticks, some 2 µs */

enum verdict {
	GO, /* the turn is here */
	EXTRA, /* by tolerance: once more without counting */
	ALIVE, /* the mode is no longer REPLAY */
};

static bool replaying(void)
{
	return rrc_pl_mode() == RRC_LL_REPLAY;
}

static void set_state(uint32_t state)
{
	__atomic_store_n(&rrc_me.slot->state, state, __ATOMIC_SEQ_CST);
}

static bool await_feed(void)
{
	struct rrc_ll_area *a = rrc_pl_area;

	if (rrc_likely(__atomic_load_n(&a->fed, __ATOMIC_ACQUIRE)))
		return true;
	set_state(RRC_LL_WAIT_FEED);
	while (replaying() && !__atomic_load_n(&a->fed, __ATOMIC_ACQUIRE))
		rrc_pl_futex(&a->fed, FUTEX_WAIT, 0, NULL);
	set_state(RRC_LL_RUNNING);
	return replaying();
}

static const struct rrc_ll_event *next_event(void)
{
	struct rrc_ll_slot *s = rrc_me.slot;

	if (!await_feed() || s->feed_pos >= s->feed_count)
		return NULL;
	return (const struct rrc_ll_event *)(uintptr_t)s->feed + s->feed_pos;
}

const struct rrc_ll_event *rrc_pl_peek(uint32_t n)
{
	const struct rrc_ll_event *e = next_event();

	return e && e->n == n ? e : NULL;
}

void rrc_pl_consume(void)
{
	struct rrc_ll_slot *s = rrc_me.slot;

	__atomic_store_n(&s->feed_pos, s->feed_pos + 1, __ATOMIC_RELEASE);
}

static void tell(uint8_t kind, uint32_t n, uint32_t lock, const void *addr, uint64_t word)
{
	struct rrc_ll_slot *s = rrc_me.slot;

	s->wait_kind = kind;
	s->wait_n = n;
	s->wait_lock = (uint16_t)lock;
	s->wait_addr = (uint64_t)(uintptr_t)addr;
	s->wait_word = word;
}

/* Behind the log's last operation: the count wraps. */
static bool beyond(uint32_t n, const struct rrc_ll_slot *s)
{
	return (int32_t)(n - s->total) > 0;
}

/* The lock that this thread is known to spin on, or does now. */
static bool spins(uint32_t index)
{
	return rrc_pl_area->patience_ns &&
	       ((rrc_me.spin == index + 1) ||
		(rrc_me.streak >= SPIN_STREAK && rrc_me.streak_lock == index));
}

/* Known ones sleep for a short time only: what they spin for does not wait. */
static struct timespec patience(uint32_t index)
{
	uint32_t ns = rrc_pl_area->patience_ns;

	return (struct timespec){ 0, rrc_me.spin == index + 1 ? ns / 8 : ns };
}

/* This thread owns the word, and the log has more of its repeats, or does not say. */
static bool has_room(uint32_t index, uint64_t word)
{
	uint32_t limit = __atomic_load_n(&rrc_pl_area->limit[index], __ATOMIC_RELAXED);

	return RRC_LL_OWNER(word) == rrc_me.index + 1 &&
	       (!limit || RRC_LL_REPEATS(word) + 1 < limit);
}

static uint64_t word_of(uint32_t index)
{
	return __atomic_load_n(&rrc_pl_area->lock[index].word, __ATOMIC_ACQUIRE);
}

static bool is_turn(uint64_t word, uint64_t want)
{
	return RRC_LL_CHANGES(word) == RRC_LL_CHANGES(want) &&
	       RRC_LL_OWNER(word) == RRC_LL_OWNER(want) &&
	       RRC_LL_REPEATS(word) >= RRC_LL_REPEATS(want);
}

/* Sleeps until the mode changes. With a lock that this thread spins on: for its patience only. */
static enum verdict park(uint32_t state, uint32_t index)
{
	struct rrc_ll_area *a = rrc_pl_area;
	bool spinner = state == RRC_LL_PARKED_END && spins(index);
	struct timespec time = patience(index);
	long r;

	/* the replayer takes a thread at its end for one that has no more to do */
	set_state(spinner ? RRC_LL_WAIT_TURN : state);
	while (replaying()) {
		r = rrc_pl_futex(&a->mode, FUTEX_WAIT, RRC_LL_REPLAY, spinner ? &time : NULL);
		if (r == -ETIMEDOUT) {
			set_state(RRC_LL_RUNNING);
			return EXTRA;
		}
	}
	set_state(RRC_LL_RUNNING);
	return ALIVE;
}

static enum verdict await_turn(uint32_t index, uint64_t want)
{
	struct rrc_ll_lock *lock = &rrc_pl_area->lock[index];
	struct timespec time = patience(index);
	enum verdict verdict = GO;
	uint64_t word;
	long r;

	if (rrc_likely(is_turn(__atomic_load_n(&lock->word, __ATOMIC_ACQUIRE), want)))
		return GO;
	__atomic_fetch_add(&lock->waiters, 1, __ATOMIC_SEQ_CST);
	set_state(RRC_LL_WAIT_TURN);
	for (;;) {
		/* the word before the mode: going live changes the mode, then every word */
		word = __atomic_load_n(&lock->word, __ATOMIC_SEQ_CST);
		if (!replaying()) {
			verdict = ALIVE;
			break;
		}
		if (is_turn(word, want))
			break;
		r = rrc_pl_futex(&lock->word, FUTEX_WAIT, (uint32_t)word,
				 spins(index) ? &time : NULL);
		if (r == -ETIMEDOUT && __atomic_load_n(&lock->word, __ATOMIC_SEQ_CST) == word) {
			verdict = EXTRA;
			break;
		}
	}
	__atomic_fetch_sub(&lock->waiters, 1, __ATOMIC_SEQ_CST);
	set_state(RRC_LL_RUNNING);
	return verdict;
}

/* add: repeats on top of it. */
static void move(uint32_t index, bool change, uint32_t add)
{
	struct rrc_ll_lock *lock = &rrc_pl_area->lock[index];
	uint64_t old = word_of(index), new;

	do {
		new = change ? rrc_pl_changed(old, rrc_me.index) + add : old + 1;
	} while (!__atomic_compare_exchange_n(&lock->word, &old, new, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_ACQUIRE));
	if (__atomic_load_n(&lock->waiters, __ATOMIC_SEQ_CST))
		rrc_pl_futex(&lock->word, FUTEX_WAKE, INT32_MAX, NULL);
}

/* The feed's next event happens: its run of repeats begins, which only the word's owner looks at. */
static uint32_t begin_run(uint32_t index)
{
	struct rrc_ll_slot *s = rrc_me.slot;
	const uint32_t *runs = (const uint32_t *)(uintptr_t)s->runs;
	uint32_t run = runs ? runs[s->feed_pos] : 0;

	__atomic_store_n(&rrc_pl_area->limit[index], run, __ATOMIC_RELAXED);
	return run;
}

static void finish(uint32_t n, uint8_t kind, uint32_t index)
{
	struct rrc_ll_slot *s = rrc_me.slot;
	uint64_t now;

	__atomic_store_n(&s->ops, n, __ATOMIC_RELEASE);
	__atomic_store_n(&s->done, n, __ATOMIC_RELEASE);
	rrc_me.stray = 0;
	if (rrc_me.streak_lock != index) {
		rrc_me.streak_lock = index;
		rrc_me.streak = 0;
	}
	/* who spins takes its time; a loop over a lock, or the allocator in a row, does not */
	now = __rdtsc();
	rrc_me.streak =
		kind != RRC_LL_MUTEX || now - rrc_me.streak_tsc < SPIN_TSC ? 0 : rrc_me.streak + 1;
	rrc_me.streak_tsc = now;
}

static int force(const struct rrc_pl_op *op, struct rrc_pl_call *c)
{
	int r;

	set_state(RRC_LL_IN_CALL);
	r = op->force(c);
	set_state(RRC_LL_RUNNING);
	return r;
}

/* The log does not count any more: for real. A condition wait has released its mutex already and comes
 * back as a spurious wake-up. */
static int go_live(const struct rrc_pl_op *op, struct rrc_pl_call *c)
{
	if (!op->release)
		return op->take(c);
	op->force(c);
	return 0;
}

static bool same(const struct rrc_ll_event *e, uint8_t kind, uint32_t index)
{
	return (e->kind & ~RRC_LL_PLAIN) == kind &&
	       (kind == RRC_LL_BIRTH || kind == RRC_LL_ALLOC || e->lock == index);
}

/* Is operation n the event, and not a repeat before it? */
static bool is_event(const struct rrc_ll_event *e, uint8_t kind, uint32_t index, uint32_t n)
{
	bool number = e && (e->kind & RRC_LL_PLAIN || !rrc_pl_area->limit[index]);

	return e && same(e, kind, index) &&
	       ((number && e->n == n) || rrc_pl_always(kind) || !has_room(index, word_of(index)));
}

/* A spinner's lock and unlock that it did not come to in this run: see TOLERANCE. kind, index: what it does.
 * True: the feed has moved on. */
static bool leave_out(const struct rrc_ll_event *e, uint8_t kind, uint32_t index)
{
	struct rrc_ll_slot *s = rrc_me.slot;
	uint32_t run;

	if (!rrc_pl_area->patience_ns || !e || e->kind != RRC_LL_MUTEX || e->result ||
	    s->feed_pos + 1 >= s->feed_count || e->lock == index || !same(e + 1, kind, index) ||
	    !is_turn(word_of(e->lock), e->value))
		return false;
	run = begin_run(e->lock);
	move(e->lock, true, run ? run - 1 : 0);
	rrc_pl_consume();
	rrc_me.spin = e->lock + 1;
	s->jumped++;
	return true;
}

/* The count of operations as the event has it. */
static void set_right(const struct rrc_ll_event *e, uint32_t n)
{
	struct rrc_ll_slot *s = rrc_me.slot;

	if ((int32_t)(e->n - n) > 0)
		s->jumped += e->n - n;
	else
		s->extra += n - e->n;
}

/* By tolerance, its turn not having come: real, and a repeat if the word is its own. */
static int once_more(uint32_t index)
{
	rrc_me.slot->extra++;
	if (has_room(index, word_of(index)))
		move(index, false, 0);
	return 0;
}

/* A reading's time is its place among the calls of all threads; at a careful attempt that of every event. */
static bool await_grant(void)
{
	struct rrc_ll_slot *s = rrc_me.slot;
	uint32_t granted;

	if (rrc_likely(__atomic_load_n(&s->granted, __ATOMIC_ACQUIRE) > s->feed_pos))
		return true;
	set_state(RRC_LL_WAIT_GRANT);
	while (replaying() &&
	       (granted = __atomic_load_n(&s->granted, __ATOMIC_SEQ_CST)) <= s->feed_pos)
		rrc_pl_futex(&s->granted, FUTEX_WAIT, granted, NULL);
	set_state(RRC_LL_RUNNING);
	return replaying();
}

/* An operation whose turn or result is known. */
static int by_event(const struct rrc_pl_op *op, struct rrc_pl_call *c, uint32_t n,
		    const struct rrc_ll_event *e, bool fed)
{
	uint32_t index = rrc_pl_index(op, c);
	uint8_t result = e->result;
	enum verdict verdict;

	tell(op->kind, n, index, c->lock, e->value);
	if (fed && !await_grant())
		return go_live(op, c);
	if (e->kind & RRC_LL_PLAIN) {
		set_right(e, n);
		rrc_pl_consume();
		finish(e->n, op->kind, index);
		if (op->release) /* a condition wait that failed never let go of its mutex */
			op->force(c);
		return result;
	}
	verdict = await_turn(index, e->value);
	if (verdict == ALIVE)
		return go_live(op, c);
	if (op->kind == RRC_LL_BIRTH)
		c->child = e->lock;
	force(op, c);
	if (verdict == EXTRA && !is_turn(word_of(index), e->value))
		return once_more(index);
	set_right(e, n);
	if (fed)
		begin_run(index);
	move(index, true, 0);
	if (fed)
		rrc_pl_consume();
	finish(e->n, op->kind, index);
	return result;
}

/* Neither a repeat nor what the log has: harmless if it is a spinner's lock and unlock. */
static int stray(const struct rrc_pl_op *op, struct rrc_pl_call *c, const struct rrc_ll_event *e)
{
	uint32_t index = rrc_pl_index(op, c);
	struct rrc_ll_slot *s = rrc_me.slot;

	if (rrc_pl_area->patience_ns && op->kind == RRC_LL_MUTEX &&
	    (rrc_me.stray ? rrc_me.stray == index + 1 : e || spins(index))) {
		if (rrc_me.stray)
			rrc_me.spin = index + 1;
		rrc_me.stray = index + 1;
		s->extra++;
		force(op, c);
		return 0;
	}
	if (e && (int32_t)(s->wait_n - e->n) > 0)
		s->wait_n = e->n; /* where it went another way */
	park(e ? RRC_LL_MISMATCH : RRC_LL_PARKED_END, index);
	return go_live(op, c);
}

static int by_repeat(const struct rrc_pl_op *op, struct rrc_pl_call *c, uint32_t n)
{
	uint32_t index = rrc_pl_index(op, c);
	const struct rrc_ll_event *e;

	tell(op->kind, n, index, c->lock, 0);
	if (has_room(index, word_of(index))) {
		force(op, c);
		if (has_room(index, word_of(index))) {
			move(index, false, 0);
			finish(n, op->kind, index);
			return 0;
		}
		op->drop(c); /* somebody took it while this thread waited */
	}
	e = next_event();
	if (leave_out(e, op->kind, index))
		e = next_event();
	if (is_event(e, op->kind, index, n))
		return by_event(op, c, n, e, true);
	return stray(op, c, e);
}

/* The replayer wants this thread to be later here than it would be. */
static void await_hold(uint32_t n)
{
	struct rrc_ll_slot *s = rrc_me.slot;

	if (rrc_likely(__atomic_load_n(&s->hold, __ATOMIC_ACQUIRE) != n))
		return;
	set_state(RRC_LL_HELD);
	while (replaying() && __atomic_load_n(&s->hold, __ATOMIC_SEQ_CST) == n)
		rrc_pl_futex(&s->hold, FUTEX_WAIT, n, NULL);
	set_state(RRC_LL_RUNNING);
}

/* All that the log has is done. A spinner's count says little: it stops where it has to. */
static bool at_end(const struct rrc_ll_event *e, uint32_t n, uint32_t index)
{
	if (e || !beyond(n, rrc_me.slot))
		return false;
	return !rrc_me.spin || rrc_me.spin == index + 1 || !has_room(index, word_of(index));
}

static int operation(const struct rrc_pl_op *op, struct rrc_pl_call *c, uint32_t n,
		     const struct rrc_ll_event *own)
{
	uint32_t index = rrc_pl_index(op, c);
	const struct rrc_ll_event *e;

	await_hold(n);
	e = next_event();
	if (!replaying())
		return go_live(op, c);
	if (own && !(e && e->n == n))
		return by_event(op, c, n, own, false);
	if (is_event(e, op->kind, index, n))
		return by_event(op, c, n, e, true);
	if (at_end(e, n, index)) {
		tell(op->kind, n, index, c->lock, 0);
		if (park(RRC_LL_PARKED_END, index) == ALIVE)
			return go_live(op, c);
		force(op, c);
		return once_more(index);
	}
	return by_repeat(op, c, n);
}

RRC_SLOW int rrc_pl_replay(const struct rrc_pl_op *op, struct rrc_pl_call *c)
{
	int r;

	rrc_me.inside = true;
	if (!rrc_me.slot)
		rrc_pl_register();
	if (rrc_unlikely(rrc_me.adopted))
		rrc_pl_adopted();
	if (op->release)
		op->release(c);
	if (rrc_me.slot)
		r = operation(op, c, rrc_me.slot->ops + 1, NULL);
	else
		r = go_live(op, c);
	rrc_me.inside = false;
	return r;
}

/* The thread was cut in RECORD (or OFF) in operation n and finds itself in REPLAY, perhaps with the lock. */
RRC_SLOW int rrc_pl_late(const struct rrc_pl_op *op, struct rrc_pl_call *c, int result, uint32_t n,
			 const uint64_t *published)
{
	struct rrc_ll_event own = {
		.n = n,
		.kind = op->kind,
		.result = (uint8_t)result,
		.lock = (uint16_t)rrc_pl_index(op, c),
		.value = published ? *published : 0,
	};

	if (rrc_pl_holds(op, result))
		op->drop(c);
	else if (op->release)
		op->release(c);
	if (op->kind == RRC_LL_BIRTH)
		own.lock = (uint16_t)c->child;
	return operation(op, c, n, published ? &own : NULL);
}

/* Kinds that are an event each time, so that the next one is this one whatever its number. */
static bool may_jump(uint8_t kind)
{
	return kind != RRC_LL_BARRIER && kind != RRC_LL_BARRIER_IN;
}

RRC_SLOW bool rrc_pl_replay_plain(struct rrc_ll_event *want)
{
	const struct rrc_ll_event *e;
	struct rrc_ll_slot *s;
	uint32_t n;

	if (!rrc_me.slot)
		rrc_pl_register();
	s = rrc_me.slot;
	if (!s)
		return false;
	n = s->ops + 1;
	await_hold(n);
	e = next_event();
	if (!replaying())
		return false;
	tell(want->kind, n, want->lock, NULL, 0);
	if (leave_out(e, want->kind, want->lock))
		e = next_event();
	if (e && e->kind == want->kind && e->lock == want->lock &&
	    (e->n == n || may_jump(e->kind))) {
		if (!await_grant())
			return false;
		s->jumped += e->n - n; /* a thread that spun less often */
		*want = *e;
		rrc_pl_consume();
		finish(e->n, want->kind, RRC_LL_LOCKS);
		return true;
	}
	if (!beyond(n, s) && (want->kind == RRC_LL_BARRIER || want->kind == RRC_LL_BARRIER_IN)) {
		want->result = 0;
		finish(n, want->kind, RRC_LL_LOCKS);
		return true;
	}
	park(beyond(n, s) || !e ? RRC_LL_PARKED_END : RRC_LL_MISMATCH, RRC_LL_LOCKS);
	return false;
}
