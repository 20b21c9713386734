// SPDX-License-Identifier: MIT
/* Feeds the processes' lock logs and hears what comes of it, see locks.h. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "clockmarks.h"
#include "locklog.h"
#include "locks.h"
#include "nudge.h"
#include "ptrace.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"
#include "vdso.h"

struct rrc_locks {
	struct tproc *proc;
	struct rrc_locklog ll;
	bool fed;
	uint64_t at, len; /* the feed's mapping in the process */
	struct rrc_locks *next;
};

static struct rrc_locks *find(const struct rrc_engine *e, const struct tproc *p)
{
	struct rrc_locks *l = e->locks;

	while (l && l->proc != p)
		l = l->next;
	return l;
}

int rrc_locks_in(pid_t pid)
{
	struct rrc_locklog ll;
	uint32_t mode;

	if (rrc_locklog_open(pid, &ll, NULL))
		return 0;
	mode = ll.area->mode;
	rrc_locklog_close(&ll);
	return mode == RRC_LL_RECORD || mode == RRC_LL_REPLAY;
}

/* ---- feeds ---- */

static int add_events(struct rrc_locklog_feed *f, const struct rrc_rec *rec)
{
	uint32_t n = rrc_rec_segs(rec)->len / (uint32_t)sizeof(*f->events);
	struct rrc_ll_event *more = realloc(f->events, (f->count + n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	f->events = more;
	memcpy(more + f->count, rrc_rec_payload(rec), n * sizeof(*more));
	f->count += n;
	f->total = (uint32_t)rec->args[1];
	f->done = (uint32_t)rec->args[2];
	return 0;
}

enum brought {
	BY_ANY,
	BY_FORK,
	BY_EXEC
};

/* Which of the process's logs is the next: they are told apart by the inodes that they had. Those before it were
 * of programs that never came to use them. Returns how many logs are behind then; 0: there is none. */
static unsigned int next_area(const struct rrc_engine *e, const struct tproc *p, enum brought by,
			      uint64_t *area)
{
	uint64_t last = 0;
	unsigned int n = 0;

	for (size_t i = 0; i < e->n; i++) {
		const struct rrc_rec *rec = rrc_log_rec(e, i);

		if (rec->kind != RRC_REC_LOCKS || rec->pid != p->ns_pid || rec->args[3] == last)
			continue;
		last = rec->args[3];
		if (++n > p->areas && (by == BY_ANY || rec->args[4] == (by == BY_EXEC))) {
			*area = last;
			return n;
		}
	}
	return 0;
}

/* Of two operations of one thread: the count wraps. */
static uint32_t later(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0 ? a : b;
}

/* What the log has of a process, by slot. It goes on behind the end of what is replayed: there a thread may
 * do more than its calls let it come to, which is harmless. */
static int collect(const struct rrc_engine *e, const struct rrc_locks *l, uint64_t area,
		   struct rrc_locklog_feed *feeds)
{
	for (uint32_t i = 0; i < RRC_LL_SLOTS; i++) {
		feeds[i].total = l->ll.area->slot[i].ops;
		feeds[i].done = l->ll.area->slot[i].done;
	}
	for (size_t i = 0; i < e->n; i++) {
		const struct rrc_rec *rec = rrc_log_rec(e, i);

		if (rec->kind != RRC_REC_LOCKS || rec->pid != l->proc->ns_pid)
			continue;
		if (rec->args[3] == area && add_events(&feeds[rec->args[0]], rec))
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < RRC_LL_SLOTS; i++) {
		struct rrc_locklog_feed *f = &feeds[i];

		f->count = rrc_locklog_settle(f->events, f->count);
		if (f->count)
			f->total = later(f->total, f->events[f->count - 1].n);
	}
	rrc_locklog_resolve(feeds);
	return 0;
}

/* Room for the events in the process, by a call of the stopped thread t. A forked child has its parent's there. */
static int make_room(struct rrc_locks *l, struct tracee *t, const struct rrc_locklog_feed *feeds,
		     struct rrc_error *err)
{
	uint64_t args[6] = { RRC_LL_FEED_BASE,	     0,
			     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			     (uint64_t)-1,	     0 };
	long ret;
	int r;

	for (uint32_t i = 0; i < RRC_LL_SLOTS; i++)
		l->len += feeds[i].count * (sizeof(struct rrc_ll_event) + sizeof(uint32_t));
	l->at = RRC_LL_FEED_BASE;
	args[1] = l->len;
	if (!l->len)
		return 0;
	r = rrc_inject(t->tid, RRC_NR_mmap, args, &ret, err);
	t->at = ST_NONE;
	if (!r && ret != (long)l->at)
		r = rrc_fail(err, ret < 0 ? (int)ret : EEXIST,
			     "process %u: no room for its lock log", l->proc->ns_pid);
	return r;
}

/* A thread that no wrapper makes (an allocator's own) finds its slot by its id when it first does something. */
static void expect_start(struct rrc_locks *l, uint32_t slot, const struct rrc_locklog_feed *f)
{
	for (uint32_t i = 0; i < f->count; i++)
		if (f->events[i].kind == RRC_LL_START) {
			l->ll.area->slot[slot].expect_tid = (uint32_t)f->events[i].value;
			return;
		}
}

/* The events of all, then the runs of all. */
static int write_feeds(struct rrc_locks *l, const struct rrc_locklog_feed *feeds)
{
	rrc_autofree uint32_t *runs = rrc_locklog_runs(&l->ll, feeds);
	uint64_t at = l->at, runs_at = l->at;
	size_t n = 0;

	for (uint32_t i = 0; i < RRC_LL_SLOTS; i++)
		n += feeds[i].count;
	runs_at += n * sizeof(struct rrc_ll_event);
	if (!runs || (n && rrc_mem_write(l->proc->pid, runs_at, runs, n * sizeof(*runs))))
		return -EFAULT;
	for (uint32_t i = 0; i < RRC_LL_SLOTS; i++) {
		size_t len = feeds[i].count * sizeof(struct rrc_ll_event);

		if (len && rrc_mem_write(l->proc->pid, at, feeds[i].events, len))
			return -EFAULT;
		rrc_locklog_feed(&l->ll, i, at, runs_at, feeds[i].count, feeds[i].total);
		expect_start(l, i, &feeds[i]);
		at += len;
		runs_at += feeds[i].count * sizeof(*runs);
	}
	l->fed = true;
	return 0;
}

static int feed(struct rrc_engine *e, struct rrc_locks *l, struct tracee *t, enum brought by,
		struct rrc_error *err)
{
	uint64_t area = 0;
	unsigned int behind = next_area(e, l->proc, by, &area);
	rrc_autofree struct rrc_locklog_feed *feeds = calloc(RRC_LL_SLOTS, sizeof(*feeds));
	int r = feeds ? collect(e, l, area, feeds) : -ENOMEM;

	if (r)
		rrc_fail(err, r, "no memory for a lock log");
	else
		r = make_room(l, t, feeds, err);
	l->proc->areas = rrc_max(l->proc->areas, behind);
	if (!r && write_feeds(l, feeds))
		r = rrc_fail(err, EFAULT, "process %u: its lock log cannot be written",
			     l->proc->ns_pid);
	if (!r && !e->opts.no_pacing)
		r = rrc_clockmarks_add(e, &l->ll, feeds, err);
	if (!r)
		rrc_locklog_fed(&l->ll);
	for (uint32_t i = 0; feeds && i < RRC_LL_SLOTS; i++)
		free(feeds[i].events);
	return r;
}

static struct rrc_locks *add(struct rrc_engine *e, struct tproc *p)
{
	struct rrc_locks *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (rrc_locklog_open(p->pid, &l->ll, NULL)) {
		free(l);
		return NULL;
	}
	l->proc = p;
	l->next = e->locks;
	e->locks = l;
	return l;
}

static struct tracee *any_thread(const struct rrc_engine *e, const struct tproc *p)
{
	for (struct tracee *t = e->threads; t; t = t->next)
		if (t->proc == p && t->stopped && t->state < TR_EXITING)
			return t;
	return NULL;
}

int rrc_locks_take(struct rrc_engine *e, struct rrc_error *err)
{
	for (struct tproc *p = e->procs; p; p = p->next) {
		struct tracee *t = any_thread(e, p);
		struct rrc_locks *l = t && rrc_locks_in(p->pid) ? add(e, p) : NULL;
		int r;

		if (!l)
			continue;
		rrc_locklog_replay(&l->ll, e->opts.patience_ns);
		r = feed(e, l, t, BY_ANY, err);
		if (r)
			return r;
	}
	return 0;
}

int rrc_locks_started(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	struct tproc *p = t->proc;
	struct rrc_locks *l;
	uint64_t area;

	if (!next_area(e, p, BY_EXEC, &area))
		return 0;
	l = add(e, p);
	if (!l)
		return 0;
	p->fresh = false;
	if (rrc_vdso_restore(p->pid, err) < 0)
		return err->code;
	rrc_locklog_replay(&l->ll, e->opts.patience_ns);
	return feed(e, l, t, BY_EXEC, err);
}

void rrc_locks_exec(struct rrc_engine *e, struct tproc *p)
{
	for (struct rrc_locks **at = &e->locks; *at; at = &(*at)->next) {
		struct rrc_locks *l = *at;

		if (l->proc != p)
			continue;
		*at = l->next;
		rrc_clockmarks_forget(e, &l->ll);
		rrc_locklog_close(&l->ll);
		free(l);
		break;
	}
	p->fresh = true;
}

/* ---- while it runs ---- */

static const struct rrc_ll_slot *slot_of(const struct rrc_locks *l, const struct tracee *t,
					 uint32_t *index)
{
	const struct rrc_ll_area *a = l->ll.area;

	for (uint32_t i = 0; i < RRC_LL_SLOTS && i < a->slots; i++) {
		if (a->slot[i].tid != t->ns_tid || a->slot[i].state == RRC_LL_FREE ||
		    a->slot[i].state == RRC_LL_EXITED)
			continue;
		*index = i;
		return &a->slot[i];
	}
	return NULL;
}

void rrc_locks_describe(const struct rrc_engine *e, const struct tracee *t, char *buf, size_t size)
{
	const struct rrc_locks *l = t ? find(e, t->proc) : NULL;
	uint32_t i;

	buf[0] = '\0';
	if (l && slot_of(l, t, &i))
		rrc_locklog_describe(&l->ll, i, buf, size);
}

static int diverged(struct rrc_engine *e, struct tracee *t, uint32_t op, struct rrc_error *err)
{
	char text[512];

	rrc_locks_describe(e, t, text, sizeof(text));
	rrc_diverge(e, rrc_min((size_t)t->next_rec, e->head), t, err, "%s", text);
	e->rep.where.op = op;
	return err->code;
}

int rrc_locks_at_futex(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	struct rrc_locks *l = find(e, t->proc);
	const struct rrc_ll_slot *s;
	uint64_t off;
	uint32_t i;

	if (t->regs.rdi - RRC_LL_BASE >= sizeof(struct rrc_ll_area))
		return 0;
	if (!l && rrc_locks_in(t->proc->pid))
		l = add(e, t->proc);
	if (!l)
		return 0;
	off = t->regs.rdi - l->ll.addr;
	if (off == offsetof(struct rrc_ll_area, fed) && !l->fed)
		return feed(e, l, t, BY_FORK, err);
	s = slot_of(l, t, &i);
	if (s && !t->part && s->state == RRC_LL_HELD &&
	    off == (uint64_t)((const char *)&s->hold - (const char *)l->ll.area))
		rrc_nudge_held(e, t);
	if (!s || off != offsetof(struct rrc_ll_area, mode))
		return 0;
	if (s->state == RRC_LL_MISMATCH || (s->state == RRC_LL_PARKED_END && rrc_next_rec(e, t)))
		return diverged(e, t, s->wait_n, err);
	return 0;
}

bool rrc_locks_goes_on(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_locks *l = find(e, t->proc);
	const struct rrc_ll_slot *s = l ? slot_of(l, t, &(uint32_t){ 0 }) : NULL;

	return s && (s->feed_count || s->total != s->ops);
}

bool rrc_locks_slot(const struct rrc_engine *e, const struct tracee *t,
		    const struct rrc_locklog **ll, uint32_t *slot)
{
	const struct rrc_locks *l = find(e, t->proc);

	*ll = l ? &l->ll : NULL;
	return l && slot_of(l, t, slot);
}

uint64_t rrc_locks_reads_clock(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_locks *l = find(e, t->proc);
	uint32_t i;

	return l && slot_of(l, t, &i) ? rrc_clockmarks_ahead(e, &l->ll, i, t->next_rec) : 0;
}

bool rrc_locks_runs(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_locks *l = find(e, t->proc);
	const struct rrc_ll_slot *s = l ? slot_of(l, t, &(uint32_t){ 0 }) : NULL;

	uint32_t state = s ? __atomic_load_n(&s->state, __ATOMIC_ACQUIRE) : RRC_LL_FREE;

	return state == RRC_LL_RUNNING || state == RRC_LL_WAIT_GRANT;
}

bool rrc_locks_moves(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_locks *l;
	const struct rrc_ll_slot *s;
	uint64_t word;

	if (t->state == TR_RUN || t->state == TR_NEW)
		return true;
	if (t->state != TR_LOCAL)
		return false;
	l = find(e, t->proc);
	s = l ? slot_of(l, t, &(uint32_t){ 0 }) : NULL;
	if (!s)
		return false;
	switch (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE)) {
	case RRC_LL_WAIT_GRANT:
		return __atomic_load_n(&s->granted, __ATOMIC_ACQUIRE) > s->feed_pos;
	case RRC_LL_WAIT_TURN:
		word = __atomic_load_n(&l->ll.area->lock[s->wait_lock].word, __ATOMIC_ACQUIRE);
		return RRC_LL_CHANGES(word) == RRC_LL_CHANGES(s->wait_word) &&
		       RRC_LL_OWNER(word) == RRC_LL_OWNER(s->wait_word) &&
		       RRC_LL_REPEATS(word) >= RRC_LL_REPEATS(s->wait_word);
	case RRC_LL_HELD:
		return !s->hold;
	case RRC_LL_RUNNING:
		return true;
	default:
		return false;
	}
}

bool rrc_locks_held(const struct rrc_engine *e, const struct tracee *t)
{
	const struct rrc_locks *l = find(e, t->proc);
	const struct rrc_ll_slot *s = l ? slot_of(l, t, &(uint32_t){ 0 }) : NULL;

	return s && __atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == RRC_LL_HELD;
}

void rrc_locks_hold(struct rrc_engine *e, const struct tracee *t, uint32_t op)
{
	struct rrc_locks *l = find(e, t->proc);
	uint32_t i;

	if (l && slot_of(l, t, &i))
		rrc_locklog_hold(&l->ll, i, op);
}

bool rrc_locks_blame(struct rrc_engine *e, const struct tracee *t, const struct tracee **whom,
		     uint32_t *op)
{
	const struct rrc_locks *l = t ? find(e, t->proc) : NULL;
	const struct rrc_ll_slot *s;
	uint32_t i, owner;

	if (!l || !(s = slot_of(l, t, &i)) || s->state != RRC_LL_WAIT_TURN)
		return false;
	owner = RRC_LL_OWNER(s->wait_word);
	if (!owner || owner > RRC_LL_SLOTS)
		return false;
	s = &l->ll.area->slot[owner - 1];
	*whom = rrc_tracee_ns(e, s->tid);
	*op = s->ops + 1;
	return *whom != NULL;
}

/* ---- the end ---- */

void rrc_locks_live(struct rrc_engine *e)
{
	for (struct rrc_locks *l = e->locks; l; l = l->next) {
		uint64_t args[6] = { l->at, l->len, MADV_DONTNEED };
		struct tracee *t = any_thread(e, l->proc);
		long ret;

		rrc_locklog_live(&l->ll);
		/* Emptied, not taken away: somebody stopped in the middle of a look may look once more. */
		if (t && l->len && !rrc_inject(t->tid, RRC_NR_madvise, args, &ret, NULL))
			t->at = ST_NONE;
	}
}

void rrc_locks_free(struct rrc_engine *e)
{
	while (e->locks) {
		struct rrc_locks *l = e->locks;

		e->locks = l->next;
		rrc_locklog_close(&l->ll);
		free(l);
	}
}
