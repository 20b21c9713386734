/* SPDX-License-Identifier: MIT */
/*
 * The lock log: what no system call shows (whose turn at a lock it was, a clock reading of the vDSO),
 * recorded and replayed in the process by user/preload/. This header is the whole protocol between
 * that library, the collector that drains it and the replayer that feeds it; lib/locklog.c is the
 * two latter's side of it. Shared by all three, so fixed-width types only.
 *
 * THE AREA. One for each process: a memfd "rrc-locklog", mapped MAP_SHARED by the library's constructor
 * and kept at that address; the descriptor is closed again. Others find it in /proc/PID/maps and open it
 * through /proc/PID/map_files. It is part of a checkpoint like any mapping. Nothing in it points outside
 * of it (except `feed`, which the replayer writes). A forked child gets an area of its own at the same
 * address before fork() returns in it: the parent's mode, and of the threads only its own slot; ops
 * and rings start at zero. A program executed later starts with a new one, mode OFF. The constructor's
 * last call is close(2) of the memfd: a tracer that stops there may set the mode before the program begins.
 *
 * THREADS have a slot each. The parent assigns it before the child runs and its BIRTH event tells it, so
 * slots are the same in replay. A slot is used again after its thread ended; ops and ring then go on
 * (an EXIT event, then the next thread's), so a slot's log is one stream.
 *
 * OPERATIONS are counted by slot, from 1. Each wrapped call that acquires, reads a clock, or has another
 * nondeterministic outcome is one (barrier_wait and once with their routine are two: see the kinds).
 * Releases (unlock, signal, post) are none. One operation has at most one event that counts; one without
 * event is "the same owner again, result 0"
 * (births and once routines are an event always).
 *
 * LOCKS are hashed by address into a table of 64-bit words {owner, changes, generation, repeats}. The word
 * moves at each acquisition, after the lock itself was acquired: by the owner again, repeats + 1; by
 * another, owner and changes + 1, repeats = 0. Only the latter (and repeats running full) is an event,
 * which holds the word as it was before. Two locks in one word are ordered with each other: harmless.
 *
 * RECORD. Operation n of a thread:
 *	take the lock; old = word; look at mode; [publish event {n, old} if the owner changes: head + 1];
 *	ops = n; CAS word (on failure: read it again, publish again with the same n); done = n; return
 * so the event is in the ring before anyone can see its effect (rule 2), and of several events with one n
 * the last counts. A plain event (clock, failed trylock): publish; ops = n; done = n.
 * A ring that is full stops its owner (state RING_FULL, `wanted` set, FUTEX_WAIT on slot.tail) until the
 * collector moved the tail. Nothing is dropped.
 *
 * THE COLLECTOR drains its syscall ring first, up to the producer position, then for each slot below
 * `slots`: reads done, then ops, then head (acquire), copies [tail, head), stores tail (release), wakes
 * tail if state is RING_FULL: rrc_locklog_drain(). Whatever a drained syscall depends on is then in the log:
 * it was published before its thread went on. What it reads beyond that (a slot is read later than another)
 * may lack what it depends on: in replay such a thread waits for a turn that never comes, at the end of
 * the log, and nothing in the log waits for it. T = max(ops, n of the last event) is where a thread ends.
 * Its drain is needed soon when `wanted` is set; the blocked thread's futex call (its address is in
 * the area) is visible to a BPF program.
 *
 * THE CUT. All threads stopped; drain; every event from now on belongs to the next epoch. A thread may
 * have been stopped at any instruction:
 *	before ops = n		it has not begun; in replay it finds mode REPLAY and begins there
 *	after ops = n, before CAS	the CAS of the restored thread fails, since the replayer inverts
 *				the generation bit of every word; it then looks whether its feed begins
 *				with an event n (it was published after the cut) and takes that turn, else
 *				the turn of the event that it published before the cut, else repeats
 *	after CAS, before done = n	nothing is left to do
 *	in a plain operation	looks at the mode again at its end: a feed that begins with n is the answer,
 *				else what it had published
 *	in a real blocking call	looks at the mode after it: releases what it took, waits for its turn
 * Set OFF → RECORD only at a cut. What was acquired before is held without the word knowing it.
 *
 * REPLAY (rrc_locklog_replay(), threads stopped, before they run). Each slot gets `feed`, `feed_count`
 * (events after the cut, of one n only the last: rrc_locklog_settle()), `runs` (of each event, how often its
 * thread repeats before another has the lock: rrc_locklog_runs()), `total` (= T); `fed` of the
 * header says that it is done; a thread that needs its feed before (a forked child's first operation)
 * waits in state WAIT_FEED. An acquisition by who owns the word, while the log has more of its repeats, is a
 * repeat. Else it is the next event, which must be of this lock and kind: it waits until the
 * word has the event's changes and at least its repeats, acquires for real, moves the word. Numbers decide only
 * where this leaves a choice. cond wait is unlock, wait for the turn, lock. cond signal is a real broadcast: threads
 * restored inside a real wait come out by it. Beyond `total`, or where a clock reading has no event
 * left: state PARKED_END. Another kind than the log has: state MISMATCH, the thread stops. Both sleep in
 * FUTEX_WAIT on header.mode; one that waits for a turn on the low half of the lock's word.
 * Calls that the library makes are futex(2) only (not in the log, run for real) and, in every mode alike,
 * gettid(2) at a thread's start.
 *
 * A clock reading is the one operation that has a place in the log of calls: its time. With
 * rrc_locklog_grant() the replayer keeps it: a reading waits (WAIT_GRANT) for the calls before it.
 *
 * TOLERANCE. A program that spins on an atomic and takes a lock now and then (redis with io-threads) does so
 * another number of times in replay, or not at all between two things that it does. A lock that is taken and let go
 * shows nothing, so, with patience_ns set, mutex_lock only:
 * (1) Operations are matched by lock and owner, as said; a thread's count is set right by each event.
 * (2) One that is neither a repeat nor the next event is done for real, not counted, the word not moved; what
 *     follows must be the same again or what the log has, else it is a MISMATCH at the first of them.
 * (3) The next event is left out, its word moved with all its repeats, if its turn is now and the operation
 *     is the event after it.
 * (4) A thread that spins on a lock (its last three operations, with time between them; or by (2) or (3)) and whose next turn on it (or whose
 *     end) has not come after its patience, while the word stood still, takes it once more, uncounted; at its
 *     end it goes on with locks that it owns.
 *
 * LIVE (rrc_locklog_live(), when the log of calls is at its end and each thread is parked, waits for a
 * turn, or blocks). Parked operations go on for real; parked condition waits return as spurious
 * wake-ups, the mutex held. LIVE is as OFF; RECORD may follow at a cut, counts go on.
 *
 * SIGNAL HANDLERS that run inside a wrapper: their clock readings are real calls (the log of calls has
 * them); their lock operations are real, not recorded and counted in `skipped`: a barrier.
 */
