// SPDX-License-Identifier: MIT
/* Readings of the clock stand in the log's order, see clockmarks.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clockmarks.h"
#include "later.h"
#include "locks.h"
#include "tracee.h"
#include "util.h"

#define ASK_NS	    50000ull /* who reads comes to its next call soon, which tells us; else look again */
#define PATIENCE_NS 20000000ull /* a thread that spun less or more may not read at all */
#define SETTLE_NS   3000000ull /* a thread that runs for longer waits for another one by an atomic */
#define ENTRY_NS    250u /* from the program's last instruction to the time that a call's entry has */
#define AFTER_NS    200u
#define NO_LOCK	    UINT32_MAX
#define FAR	    65536 /* records: nobody passes as many at once */
#define MAX_MISSED  50 /* then this program's readings tell us nothing */
#define REAL_NS	    1000000 /* CLOCK_REALTIME is corrected all the time: so much is allowed for */

struct mark {
	size_t at; /* index of the first record behind it */
	struct rrc_locklog *ll;
	uint32_t slot, index; /* in the feed */
	uint32_t lock; /* whose owner it changes; NO_LOCK: a reading or the like */
	uint64_t ns; /* when it happened, by the primary's CLOCK_MONOTONIC */
	bool exact; /* the clock is fine: what is behind it did happen later */
	uint32_t next; /* the slot's next reading in the feed, or UINT32_MAX */
};

struct rrc_clockmarks {
	struct mark *marks; /* by place */
	size_t n;
	uint64_t *latest; /* by record */
	size_t granted, seen; /* marks before these were granted, happened */
	uint64_t moving; /* threads run since then; 0: they stand */
	uint64_t since; /* the head waits since then; 0: it does not */
	unsigned int missed;
};

static bool careful(const struct rrc_engine *e)
{
	return e->opts.nudges && e->opts.nudges->careful;
}

bool rrc_clockmarks_careful(const struct rrc_engine *e)
{
	return careful(e);
}

/* When it happened by the primary's CLOCK_MONOTONIC; not later than in truth. 0: that cannot be said. */
static uint64_t time_of(const struct rrc_engine *e, const struct rrc_ll_event *ev)
{
	int64_t real = e->opts.real_ns + REAL_NS;

	if (ev->when)
		return careful(e) ? ev->when : 0;

	switch (ev->kind) {
	case RRC_LL_GTOD:
		return (uint64_t)((int64_t)ev->value * 1000 - real);
	case RRC_LL_CLOCK:
		break;
	default:
		return 0;
	}
	switch (ev->lock) {
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
		return (uint64_t)((int64_t)ev->value - e->opts.mono_ns);
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		return (uint64_t)((int64_t)ev->value - real);
	default:
		return 0;
	}
}

static bool exact(const struct rrc_ll_event *ev)
{
	return ev->when || (ev->kind == RRC_LL_CLOCK && ev->lock == CLOCK_MONOTONIC);
}

/* When the latest of the records up to each was placed: their times are not quite in order, since on two CPUs
 * one may be overtaken between its time and its place. */
static int note_times(struct rrc_clockmarks *m, const struct rrc_engine *e)
{
	uint64_t latest = 0;

	if (m->latest)
		return 0;
	m->latest = calloc(e->n + 1, sizeof(*m->latest));
	for (size_t i = 0; m->latest && i < e->n; i++) {
		const struct rrc_rec *rec = rrc_log_rec(e, i);

		if (rec->kind == RRC_REC_SYSCALL)
			latest = rrc_max(latest, (uint64_t)rec->exit_ns);
		m->latest[i] = latest;
	}
	return m->latest ? 0 : -ENOMEM;
}

/* Right behind the last call that returned before. */
static size_t place_of(const struct rrc_engine *e, uint64_t ns)
{
	const struct rrc_clockmarks *m = e->marks;
	size_t lo = 0, hi = e->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (m->latest[mid] > ns)
			hi = mid;
		else
			lo = mid + 1;
	}
	while (lo && rrc_log_rec(e, lo - 1)->kind != RRC_REC_SYSCALL)
		lo--;
	return lo;
}

