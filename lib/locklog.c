// SPDX-License-Identifier: MIT
/* The lock log seen from outside its process: the collector drains it, the replayer feeds it. The protocol,
 * and why the order of each read and store matters, is in locklog.h. */
#include "locklog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "util.h"

#define RRC_LL_APART_NS \
	5000000u /* moments that are nearer say too little about the counter's rate */

static void wake(void *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The area's line in /proc/PID/maps. */
static int find(pid_t pid, uint64_t *from, uint64_t *to)
{
	char path[64], *line = NULL;
	int found = -ENOENT;
	size_t room = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (found && getline(&line, &room, f) > 0)
		if (strstr(line, " /memfd:" RRC_LL_NAME " ") && strstr(line, "rw-s") &&
		    sscanf(line, "%lx-%lx", from, to) == 2)
			found = 0;
	free(line);
	fclose(f);
	return found;
}

static int check(const struct rrc_locklog *ll, struct rrc_error *err)
{
	const struct rrc_ll_area *a = ll->area;

	if (a->magic != RRC_LL_MAGIC)
		return rrc_fail(err, -EPROTO, "process %d: the lock log is not set up", ll->pid);
	if (a->version != RRC_LL_VERSION || a->size != sizeof(*a))
		return rrc_fail(
			err, -EPROTO,
			"process %d: its preloaded library speaks version %u of the lock log, not %u",
			ll->pid, a->version, RRC_LL_VERSION);
	return 0;
}

int rrc_locklog_open(pid_t pid, struct rrc_locklog *ll, struct rrc_error *err)
{
	uint64_t from, to;
	struct stat st;
	char path[96];
	int fd, r;

	memset(ll, 0, sizeof(*ll));
	r = find(pid, &from, &to);
	if (r < 0)
		return rrc_fail(err, r, "process %d has no lock log", pid);
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, from, to);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return rrc_fail(err, -errno, "%s: %s", path, strerror(errno));
	/* The process may write what it wants there, but not take it away from under us. */
	if (fstat(fd, &st) < 0 || st.st_size != sizeof(struct rrc_ll_area) ||
	    fcntl(fd, F_GET_SEALS) < 0 || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK)) {
		close(fd);
		return rrc_fail(err, -EPROTO, "process %d: its lock log has a foreign size", pid);
	}
	ll->area = mmap(NULL, sizeof(*ll->area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	r = -errno;
	close(fd);
	if (ll->area == MAP_FAILED) {
		ll->area = NULL;
		return rrc_fail(err, r, "lock log of process %d: %s", pid, strerror(-r));
	}
	ll->pid = pid;
	ll->addr = from;
	ll->inode = st.st_ino;
	r = check(ll, err);
	if (r < 0)
		rrc_locklog_close(ll);
	return r;
}

void rrc_locklog_close(struct rrc_locklog *ll)
{
	if (ll->area)
		munmap(ll->area, sizeof(*ll->area));
	ll->area = NULL;
}

/* Slots in use; the process may write anything there. */
static uint32_t slots(const struct rrc_ll_area *a)
{
	uint32_t n = __atomic_load_n(&a->slots, __ATOMIC_ACQUIRE);

	return n < RRC_LL_SLOTS ? n : RRC_LL_SLOTS;
}

void rrc_locklog_set_mode(struct rrc_locklog *ll, enum rrc_ll_mode mode)
{
	struct rrc_ll_area *a = ll->area;
	uint32_t i;

	__atomic_store_n(&a->mode, mode, __ATOMIC_SEQ_CST);
	wake(&a->mode);
	for (i = 0; i < slots(a); i++)
		if (__atomic_load_n(&a->slot[i].state, __ATOMIC_SEQ_CST) == RRC_LL_RING_FULL)
			wake(&a->slot[i].tail);
}

void rrc_locklog_discard(struct rrc_locklog *ll)
{
	for (uint32_t i = 0; i < slots(ll->area); i++) {
		struct rrc_ll_slot *s = &ll->area->slot[i];

		__atomic_store_n(&s->tail, s->head, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&s->state, __ATOMIC_SEQ_CST) == RRC_LL_RING_FULL)
			wake(&s->tail);
	}
}