#ifndef RRC_LOCKLOG_H
#define RRC_LOCKLOG_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define RRC_LL_NAME    "rrc-locklog"
#define RRC_LL_MAGIC   0x474f4c4b434f4c52ULL /* "RLOCKLOG" */
#define RRC_LL_VERSION 4

#define RRC_LL_BASE	 0x1a0000000000ULL /* where the area is unless that is taken */
#define RRC_LL_FEED_BASE 0x1b0000000000ULL /* a place for feeds that no program uses */

#define RRC_LL_SLOTS 512
#define RRC_LL_LOCKS 65536
#define RRC_LL_RING  4096 /* events of a slot's ring */

/* Locks that are the library's own. */
#define RRC_LL_LOCK_MALLOC 65535
#define RRC_LL_LOCK_BIRTH  65534
#define RRC_LL_HASHED	   65534 /* indexes below are addresses */

enum rrc_ll_mode {
	RRC_LL_UNSET = 0,
	RRC_LL_OFF,
	RRC_LL_RECORD,
	RRC_LL_REPLAY,
	RRC_LL_LIVE,
};

/* Kinds of operations. Those before RRC_LL_PLAIN_KINDS move a lock's word; with RRC_LL_PLAIN set
 * they are an outcome without a turn (result says which). */
enum rrc_ll_kind {
	RRC_LL_NONE = 0,
	RRC_LL_MUTEX,
	RRC_LL_MUTEX_TRY,
	RRC_LL_MUTEX_TIMED,
	RRC_LL_RD,
	RRC_LL_RD_TRY,
	RRC_LL_RD_TIMED,
	RRC_LL_WR,
	RRC_LL_WR_TRY,
	RRC_LL_WR_TIMED,
	RRC_LL_SPIN,
	RRC_LL_SPIN_TRY,
	RRC_LL_COND,
	RRC_LL_COND_TIMED,
	RRC_LL_SEM,
	RRC_LL_SEM_TRY,
	RRC_LL_SEM_TIMED,
	RRC_LL_ONCE, /* after ONCE_RUN and what is nested in it if this thread ran the routine */
	RRC_LL_ONCE_RUN, /* always an event: the routine of pthread_once begins, the word moves */
	RRC_LL_ALLOC, /* any call of the malloc family, once there are threads */
	RRC_LL_BIRTH, /* always an event; lock = the child's slot, the word is RRC_LL_LOCK_BIRTH's */
	RRC_LL_PLAIN_KINDS,
	RRC_LL_BARRIER_IN = RRC_LL_PLAIN_KINDS, /* no event: a thread arrived at a barrier */
	RRC_LL_BARRIER, /* event for the serial thread only, result 255 */
	RRC_LL_START, /* value = thread id inside its pid namespace; always an event */
	RRC_LL_EXIT, /* the slot's thread ends; always an event */
	RRC_LL_CLOCK, /* lock = clock id, value = ns */
	RRC_LL_CLOCK_RES, /* lock = clock id, value = ns */
	RRC_LL_GTOD, /* value = µs since 1970 */
	RRC_LL_TIME, /* value = s since 1970 */
	RRC_LL_CPU, /* value = cpu | node << 32 */
	RRC_LL_VALUE, /* sem_getvalue */
	RRC_LL_KINDS,
	RRC_LL_PLAIN = 0x80,
};