static int by_place(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	if (x->ns != y->ns)
		return x->ns < y->ns ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static struct mark *add_mark(struct rrc_clockmarks *m)
{
	struct mark *more;

	if (!(m->n & (m->n - 1))) {
		more = realloc(m->marks, (m->n ? m->n * 2 : 1) * sizeof(*more));
		if (!more)
			return NULL;
		m->marks = more;
	}
	return &m->marks[m->n++];
}

static uint32_t lock_of(const struct rrc_ll_event *ev)
{
	return ev->kind < RRC_LL_PLAIN_KINDS && ev->kind != RRC_LL_BIRTH ? ev->lock : NO_LOCK;
}

static int add_slot(struct rrc_engine *e, struct rrc_locklog *ll, uint32_t slot,
		    const struct rrc_locklog_feed *f)
{
	struct rrc_clockmarks *m = e->marks;
	size_t before = SIZE_MAX;
	uint64_t latest = 0;

	for (uint32_t i = 0; i < f->count; i++) {
		uint64_t ns = time_of(e, &f->events[i]);
		struct mark *k;

		if (!ns)
			continue;
		/* A coarse clock is behind a fine one that was read before it; the order is the thread's. */
		latest = rrc_max(latest, ns);
		k = add_mark(m);
		if (!k)
			return -ENOMEM;
		*k = (struct mark){
			.at = place_of(e, latest),
			.ll = ll,
			.slot = slot,
			.index = i,
			.lock = lock_of(&f->events[i]),
			.ns = latest,
			.exact = exact(&f->events[i]) && latest == ns,
			.next = UINT32_MAX,
		};
		if (before == SIZE_MAX)
			rrc_locklog_grant(ll, slot, i);
		else
			m->marks[before].next = i;
		before = m->n - 1;
	}
	return 0;
}

static bool happened(const struct mark *k)
{
	const struct rrc_ll_slot *s;

	if (!k->ll || !k->exact)
		return true; /* nobody has to wait for it */
	s = &k->ll->area->slot[k->slot];
	return __atomic_load_n(&s->feed_pos, __ATOMIC_ACQUIRE) > k->index ||
	       s->state == RRC_LL_EXITED || s->state == RRC_LL_FREE;
}

/* The next reading may happen if it stands at the head or before it, those before it have happened and who was
 * earlier has come to his next call. 1: it was; 0: there is none; else until when it has to wait. */
static uint64_t grant(struct rrc_engine *e)
{
	struct rrc_clockmarks *m = e->marks;
	const struct mark *k = &m->marks[m->granted];
	size_t before = m->granted;
	uint64_t due;

	if (m->granted == m->n || k->at > e->head)
		return 0;
	if (k->ll && k->exact && m->missed < MAX_MISSED) {
		due = rrc_later_wait(e, k->ns, k->ll->area->slot[k->slot].tid);
		if (due)
			return due;
		if (m->granted != before)
			return 1; /* who was let run for that does these readings by itself */
	}
	if (k->ll)
		rrc_locklog_grant(k->ll, k->slot, k->next);
	m->granted++;
	return 1;
}

/* Are the last granted one and the next one of one thread, which keeps their order itself? */
static bool same_thread(const struct rrc_clockmarks *m)
{
	const struct mark *k = &m->marks[m->granted];

	return m->granted && m->granted < m->n && k[-1].ll == k->ll && k[-1].slot == k->slot;
}

/* When each thread makes its next call and has its next mark, looking back from the end. */
struct coming {
	uint64_t call_ns[RRC_LL_SLOTS], mark_ns[RRC_LL_SLOTS];
	bool wakes[RRC_LL_SLOTS]; /* that call tells another thread something */
	uint64_t lock_ns[RRC_LL_LOCKS]; /* … and each lock its next owner */
};

/* A lock is taken and let go, then a flag is looked at. If that said that somebody has to be woken, it was right before
 * the call that wakes him; else it was soon. */
static uint64_t moment_of(const struct mark *k, const struct coming *c)
{
	uint64_t call = c->call_ns[k->slot], mark = c->mark_ns[k->slot];
	uint64_t end = rrc_min(call, mark), ns = k->ns + AFTER_NS;

	if (call < mark && c->wakes[k->slot])
		ns = call - ENTRY_NS;
	else if (end != UINT64_MAX)
		ns = rrc_min(ns, k->ns + (end - k->ns) / 2);
	ns = rrc_min(ns, c->lock_ns[k->lock] - 1);
	ns = rrc_min(ns, mark - 1);
	return rrc_max(ns, k->ns);
}

/* Does it write into something that another thread waits for? */
static bool wakes(const struct rrc_rec *rec)
{
	return rrc_sysrow(rec->nr)->special == RRC_S_WRITE &&
	       (rec->fdkind == RRC_FD_ANON || rec->fdkind == RRC_FD_FIFO ||
		rec->fdkind == RRC_FD_UNIX);
}

static uint32_t slot_with(const struct rrc_locklog *ll, uint32_t tid)
{
	for (uint32_t i = 0; i < RRC_LL_SLOTS && i < ll->area->slots; i++)
		if (ll->area->slot[i].tid == tid)
			return i;
	return RRC_LL_SLOTS;
}

/* What follows on a change of owner happens behind it, and where that was is the mark's place. By time, from the end. */
static int settle_places(struct rrc_engine *e, struct rrc_locklog *ll)
{
	rrc_autofree struct coming *c = malloc(sizeof(*c));
	struct rrc_clockmarks *m = e->marks;
	size_t i = m->n, r = e->n;

	if (!c)
		return -ENOMEM;
	memset(c, 0xff, sizeof(*c));
	while (i-- > m->granted) {
		struct mark *k = &m->marks[i];

		if (k->ll != ll)
			continue;
		for (; r > k->at; r--) {
			const struct rrc_rec *rec = rrc_log_rec(e, r - 1);
			uint32_t slot = rec->kind == RRC_REC_SYSCALL ? slot_with(ll, rec->tid)
								     : RRC_LL_SLOTS;

			if (slot == RRC_LL_SLOTS)
				continue;
			c->call_ns[slot] = rec->entry_ns ? rec->entry_ns : rec->exit_ns;
			c->wakes[slot] = wakes(rec);
		}
		if (k->lock != NO_LOCK && k->exact)
			k->ns = moment_of(k, c);
		c->mark_ns[k->slot] = k->ns;
		if (k->lock != NO_LOCK)
			c->lock_ns[k->lock] = k->ns;
		k->at = place_of(e, k->ns);
	}
	return 0;
}

int rrc_clockmarks_add(struct rrc_engine *e, struct rrc_locklog *ll,
		       const struct rrc_locklog_feed *feeds, struct rrc_error *err)
{
	unsigned int threads = 0;
	int r = 0;

	for (uint32_t i = 0; i < RRC_LL_SLOTS; i++)
		threads += feeds[i].count != 0;
	if (threads < 2)
		return 0; /* nobody to meet */
	if (!e->marks)
		e->marks = calloc(1, sizeof(*e->marks));
	if (!e->marks)
		return rrc_fail(err, ENOMEM, "no memory for clock readings");
	r = note_times(e->marks, e);
	for (uint32_t i = 0; i < RRC_LL_SLOTS && !r; i++)
		r = add_slot(e, ll, i, &feeds[i]);
	if (r)
		return rrc_fail(err, -r, "no memory for clock readings");
	/* What a process brings later lies behind the head, as what was granted and seen lies before it. */
	qsort(e->marks->marks + e->marks->granted, e->marks->n - e->marks->granted,
	      sizeof(struct mark), by_place);
	if (!careful(e))
		return 0;
	r = settle_places(e, ll);
	if (r)
		return rrc_fail(err, -r, "no memory for clock readings");
	qsort(e->marks->marks + e->marks->granted, e->marks->n - e->marks->granted,
	      sizeof(struct mark), by_place);
	return 0;
}

static void look(struct rrc_clockmarks *m)
{
	while (m->seen < m->granted && (m->missed >= MAX_MISSED || happened(&m->marks[m->seen]))) {
		m->seen++;
		m->since = 0;
	}
}

/* At a careful attempt only one thread runs at a time: until it stands at its next call, reading or turn. */
static uint64_t settle(struct rrc_engine *e)
{
	struct rrc_clockmarks *m = e->marks;
	uint64_t now;
	bool moves = false;

	for (const struct tracee *t = e->threads; t && !moves; t = t->next)
		moves = rrc_locks_moves(e, t);
	if (!moves) {
		m->moving = 0;
		return 0;
	}
	now = rrc_now_ns(CLOCK_MONOTONIC);
	m->moving = m->moving ? m->moving : now;
	if (now - m->moving < SETTLE_NS)
		return now + ASK_NS;
	return 0;
}

uint64_t rrc_clockmarks_wait(struct rrc_engine *e)
{
	struct rrc_clockmarks *m = e->marks;
	uint64_t now, due;

	if (!m)
		return 0;
	due = careful(e) ? settle(e) : 0;
	if (due)
		return due;
	for (;;) {
		look(m);
		if (m->seen < m->granted && !same_thread(m))
			break;
		due = grant(e);
		if (due > 1)
			return due;
		if (!due)
			break;
		due = careful(e) ? settle(e) : 0;
		if (due)
			return due;
	}
	if (m->seen == m->granted)
		return 0;
	now = rrc_now_ns(CLOCK_MONOTONIC);
	m->since = m->since ? m->since : now;
	if (now - m->since < PATIENCE_NS)
		return now + ASK_NS;
	m->missed++;
	m->seen++;
	m->since = 0;
	return 0;
}

size_t rrc_clockmarks_cap(struct rrc_engine *e, const struct tracee *t)
{
	struct rrc_clockmarks *m = e->marks;
	const struct rrc_locklog *ll;
	uint32_t slot;

	if (!m)
		return SIZE_MAX;
	look(m);
	if (!rrc_locks_slot(e, t, &ll, &slot))
		return m->seen < m->granted ? 0
		       : m->granted < m->n  ? m->marks[m->granted].at
					    : SIZE_MAX;
	for (size_t i = m->seen; i < m->n && m->marks[i].at < e->head + FAR; i++)
		if (m->marks[i].ll && (m->marks[i].ll != ll || m->marks[i].slot != slot))
			return i < m->granted ? 0 : m->marks[i].at;
	return SIZE_MAX;
}

void rrc_clockmarks_grant(struct rrc_engine *e, const struct tracee *t, size_t before,
			  uint64_t limit_ns)
{
	struct rrc_clockmarks *m = e->marks;
	const struct rrc_locklog *ll;
	uint32_t slot;

	if (!m || !rrc_locks_slot(e, t, &ll, &slot))
		return;
	for (; m->granted < m->n; m->granted++) {
		const struct mark *k = &m->marks[m->granted];

		if (k->ll != ll || k->slot != slot || k->at > before || k->ns > limit_ns)
			return;
		rrc_locklog_grant((struct rrc_locklog *)k->ll, slot, k->next);
	}
}

uint64_t rrc_clockmarks_ahead(const struct rrc_engine *e, const struct rrc_locklog *ll,
			      uint32_t slot, size_t before)
{
	const struct rrc_clockmarks *m = e->marks;

	for (size_t i = m ? m->seen : 0; m && i < m->n && m->marks[i].at <= before; i++)
		if (m->marks[i].exact && m->marks[i].ll == ll && m->marks[i].slot == slot &&
		    m->marks[i].index >= ll->area->slot[slot].feed_pos)
			return m->marks[i].ns;
	return 0;
}

bool rrc_clockmarks_others(const struct rrc_engine *e, const struct tracee *t, uint64_t before)
{
	const struct rrc_clockmarks *m = e->marks;
	const struct rrc_locklog *ll;
	uint32_t slot;

	if (!m || !careful(e) || !rrc_locks_slot(e, t, &ll, &slot))
		return false;
	for (size_t i = m->seen; i < m->n && m->marks[i].ns < before; i++)
		if (m->marks[i].ll && (m->marks[i].ll != ll || m->marks[i].slot != slot) &&
		    !(i < m->granted && happened(&m->marks[i])))
			return true;
	return false;
}

void rrc_clockmarks_end(struct rrc_engine *e)
{
	struct rrc_clockmarks *m = e->marks;

	for (; m && m->granted < m->n; m->granted++)
		if (m->marks[m->granted].ll)
			rrc_locklog_grant(m->marks[m->granted].ll, m->marks[m->granted].slot,
					  UINT32_MAX);
}

void rrc_clockmarks_forget(struct rrc_engine *e, const struct rrc_locklog *ll)
{
	for (size_t i = 0; e->marks && i < e->marks->n; i++)
		if (e->marks->marks[i].ll == ll)
			e->marks->marks[i].ll = NULL;
}

void rrc_clockmarks_free(struct rrc_engine *e)
{
	if (e->marks) {
		free(e->marks->marks);
		free(e->marks->latest);
	}
	free(e->marks);
	e->marks = NULL;
}