void rrc_locklog_drain(struct rrc_locklog *ll, uint32_t slot, struct rrc_locklog_batch *batch)
{
	struct rrc_ll_slot *s = &ll->area->slot[slot];
	const struct rrc_ll_event *ring = ll->area->ring[slot];
	uint32_t tail = s->tail, head, at, first;

	batch->slot = slot;
	batch->done = __atomic_load_n(&s->done, __ATOMIC_ACQUIRE);
	batch->ops = __atomic_load_n(&s->ops, __ATOMIC_ACQUIRE);
	head = __atomic_load_n(&s->head, __ATOMIC_ACQUIRE);
	batch->count = head - tail;
	if (batch->count > RRC_LL_RING)
		batch->count = RRC_LL_RING;
	if (!batch->count)
		return;
	at = tail % RRC_LL_RING;
	first = RRC_LL_RING - at < batch->count ? RRC_LL_RING - at : batch->count;
	memcpy(batch->events, ring + at, first * sizeof(*ring));
	memcpy(batch->events + first, ring, (batch->count - first) * sizeof(*ring));
	__atomic_store_n(&s->tail, tail + batch->count, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&s->state, __ATOMIC_SEQ_CST) == RRC_LL_RING_FULL)
		wake(&s->tail);
}

struct rrc_ll_moment rrc_locklog_moment(void)
{
	struct rrc_ll_moment best = { 0 };
	uint64_t least = UINT64_MAX;

	/* whoever was interrupted in between does not count */
	for (int i = 0; i < 3; i++) {
		uint64_t before = __rdtsc(), ns = rrc_now_ns(CLOCK_MONOTONIC), took;

		took = __rdtsc() - before;
		if (took >= least)
			continue;
		least = took;
		best = (struct rrc_ll_moment){ before + took / 2, ns };
	}
	return best;
}

void rrc_locklog_times(struct rrc_ll_event *events, uint32_t count,
		       const struct rrc_ll_moment *first, const struct rrc_ll_moment *now)
{
	double ns_per_tick = (double)(now->ns - first->ns) / (double)(now->tsc - first->tsc);
	bool sure = now->tsc > first->tsc && now->ns - first->ns >= RRC_LL_APART_NS;

	for (uint32_t i = 0; i < count; i++) {
		double ticks = (double)(int64_t)(events[i].when - now->tsc);

		if (events[i].when && sure)
			events[i].when = now->ns + (uint64_t)(int64_t)(ticks * ns_per_tick);
		else
			events[i].when = 0;
	}
}

uint32_t rrc_locklog_settle(struct rrc_ll_event *events, uint32_t count)
{
	uint32_t from, to = 0;

	for (from = 0; from < count; from++) {
		if (to && events[to - 1].n == events[from].n)
			to--;
		events[to++] = events[from];
	}
	return to;
}

static bool is_turn(const struct rrc_ll_event *e)
{
	return e->kind > RRC_LL_NONE && e->kind < RRC_LL_PLAIN_KINDS;
}

static uint32_t lock_of(const struct rrc_ll_event *e)
{
	return e->kind == RRC_LL_BIRTH ? RRC_LL_LOCK_BIRTH : e->lock;
}

/* Whether somebody else claims e's turn; whether somebody's turn follows on slot's having had it. */
static void look(const struct rrc_locklog_feed *feeds, uint32_t slot, const struct rrc_ll_event *e,
		 bool *claimed, bool *followed)
{
	uint32_t changes = RRC_LL_CHANGES(e->value), next = (changes + 1) & RRC_LL_CHANGES_MASK;
	const struct rrc_ll_event *o;
	uint32_t i, j;

	*claimed = *followed = false;
	for (i = 0; i < RRC_LL_SLOTS; i++) {
		for (j = 0; j < feeds[i].count; j++) {
			o = &feeds[i].events[j];
			if (!is_turn(o) || lock_of(o) != lock_of(e))
				continue;
			if (i != slot && RRC_LL_CHANGES(o->value) == changes)
				*claimed = true;
			if (RRC_LL_CHANGES(o->value) == next && RRC_LL_OWNER(o->value) == slot + 1)
				*followed = true;
		}
	}
}

