/* SPDX-License-Identifier: MIT */
/* RECORD: what an acquisition or a plain outcome leaves in the log. The order of the stores is the
 * protocol (lib/locklog.h, "THE CUT"): event, ops, word, done. */
#include "preload.h"

/* A failed one: no turn, only the result. */
static int commit_failure(const struct rrc_pl_op *op, struct rrc_pl_call *c, int result, uint32_t n)
{
	struct rrc_ll_slot *s = rrc_me.slot;
	bool there = false;

	if (rrc_pl_mode() == RRC_LL_RECORD)
		there = rrc_pl_publish(s, n, op->kind | RRC_LL_PLAIN, (uint8_t)result,
				       (uint16_t)rrc_pl_index(op, c), 0);
	if (there) {
		__atomic_store_n(&s->ops, n, __ATOMIC_RELEASE);
		__atomic_store_n(&s->done, n, __ATOMIC_RELEASE);
	}
	if (rrc_unlikely(rrc_pl_mode() == RRC_LL_REPLAY) && (!there || rrc_pl_peek(n)))
		return rrc_pl_late(op, c, result, n, NULL);
	return result;
}

__attribute__((noinline)) int rrc_pl_commit(const struct rrc_pl_op *op, struct rrc_pl_call *c,
					    int result, bool begun)
{
	uint32_t index = rrc_pl_index(op, c), n, mode;
	struct rrc_ll_lock *lock = &rrc_pl_area->lock[index];
	uint64_t old, new, published = 0;
	struct rrc_ll_slot *s;
	bool there = false;

	if (!rrc_me.slot)
		rrc_pl_register();
	if (rrc_unlikely(rrc_me.adopted))
		rrc_pl_adopted();
	s = rrc_me.slot;
	if (!s)
		return result;
	n = s->ops + !begun;
	if (!rrc_pl_holds(op, result))
		return commit_failure(op, c, result, n);
	for (;;) {
		old = __atomic_load_n(&lock->word, __ATOMIC_ACQUIRE);
		mode = rrc_pl_mode(); /* after the word: see rrc_pl_acquire() */
		if (mode == RRC_LL_REPLAY)
			return rrc_pl_late(op, c, result, n, there ? &published : NULL);
		if (mode != RRC_LL_RECORD)
			return result;
		if (result == 0 && !rrc_pl_always(op->kind) &&
		    rrc_pl_is_repeat(old, rrc_me.index)) {
			new = old + 1;
		} else {
			if (!rrc_pl_publish(s, n, op->kind, (uint8_t)result,
					    (uint16_t)(op->kind == RRC_LL_BIRTH ? c->child : index),
					    old))
				continue;
			there = true;
			published = old;
			new = rrc_pl_changed(old, rrc_me.index);
			lock->addr = (uint32_t)((uintptr_t)c->lock >> 4);
		}
		__atomic_store_n(&s->ops, n, __ATOMIC_RELEASE);
		if (__atomic_compare_exchange_n(&lock->word, &old, new, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			break;
	}
	__atomic_store_n(&s->done, n, __ATOMIC_RELEASE);
	return result;
}

/* A signal handler inside a wrapper, or a thread past its end: real, and told if it mattered. */
RRC_SLOW int rrc_pl_nested(const struct rrc_pl_op *op, struct rrc_pl_call *c)
{
	uint32_t mode = rrc_pl_mode();

	if (rrc_me.slot && (mode == RRC_LL_RECORD || mode == RRC_LL_REPLAY))
		__atomic_fetch_add(&rrc_me.slot->skipped, 1, __ATOMIC_RELAXED);
	else if (rrc_me.index >= RRC_LL_SLOTS && mode != RRC_LL_UNSET)
		__atomic_fetch_add(&rrc_pl_area->unslotted, 1, __ATOMIC_RELAXED);
	return op->take(c);
}

void rrc_pl_plain(struct rrc_ll_event *e)
{
	const struct rrc_ll_event *log;
	struct rrc_ll_slot *s;
	uint32_t n;
	bool there;

	if (rrc_unlikely(!rrc_me.slot))
		rrc_pl_register();
	s = rrc_me.slot;
	if (rrc_unlikely(!s))
		return;
	n = s->ops + 1;
	there = rrc_pl_publish(s, n, e->kind, e->result, e->lock, e->value);
	__atomic_store_n(&s->ops, n, __ATOMIC_RELEASE);
	__atomic_store_n(&s->done, n, __ATOMIC_RELEASE);
	if (rrc_likely(rrc_pl_mode() != RRC_LL_REPLAY))
		return;
	/* the mode changed at a cut in here: what was published after it is the log's */
	log = rrc_pl_peek(n);
	if (log) {
		*e = *log;
		rrc_pl_consume();
	} else if (!there) {
		s->ops = n - 1;
		rrc_pl_replay_plain(e);
	}
}

void rrc_pl_count(uint8_t kind)
{
	uint32_t mode = rrc_pl_mode(), n;
	struct rrc_ll_event e = { .kind = kind };

	if (mode == RRC_LL_REPLAY) {
		rrc_pl_replay_plain(&e);
		return;
	}
	if (mode != RRC_LL_RECORD)
		return;
	if (!rrc_me.slot)
		rrc_pl_register();
	if (!rrc_me.slot)
		return;
	n = rrc_me.slot->ops + 1;
	__atomic_store_n(&rrc_me.slot->ops, n, __ATOMIC_RELEASE);
	__atomic_store_n(&rrc_me.slot->done, n, __ATOMIC_RELEASE);
}
