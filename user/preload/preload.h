/* SPDX-License-Identifier: MIT */
/*
 * The in-process recorder's inside: what its files share. The protocol with the world outside is
 * lib/locklog.h, whose words (operation, event, turn, repeat) are used here.
 */
#ifndef RRC_PRELOAD_H
#define RRC_PRELOAD_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define RRC_LL_PRELOAD
#include "locklog.h"

#define RRC_EXPORT	__attribute__((visibility("default")))
#define RRC_SLOW	__attribute__((noinline, cold))
#define rrc_likely(x)	__builtin_expect(!!(x), 1)
#define rrc_unlikely(x) __builtin_expect(!!(x), 0)

/* A thread's own. Initial-exec: no call of the loader in the hot path. */
struct rrc_pl_thread {
	struct rrc_ll_slot *slot; /* NULL: none yet, or ended */
	struct rrc_ll_event *ring;
	uint32_t index;
	uint32_t tail_seen;
	uint32_t streak; /* REPLAY: operations in a row on streak_lock, with time between them */
	uint32_t streak_lock;
	uint64_t streak_tsc; /* when the last one was */
	uint32_t spin; /* REPLAY: lock + 1 that it is known to spin on; 0: none */
	uint32_t stray; /* REPLAY: lock + 1 that it took since its last operation, uncounted */
	bool inside; /* in a wrapper: what a signal handler calls now is not recorded */
	bool in_alloc;
	bool ended;
	bool adopted; /* got its slot from outside; its end is not watched yet */
};

extern __thread struct rrc_pl_thread rrc_me __attribute__((tls_model("initial-exec")));

/* Never NULL: before the constructor ran it is an area's first page in mode UNSET. */
extern struct rrc_ll_area *rrc_pl_area;

static inline uint32_t rrc_pl_mode(void)
{
	return __atomic_load_n(&rrc_pl_area->mode, __ATOMIC_ACQUIRE);
}

/* What a wrapped call was given. */
struct rrc_pl_call {
	void *lock; /* whose address is hashed (a condition wait: its mutex) */
	void *cond;
	clockid_t clock;
	const struct timespec *until;
	uint32_t child; /* BIRTH: slot */
};

/* How a kind of acquisition is done. take: as the program asked. force: acquire, however long it
 * takes. Both return an errno. drop: undo. release: what precedes the wait (condition waits). */
struct rrc_pl_op {
	uint8_t kind;
	int (*take)(struct rrc_pl_call *c);
	int (*force)(struct rrc_pl_call *c);
	void (*drop)(struct rrc_pl_call *c);
	void (*release)(struct rrc_pl_call *c);
	int pseudo; /* index of a lock that is the library's own, or 0 */
};

/* ring.c */
bool rrc_pl_ring_slow(struct rrc_ll_slot *s, uint32_t head);
long rrc_pl_futex(void *word, int op, uint32_t value, const struct timespec *timeout);
void rrc_pl_lock(uint32_t *word);
void rrc_pl_unlock(uint32_t *word);

/* threads.c */
void rrc_pl_init_threads(void);
void rrc_pl_init_fork(void);
void rrc_pl_register(void);
void rrc_pl_use_slot(uint32_t index);
/* A slot for another thread, which stands still. */
void rrc_pl_adopt(struct rrc_pl_thread *me, uint32_t tid);
/* Such a thread's first operation. */
void rrc_pl_adopted(void);
extern const struct rrc_pl_op rrc_pl_birth;

/* replay.c */
int rrc_pl_replay(const struct rrc_pl_op *op, struct rrc_pl_call *c);
int rrc_pl_late(const struct rrc_pl_op *op, struct rrc_pl_call *c, int result, uint32_t n,
		const uint64_t *published);
/* The outcome of a plain operation from the log, kind and lock as in *e; false: the mode is LIVE. */
bool rrc_pl_replay_plain(struct rrc_ll_event *e);
/* The feed's next event if it is operation n. */
const struct rrc_ll_event *rrc_pl_peek(uint32_t n);
void rrc_pl_consume(void);

/* record.c: the outcome of an acquisition that is not the common case; begun: ops names it already */
int rrc_pl_commit(const struct rrc_pl_op *op, struct rrc_pl_call *c, int result, bool begun);
int rrc_pl_nested(const struct rrc_pl_op *op, struct rrc_pl_call *c);
/* A plain operation that just happened (RECORD): *e's kind, result, lock, value are its outcome, and are
 * overwritten when the mode became REPLAY meanwhile and the log knows better. */
void rrc_pl_plain(struct rrc_ll_event *e);
/* An operation that is only counted. */
void rrc_pl_count(uint8_t kind);

/* alloc.c: the allocator for oneself, once there are threads (enter says whether) */
void rrc_pl_init_alloc(void);
bool rrc_pl_alloc_enter(void);
void rrc_pl_alloc_leave(bool entered);
void rrc_pl_alloc_die(void);

/* inject.c: this object came into a program that ran already */
bool rrc_pl_came_late(void);
void rrc_pl_redirect_names(void *loader);

/* vdso.c */
struct rrc_pl_vdso {
	int (*clock_gettime)(clockid_t, struct timespec *);
	int (*clock_getres)(clockid_t, struct timespec *);
	int (*gettimeofday)(struct timeval *, void *);
	time_t (*time)(time_t *);
	int (*getcpu)(unsigned int *, unsigned int *, void *);
};
extern struct rrc_pl_vdso rrc_pl_vdso;
void rrc_pl_find_vdso(void);
void rrc_pl_redirect_vdso(void);