void rrc_locklog_resolve(struct rrc_locklog_feed *feeds)
{
	bool claimed, followed;
	uint32_t i;

	for (i = 0; i < RRC_LL_SLOTS; i++) {
		struct rrc_locklog_feed *f = &feeds[i];
		const struct rrc_ll_event *e = f->count ? &f->events[f->count - 1] : NULL;

		/* only the last one can be unfinished; `done` is compared as a distance: it wraps */
		if (!e || !is_turn(e) || (int32_t)(f->done - e->n) >= 0)
			continue;
		look(feeds, i, e, &claimed, &followed);
		if (claimed && !followed) {
			f->total = e->n - 1;
			f->count--;
		}
	}
}

void rrc_locklog_replay(struct rrc_locklog *ll, uint32_t patience_ns)
{
	struct rrc_ll_area *a = ll->area;
	uint32_t i;

	a->fed = 0;
	a->patience_ns = patience_ns;
	for (i = 0; i < RRC_LL_SLOTS; i++) {
		a->slot[i].feed = 0;
		a->slot[i].runs = 0;
		a->slot[i].feed_count = 0;
		a->slot[i].feed_pos = 0;
		a->slot[i].granted = UINT32_MAX;
		a->slot[i].hold = 0;
		a->slot[i].total = a->slot[i].ops;
		a->slot[i].tail =
			a->slot[i].head; /* a call that waits for room is repeated by restore */
	}
	for (i = 0; i < RRC_LL_LOCKS; i++)
		a->lock[i].word ^= RRC_LL_GENERATION;
	memset(a->limit, 0, sizeof(a->limit));
	rrc_locklog_set_mode(ll, RRC_LL_REPLAY);
}

/* What the log says of the turns at one lock, in their order from the word at the cut on. */
struct turns {
	uint32_t *repeats; /* of who had it before, plus 1; 0: the log lacks that turn */
	uint32_t n;
};

static uint32_t turn_of(const struct rrc_locklog *ll, const struct rrc_ll_event *e)
{
	uint64_t word = ll->area->lock[lock_of(e)].word;

	return (RRC_LL_CHANGES(e->value) - RRC_LL_CHANGES(word)) & RRC_LL_CHANGES_MASK;
}

static uint32_t repeats_at(const struct turns *t, uint32_t turn)
{
	return turn < t->n ? t->repeats[turn] : 0;
}

/* Room for each lock's turns: as many as there are events, and one that was under way at the cut. */
static struct turns *make_turns(const struct rrc_locklog_feed *feeds, uint32_t **room)
{
	struct turns *t = calloc(RRC_LL_LOCKS, sizeof(*t));
	size_t n = 0;

	for (uint32_t i = 0; t && i < RRC_LL_SLOTS; i++)
		for (uint32_t j = 0; j < feeds[i].count; j++)
			if (is_turn(&feeds[i].events[j])) {
				struct turns *at = &t[lock_of(&feeds[i].events[j])];

				n += at->n ? 1 : 2;
				at->n += at->n ? 1 : 2;
			}
	*room = t ? calloc(n + 1, sizeof(**room)) : NULL;
	n = 0;
	for (uint32_t i = 0; *room && i < RRC_LL_LOCKS; i++) {
		t[i].repeats = *room + n;
		n += t[i].n;
	}
	return t;
}

uint32_t *rrc_locklog_runs(struct rrc_locklog *ll, const struct rrc_locklog_feed *feeds)
{
	uint32_t *room, *runs = NULL, turn;
	struct turns *t = make_turns(feeds, &room);
	const struct rrc_ll_event *e;
	size_t n = 0;

	for (uint32_t i = 0; room && i < RRC_LL_SLOTS; i++) {
		for (uint32_t j = 0; j < feeds[i].count; j++, n++) {
			e = &feeds[i].events[j];
			turn = is_turn(e) ? turn_of(ll, e) : UINT32_MAX;
			if (turn != UINT32_MAX && turn < t[lock_of(e)].n)
				t[lock_of(e)].repeats[turn] = RRC_LL_REPEATS(e->value) + 1;
		}
	}
	runs = room ? calloc(n + 1, sizeof(*runs)) : NULL;
	n = 0;
	for (uint32_t i = 0; runs && i < RRC_LL_SLOTS; i++) {
		for (uint32_t j = 0; j < feeds[i].count; j++, n++) {
			e = &feeds[i].events[j];
			if (is_turn(e))
				runs[n] = repeats_at(&t[lock_of(e)], turn_of(ll, e) + 1);
		}
	}
	/* A turn that the log lacks was told before the cut, and is taken at once. */
	for (uint32_t i = 0; runs && i < RRC_LL_LOCKS; i++)
		ll->area->limit[i] = repeats_at(&t[i], repeats_at(&t[i], 0) ? 0 : 1);
	free(room);
	free(t);
	return runs;
}