/* One event. */
struct rrc_ll_event {
	__u32 n; /* the thread's operation */
	__u8 kind; /* enum rrc_ll_kind */
	__u8 result; /* errno of the call, mostly 0 */
	__u16 lock; /* index into the table, or as the kind says */
	__u64 value; /* the word before, or as the kind says */
	__u64 when; /* in the ring the CPU's time stamp counter, in the log CLOCK_MONOTONIC; 0: the value tells */
};

/* The word: repeats in the low half, so that a futex on that half sees every move. */
#define RRC_LL_REPEATS_BITS  23
#define RRC_LL_REPEATS_MAX   ((1ULL << RRC_LL_REPEATS_BITS) - 1)
#define RRC_LL_GENERATION    (1ULL << 23)
#define RRC_LL_CHANGES_SHIFT 24
#define RRC_LL_CHANGES_MASK  ((1ULL << 30) - 1)
#define RRC_LL_OWNER_SHIFT   54

#define RRC_LL_OWNER(w)	  ((__u32)((w) >> RRC_LL_OWNER_SHIFT)) /* slot + 1; 0: nobody yet */
#define RRC_LL_CHANGES(w) ((__u32)((w) >> RRC_LL_CHANGES_SHIFT & RRC_LL_CHANGES_MASK))
#define RRC_LL_REPEATS(w) ((__u32)((w)&RRC_LL_REPEATS_MAX))

struct rrc_ll_lock {
	__u64 word;
	__u32 waiters; /* threads that wait for a turn in FUTEX_WAIT on the word's low half */
	__u32 addr; /* bits 4 to 35 of the address that was hashed here last, for people */
};

