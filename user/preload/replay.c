/* SPDX-License-Identifier: MIT */
/* REPLAY: turns are waited for, outcomes come from the feed, the end of the log parks. One thread's view:
 * operation n is the feed's next event, or a repeat, or beyond the end. */
#include <linux/futex.h>

#include "preload.h"

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

static bool spins(uint32_t index)
{
	return rrc_pl_area->patience_ns && rrc_me.streak >= 3 && rrc_me.streak_lock == index;
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
	struct timespec patience = { 0, a->patience_ns };
	long r;

	set_state(state);
	while (replaying()) {
		r = rrc_pl_futex(&a->mode, FUTEX_WAIT, RRC_LL_REPLAY, spinner ? &patience : NULL);
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
	struct timespec patience = { 0, rrc_pl_area->patience_ns };
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
				 spins(index) ? &patience : NULL);
		if (r == -ETIMEDOUT && __atomic_load_n(&lock->word, __ATOMIC_SEQ_CST) == word) {
			verdict = EXTRA;
			break;
		}
	}
	__atomic_fetch_sub(&lock->waiters, 1, __ATOMIC_SEQ_CST);
	set_state(RRC_LL_RUNNING);
	return verdict;
}

static void move(uint32_t index, bool change)
{
	struct rrc_ll_lock *lock = &rrc_pl_area->lock[index];
	uint64_t old = __atomic_load_n(&lock->word, __ATOMIC_ACQUIRE), new;

	do {
		new = change ? rrc_pl_changed(old, rrc_me.index) : old + 1;
	} while (!__atomic_compare_exchange_n(&lock->word, &old, new, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_ACQUIRE));
	if (__atomic_load_n(&lock->waiters, __ATOMIC_SEQ_CST))
		rrc_pl_futex(&lock->word, FUTEX_WAKE, INT32_MAX, NULL);
}

static void finish(uint32_t n, uint32_t index)
{
	struct rrc_ll_slot *s = rrc_me.slot;

	__atomic_store_n(&s->ops, n, __ATOMIC_RELEASE);
	__atomic_store_n(&s->done, n, __ATOMIC_RELEASE);
	if (rrc_me.streak_lock == index) {
		rrc_me.streak++;
	} else {
		rrc_me.streak_lock = index;
		rrc_me.streak = 1;
	}
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

/* Another thread owns the word though the log has no event for this operation: is it the next one, which
 * this run reaches in fewer steps than the recorded one? */
static const struct rrc_ll_event *jump(const struct rrc_pl_op *op, uint32_t index)
{
	const struct rrc_ll_event *e = next_event();
	uint64_t word = __atomic_load_n(&rrc_pl_area->lock[index].word, __ATOMIC_ACQUIRE);

	if (e && e->kind == op->kind && !rrc_pl_always(e->kind) && e->lock == index &&
	    is_turn(word, e->value))
		return e;
	return NULL;
}

/* An operation whose turn or result is known. */
static int by_event(const struct rrc_pl_op *op, struct rrc_pl_call *c, uint32_t n,
		    const struct rrc_ll_event *e, bool fed)
{
	uint32_t index = rrc_pl_index(op, c);
	uint8_t result = e->result;
	enum verdict verdict;

	tell(op->kind, n, index, c->lock, e->value);
	if ((e->kind & ~RRC_LL_PLAIN) != op->kind ||
	    (op->kind != RRC_LL_BIRTH && op->kind != RRC_LL_ALLOC && e->lock != index)) {
		park(RRC_LL_MISMATCH, index);
		return go_live(op, c);
	}
	if (e->kind & RRC_LL_PLAIN) {
		rrc_pl_consume();
		finish(n, index);
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
	if (verdict == EXTRA &&
	    !is_turn(__atomic_load_n(&rrc_pl_area->lock[index].word, __ATOMIC_ACQUIRE), e->value)) {
		rrc_me.slot->extra++;
		return 0;
	}
	move(index, true);
	if (fed)
		rrc_pl_consume();
	finish(n, index);
	return result;
}

static int by_repeat(const struct rrc_pl_op *op, struct rrc_pl_call *c, uint32_t n)
{
	uint32_t index = rrc_pl_index(op, c);
	struct rrc_ll_lock *lock = &rrc_pl_area->lock[index];
	const struct rrc_ll_event *e;

	tell(op->kind, n, index, c->lock, 0);
	if (RRC_LL_OWNER(__atomic_load_n(&lock->word, __ATOMIC_ACQUIRE)) == rrc_me.index + 1) {
		force(op, c);
		if (RRC_LL_OWNER(__atomic_load_n(&lock->word, __ATOMIC_ACQUIRE)) ==
		    rrc_me.index + 1) {
			move(index, false);
			finish(n, index);
			return 0;
		}
		op->drop(c); /* somebody took it while this thread waited */
	}
	e = jump(op, index);
	if (e) {
		rrc_me.slot->jumped += e->n - n;
		return by_event(op, c, e->n, e, true);
	}
	/* a change of owner that the log does not have */
	park(next_event() ? RRC_LL_MISMATCH : RRC_LL_PARKED_END, index);
	return go_live(op, c);
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

static int operation(const struct rrc_pl_op *op, struct rrc_pl_call *c, uint32_t n,
		     const struct rrc_ll_event *own)
{
	uint32_t index = rrc_pl_index(op, c);
	const struct rrc_ll_event *e;

	await_hold(n);
	e = rrc_pl_peek(n);
	if (!replaying())
		return go_live(op, c);
	if (e)
		return by_event(op, c, n, e, true);
	if (own)
		return by_event(op, c, n, own, false);
	if (beyond(n, rrc_me.slot)) {
		tell(op->kind, n, index, c->lock, 0);
		if (park(RRC_LL_PARKED_END, index) == ALIVE)
			return go_live(op, c);
		rrc_me.slot->extra++;
		force(op, c);
		return 0;
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

/* The time of a reading is its place among the calls of all threads. */
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
	if (e && e->kind == want->kind && e->lock == want->lock &&
	    (e->n == n || may_jump(e->kind))) {
		if (!await_grant())
			return false;
		s->jumped += e->n - n; /* a thread that spun less often */
		*want = *e;
		rrc_pl_consume();
		finish(e->n, RRC_LL_LOCKS);
		return true;
	}
	if (!beyond(n, s) && (want->kind == RRC_LL_BARRIER || want->kind == RRC_LL_BARRIER_IN)) {
		want->result = 0;
		finish(n, RRC_LL_LOCKS);
		return true;
	}
	park(beyond(n, s) || !e ? RRC_LL_PARKED_END : RRC_LL_MISMATCH, RRC_LL_LOCKS);
	return false;
}