void rrc_locklog_feed(struct rrc_locklog *ll, uint32_t slot, uint64_t addr, uint64_t runs,
		      uint32_t count, uint32_t total)
{
	struct rrc_ll_slot *s = &ll->area->slot[slot];

	s->feed = addr;
	s->runs = runs;
	s->feed_count = count;
	s->feed_pos = 0;
	s->granted = UINT32_MAX;
	if ((int32_t)(total - s->total) > 0)
		s->total = total;
}

void rrc_locklog_fed(struct rrc_locklog *ll)
{
	__atomic_store_n(&ll->area->fed, 1, __ATOMIC_SEQ_CST);
	wake(&ll->area->fed);
}

void rrc_locklog_grant(struct rrc_locklog *ll, uint32_t slot, uint32_t index)
{
	struct rrc_ll_slot *s = &ll->area->slot[slot];

	__atomic_store_n(&s->granted, index, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&s->state, __ATOMIC_SEQ_CST) == RRC_LL_WAIT_GRANT)
		wake(&s->granted);
}

void rrc_locklog_hold(struct rrc_locklog *ll, uint32_t slot, uint32_t n)
{
	struct rrc_ll_slot *s = &ll->area->slot[slot];

	__atomic_store_n(&s->hold, n, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&s->state, __ATOMIC_SEQ_CST) == RRC_LL_HELD)
		wake(&s->hold);
}

void rrc_locklog_live(struct rrc_locklog *ll)
{
	struct rrc_ll_area *a = ll->area;
	uint32_t i;

	rrc_locklog_set_mode(ll, RRC_LL_LIVE);
	wake(&a->fed);
	/* who is about to sleep for a turn sees another word than the one that it looked at */
	for (i = 0; i < RRC_LL_LOCKS; i++) {
		if (!__atomic_load_n(&a->lock[i].waiters, __ATOMIC_SEQ_CST))
			continue;
		__atomic_fetch_xor(&a->lock[i].word, RRC_LL_GENERATION, __ATOMIC_SEQ_CST);
		wake(&a->lock[i].word);
	}
	for (i = 0; i < RRC_LL_SLOTS; i++)
		rrc_locklog_grant(ll, i, UINT32_MAX);
	rrc_locklog_hold(ll, i, 0);
	__atomic_fetch_add(&a->exits, 1, __ATOMIC_SEQ_CST);
	wake(&a->exits);
}