enum rrc_ll_state {
	RRC_LL_FREE = 0,
	RRC_LL_RUNNING,
	RRC_LL_RING_FULL,
	RRC_LL_WAIT_FEED,
	RRC_LL_WAIT_TURN, /* wait_* say for what */
	RRC_LL_WAIT_GRANT, /* a clock reading of feed[feed_pos] comes before calls that were made before it */
	RRC_LL_HELD, /* was asked to wait before its next operation */
	RRC_LL_IN_CALL, /* REPLAY only: has its turn and blocks in the real call */
	RRC_LL_PARKED_END, /* wait_kind is what it would do next */
	RRC_LL_MISMATCH, /* it does wait_kind as operation wait_n; the log has feed[feed_pos] */
	RRC_LL_EXITED, /* free for another thread once it is drained */
};

struct rrc_ll_slot {
	/* written by the thread at each operation */
	__u32 ops; /* begun */
	__u32 done; /* completed */
	__u32 head; /* events published; index modulo RRC_LL_RING */
	__u32 state; /* enum rrc_ll_state */
	__u32 tid; /* inside its pid namespace; 0 until the thread started */
	__u32 skipped; /* lock operations of signal handlers that came inside the library */
	__u32 feed_pos; /* REPLAY: events consumed */
	__u32 extra; /* REPLAY: operations beyond the log's count, by tolerance */
	__u32 jumped; /* REPLAY: operations that the log has and this run has not, by tolerance */
	__u32 pad0[7];
	/* written by the thread when it waits */
	__u64 wait_word; /* WAIT_TURN: the event's word */
	__u64 wait_addr; /* the lock's address */
	__u32 wait_n;
	__u16 wait_lock; /* index */
	__u8 wait_kind;
	__u8 pad1;
	__u32 pad2[10];
	/* written from outside */
	__u32 tail; /* events drained */
	__u32 feed_count; /* REPLAY: events at feed */
	__u64 feed; /* address of struct rrc_ll_event[feed_count] in the process */
	__u32 total; /* REPLAY: last operation of the log */
	__u32 granted; /* REPLAY: clock readings from this index of the feed on wait in FUTEX_WAIT on it */
	__u32 hold; /* REPLAY: the operation before which the thread waits, in FUTEX_WAIT on this; 0: none */
	__u32 expect_tid; /* REPLAY: thread id of the next START (for threads that nobody gave a slot) */
	__u64 runs; /* REPLAY: address of __u32[feed_count], each as area.limit; 0: unknown */
	__u32 pad3[6];
};

struct rrc_ll_area {
	__u64 magic;
	__u32 version;
	__u32 mode; /* enum rrc_ll_mode; futex of parked threads */
	__u64 addr; /* of this area in its process */
	__u64 size;
	__u32 fed; /* REPLAY: feeds are there; futex of WAIT_FEED */
	__u32 patience_ns; /* REPLAY: 0 or the patience of tolerance */
	__u32 pad0[6];
	/* written by the threads */
	__u32 wanted; /* a ring is more than half full, or its owner waits: reset by who drains */
	__u32 slots; /* slots below this index may be in use */
	__u32 threaded; /* a second thread was made: the allocator is ordered from here */
	__u32 alloc_lock; /* what makes the malloc family and births exclusive while they are ordered */
	__u32 birth_lock;
	__u32 unslotted; /* operations of threads without a slot (too many of them): a barrier */
	__u32 exits; /* REPLAY: slots given back; futex of a birth that waits for its slot */
	__u32 pad1[1001];
	struct rrc_ll_slot slot[RRC_LL_SLOTS];
	struct rrc_ll_lock lock[RRC_LL_LOCKS];
	/* REPLAY: repeats of the word's owner before another has the lock, plus 1; 0: the log does not say */
	__u32 limit[RRC_LL_LOCKS];
	struct rrc_ll_event ring[RRC_LL_SLOTS][RRC_LL_RING];
};

_Static_assert(sizeof(struct rrc_ll_event) == 24, "event");
_Static_assert(sizeof(struct rrc_ll_lock) == 16, "lock");
_Static_assert(sizeof(struct rrc_ll_slot) == 192, "slot: three cache lines");
_Static_assert(__builtin_offsetof(struct rrc_ll_area, slot) == 4096, "area: a page, then slots");
_Static_assert(sizeof(struct rrc_ll_area) % 4096 == 0, "area: whole pages");

#define RRC_LL_SLOT_OFFSET offsetof(struct rrc_ll_area, slot)