static inline uint32_t rrc_pl_hash(const void *addr)
{
	uint32_t h = (uint32_t)((uint64_t)(uintptr_t)addr * 0x9e3779b97f4a7c15ULL >> 48);

	return h < RRC_LL_HASHED ? h : h - (RRC_LL_LOCKS - RRC_LL_HASHED);
}

static inline uint32_t rrc_pl_index(const struct rrc_pl_op *op, const struct rrc_pl_call *c)
{
	return op->pseudo ? (uint32_t)op->pseudo : rrc_pl_hash(c->lock);
}

/* The word after another owner's acquisition; the generation stays. */
static inline uint64_t rrc_pl_changed(uint64_t old, uint32_t index)
{
	return (uint64_t)(index + 1) << RRC_LL_OWNER_SHIFT |
	       ((RRC_LL_CHANGES(old) + 1ULL) & RRC_LL_CHANGES_MASK) << RRC_LL_CHANGES_SHIFT |
	       (old & RRC_LL_GENERATION);
}

/* Kinds that are an event whoever was the owner. */
static inline bool rrc_pl_always(uint8_t kind)
{
	return kind == RRC_LL_BIRTH || kind == RRC_LL_ONCE_RUN;
}

static inline bool rrc_pl_is_repeat(uint64_t word, uint32_t index)
{
	return RRC_LL_OWNER(word) == index + 1 && RRC_LL_REPEATS(word) < RRC_LL_REPEATS_MAX;
}

/* Results with which the lock is held. A condition wait that timed out holds its mutex. */
static inline bool rrc_pl_holds(const struct rrc_pl_op *op, int result)
{
	return result == 0 || result == EOWNERDEAD || (result == ETIMEDOUT && op->release);
}

/* Where an event stands among those of other threads and their calls. Readings say it themselves. */
static inline uint64_t rrc_pl_stamp(uint8_t kind)
{
	return kind == RRC_LL_CLOCK || kind == RRC_LL_GTOD ? 0 : __builtin_ia32_rdtsc();
}

/* Into the own ring; false: no room, and the mode is no longer RECORD. */
static inline bool rrc_pl_publish(struct rrc_ll_slot *s, uint32_t n, uint8_t kind, uint8_t result,
				  uint16_t lock, uint64_t value)
{
	uint32_t head = s->head;
	struct rrc_ll_event *e;

	if (rrc_unlikely(head - rrc_me.tail_seen >= RRC_LL_RING / 2) && !rrc_pl_ring_slow(s, head))
		return false;
	e = &rrc_me.ring[head % RRC_LL_RING];
	*e = (struct rrc_ll_event){ n, kind, result, lock, value, rrc_pl_stamp(kind) };
	__atomic_store_n(&s->head, head + 1, __ATOMIC_RELEASE);
	return true;
}

/* Any acquisition. What the word was is read after the lock was taken and before the mode: a thread that
 * is stopped here and restored in REPLAY either sees the mode or fails in the CAS (generation). */
static inline __attribute__((always_inline)) int rrc_pl_acquire(const struct rrc_pl_op *op,
								struct rrc_pl_call *c)
{
	uint32_t mode = rrc_pl_mode(), n;
	struct rrc_ll_lock *lock;
	struct rrc_ll_slot *s;
	uint64_t old;
	int r;

	if (rrc_unlikely(mode == RRC_LL_UNSET))
		return op->take(c);
	if (rrc_unlikely(rrc_me.inside | rrc_me.ended))
		return rrc_pl_nested(op, c);
	if (rrc_unlikely(mode == RRC_LL_REPLAY))
		return rrc_pl_replay(op, c);
	rrc_me.inside = true;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	r = op->take(c);
	lock = &rrc_pl_area->lock[rrc_pl_index(op, c)];
	old = __atomic_load_n(&lock->word, __ATOMIC_ACQUIRE);
	mode = rrc_pl_mode();
	s = rrc_me.slot;
	/* the common case written out: the same owner again */
	if (rrc_likely(mode == RRC_LL_RECORD && s && r == 0 && !rrc_pl_always(op->kind) &&
		       rrc_pl_is_repeat(old, rrc_me.index))) {
		n = s->ops + 1;
		__atomic_store_n(&s->ops, n, __ATOMIC_RELEASE);
		if (rrc_likely(__atomic_compare_exchange_n(&lock->word, &old, old + 1, false,
							   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)))
			__atomic_store_n(&s->done, n, __ATOMIC_RELEASE);
		else
			r = rrc_pl_commit(op, c, r, true);
	} else if (mode == RRC_LL_RECORD || mode == RRC_LL_REPLAY) {
		r = rrc_pl_commit(op, c, r, false);
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	rrc_me.inside = false;
	return r;
}

/* The function of libc (or of whoever is next) behind a wrapper. All are found by the constructor; one that is
 * wanted before finds itself. */
struct rrc_pl_next {
	void **slot;
	const char *name, *version;
} __attribute__((aligned(32))); /* else the compiler pads between some of them */
void *rrc_pl_find(void **slot, const char *name, const char *version);

#define RRC_NEXT_AS(id, name, version)                                                             \
	static void *next_##id;                                                                    \
	static const struct rrc_pl_next entry_##id                                                 \
		__attribute__((section("rrc_next"), used)) = { &next_##id, name, version };        \
	static inline void *find_##id(void)                                                        \
	{                                                                                          \
		return rrc_likely(next_##id) ? next_##id : rrc_pl_find(&next_##id, name, version); \
	}
#define RRC_NEXT_OF(name) RRC_NEXT_AS(name, #name, NULL)
#define RRC_NEXT(name)	  ((__typeof__(&name))find_##name())

#endif