static const char *const kinds[RRC_LL_KINDS] = {
	[RRC_LL_NONE] = "none",
	[RRC_LL_MUTEX] = "mutex_lock",
	[RRC_LL_MUTEX_TRY] = "mutex_trylock",
	[RRC_LL_MUTEX_TIMED] = "mutex_timedlock",
	[RRC_LL_RD] = "rwlock_rdlock",
	[RRC_LL_RD_TRY] = "rwlock_tryrdlock",
	[RRC_LL_RD_TIMED] = "rwlock_timedrdlock",
	[RRC_LL_WR] = "rwlock_wrlock",
	[RRC_LL_WR_TRY] = "rwlock_trywrlock",
	[RRC_LL_WR_TIMED] = "rwlock_timedwrlock",
	[RRC_LL_SPIN] = "spin_lock",
	[RRC_LL_SPIN_TRY] = "spin_trylock",
	[RRC_LL_COND] = "cond_wait",
	[RRC_LL_COND_TIMED] = "cond_timedwait",
	[RRC_LL_SEM] = "sem_wait",
	[RRC_LL_SEM_TRY] = "sem_trywait",
	[RRC_LL_SEM_TIMED] = "sem_timedwait",
	[RRC_LL_ONCE] = "once",
	[RRC_LL_ALLOC] = "malloc",
	[RRC_LL_BIRTH] = "thread birth",
	[RRC_LL_ONCE_RUN] = "once routine",
	[RRC_LL_BARRIER_IN] = "barrier arrival",
	[RRC_LL_BARRIER] = "barrier",
	[RRC_LL_START] = "thread start",
	[RRC_LL_EXIT] = "thread exit",
	[RRC_LL_CLOCK] = "clock_gettime",
	[RRC_LL_CLOCK_RES] = "clock_getres",
	[RRC_LL_GTOD] = "gettimeofday",
	[RRC_LL_TIME] = "time",
	[RRC_LL_CPU] = "getcpu",
	[RRC_LL_VALUE] = "sem_getvalue",
};

static const char *const states[] = {
	[RRC_LL_FREE] = "free",
	[RRC_LL_RUNNING] = "running",
	[RRC_LL_RING_FULL] = "waits for room in its ring",
	[RRC_LL_WAIT_FEED] = "waits for its log",
	[RRC_LL_WAIT_TURN] = "waits for its turn",
	[RRC_LL_WAIT_GRANT] = "waits to read the clock",
	[RRC_LL_HELD] = "is held back",
	[RRC_LL_IN_CALL] = "blocks in the call",
	[RRC_LL_PARKED_END] = "at the end of its log",
	[RRC_LL_MISMATCH] = "does not match its log",
	[RRC_LL_EXITED] = "ended",
};

const char *rrc_locklog_kind(uint8_t kind)
{
	kind &= (uint8_t)~RRC_LL_PLAIN;
	return kind < RRC_LL_KINDS && kinds[kind] ? kinds[kind] : "unknown";
}

const char *rrc_locklog_state(uint32_t state)
{
	return state < sizeof(states) / sizeof(states[0]) ? states[state] : "unknown";
}

/* What the feed says where the thread is, for the text of a mismatch. */
static void describe_expected(const struct rrc_locklog *ll, const struct rrc_ll_slot *s, char *buf,
			      size_t size)
{
	struct rrc_ll_event e;
	char path[64];
	int fd;

	buf[0] = '\0';
	if (s->state != RRC_LL_MISMATCH || s->feed_pos >= s->feed_count)
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", ll->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (pread(fd, &e, sizeof(e), (off_t)(s->feed + (uint64_t)s->feed_pos * sizeof(e))) ==
	    sizeof(e))
		snprintf(buf, size, "; its log has operation %u, %s on lock %u", e.n,
			 rrc_locklog_kind(e.kind), e.lock);
	close(fd);
}

void rrc_locklog_describe(const struct rrc_locklog *ll, uint32_t slot, char *buf, size_t size)
{
	const struct rrc_ll_slot *s = &ll->area->slot[slot];
	char expected[96];
	uint64_t word;

	if (s->state < RRC_LL_WAIT_TURN || s->state == RRC_LL_EXITED) {
		snprintf(buf, size, "thread %u: %s, operation %u of %u", s->tid,
			 rrc_locklog_state(s->state), s->ops, s->total);
		return;
	}
	word = ll->area->lock[s->wait_lock].word;
	describe_expected(ll, s, expected, sizeof(expected));
	snprintf(
		buf, size,
		"thread %u: %s: operation %u of %u, %s on lock %u (0x%lx): owner %u, change %u, repeat %u; "
		"wanted %u, %u, %u%s",
		s->tid, rrc_locklog_state(s->state), s->wait_n, s->total,
		rrc_locklog_kind(s->wait_kind), s->wait_lock, (unsigned long)s->wait_addr,
		RRC_LL_OWNER(word), RRC_LL_CHANGES(word), RRC_LL_REPEATS(word),
		RRC_LL_OWNER(s->wait_word), RRC_LL_CHANGES(s->wait_word),
		RRC_LL_REPEATS(s->wait_word), expected);
}