#ifndef RRC_LL_PRELOAD /* the collector's and the replayer's side: lib/locklog.c */

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "err.h"

struct rrc_locklog {
	pid_t pid;
	uint64_t addr; /* in the process */
	uint64_t
		inode; /* of the memfd: a forked child that has not come back yet has its parent's */
	struct rrc_ll_area *area;
};

/* A batch: what one slot gave. Events are the caller's copy. */
struct rrc_locklog_batch {
	uint32_t slot, ops, done, count;
	struct rrc_ll_event *events; /* room for RRC_LL_RING */
};

/* The time stamp counter and CLOCK_MONOTONIC in one moment. */
struct rrc_ll_moment {
	uint64_t tsc, ns;
};
struct rrc_ll_moment rrc_locklog_moment(void);

/* What was taken out of a ring gets times, by two moments that are some time apart. */
void rrc_locklog_times(struct rrc_ll_event *events, uint32_t count,
		       const struct rrc_ll_moment *first, const struct rrc_ll_moment *now);

/* Finds process pid's area and maps it here. -ENOENT: it has none. */
int rrc_locklog_open(pid_t pid, struct rrc_locklog *ll, struct rrc_error *err);
void rrc_locklog_close(struct rrc_locklog *ll);

/* All threads are stopped: OFF, RECORD. (Who waits for room in a ring is woken.) */
void rrc_locklog_set_mode(struct rrc_locklog *ll, enum rrc_ll_mode mode);

/* All threads are stopped: events that nobody took out are forgotten. */
void rrc_locklog_discard(struct rrc_locklog *ll);

/* Takes slot's events out, at most RRC_LL_RING, and makes room for more. */
void rrc_locklog_drain(struct rrc_locklog *ll, uint32_t slot, struct rrc_locklog_batch *batch);

/* The events of a slot since the cut, in order, as they are to be fed: of events with one n the last
 * stays. Returns the new count. */
uint32_t rrc_locklog_settle(struct rrc_ll_event *events, uint32_t count);

/* One slot's log. total: T. done: the last done that was drained. */
struct rrc_locklog_feed {
	struct rrc_ll_event *events;
	uint32_t count, total, done;
};

/* At the log's end two threads may claim one turn, of which one did not get it: takes out what did not
 * happen. feeds: RRC_LL_SLOTS of them, settled. */
void rrc_locklog_resolve(struct rrc_locklog_feed *feeds);

/* All threads are stopped in a restored process: mode REPLAY, generation of all words. The feeds
 * follow by rrc_locklog_feed(), then rrc_locklog_fed(). */
void rrc_locklog_replay(struct rrc_locklog *ll, uint32_t patience_ns);

/* How long the runs of repeats are: sets the area's limits and returns for the events of all feeds, one slot
 * behind the other, what `runs` of the slots holds. The caller's to free; NULL: no memory. */
uint32_t *rrc_locklog_runs(struct rrc_locklog *ll, const struct rrc_locklog_feed *feeds);

/* addr, runs: of count events and as many runs in the process; runs may be 0. */
void rrc_locklog_feed(struct rrc_locklog *ll, uint32_t slot, uint64_t addr, uint64_t runs,
		      uint32_t count, uint32_t total);
void rrc_locklog_fed(struct rrc_locklog *ll);

/* Clock readings of slot before feed[index] may happen. (Without this: all of them.) */
void rrc_locklog_grant(struct rrc_locklog *ll, uint32_t slot, uint32_t index);

/* Slot waits before operation n; 0: none, and one that waits goes on. */
void rrc_locklog_hold(struct rrc_locklog *ll, uint32_t slot, uint32_t n);

/* Every thread goes on for real. */
void rrc_locklog_live(struct rrc_locklog *ll);

/* "mutex", "wait for turn", … */
const char *rrc_locklog_kind(uint8_t kind);
const char *rrc_locklog_state(uint32_t state);

/* One line about where a slot is: state, operation, lock, word. */
void rrc_locklog_describe(const struct rrc_locklog *ll, uint32_t slot, char *buf, size_t size);

#endif
#endif
