// SPDX-License-Identifier: MIT
/* The log as the engine wants it: where each record is, and which comes next in the same thread. */
#include <errno.h>
#include <string.h>

#include "reclog.h"
#include "tracee.h"
#include "util.h"

/* The last place that waits to learn of a thread's next record. */
struct tail {
	uint32_t tid;
	uint32_t first; /* its first record, if no birth in the log comes before */
	uint32_t *slot;
	struct tail *chain;
};

struct tails {
	struct tail *hash[RRC_TRACEE_HASH];
};

static struct tail *tail_of(struct tails *tails, uint32_t tid)
{
	struct tail **at = &tails->hash[tid % RRC_TRACEE_HASH];

	for (struct tail *t = *at; t; t = t->chain)
		if (t->tid == tid)
			return t;
	struct tail *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->tid = tid;
	t->first = RRC_NO_REC;
	t->chain = *at;
	*at = t;
	return t;
}

/* The threads that are there when the log starts. */
static void set_firsts(struct rrc_engine *e, const struct tails *tails)
{
	for (size_t i = 0; i < RRC_TRACEE_HASH; i++) {
		for (const struct tail *t = tails->hash[i]; t; t = t->chain) {
			struct tracee *tracee = rrc_tracee_ns(e, t->tid);

			if (tracee)
				tracee->next_rec = t->first;
		}
	}
}

static void tails_free(struct tails *tails)
{
	for (size_t i = 0; i < RRC_TRACEE_HASH; i++) {
		while (tails->hash[i]) {
			struct tail *t = tails->hash[i];

			tails->hash[i] = t->chain;
			free(t);
		}
	}
}

bool rrc_log_of_thread(const struct rrc_rec *rec)
{
	switch (rec->kind) {
	case RRC_REC_SYSCALL:
	case RRC_REC_ENTER:
	case RRC_REC_SIGNAL:
	case RRC_REC_BIRTH:
	case RRC_REC_DEATH:
	case RRC_REC_EXEC:
		return rec->tid != 0;
	default:
		return false;
	}
}

static int count_records(struct rrc_engine *e, struct rrc_error *err)
{
	struct rrc_error bad = { 0 };
	const struct rrc_rec *rec;
	size_t off = 0;

	while ((rec = rrc_reclog_next(e->log, e->len, &off, &bad))) {
		e->n++;
		e->nbirths += rec->kind == RRC_REC_BIRTH;
	}
	if (bad.code) {
		*err = bad;
		rrc_wrap(err, "log, after record %zu", e->n);
		return bad.code;
	}
	if (e->n >= RRC_NO_REC)
		return rrc_fail(err, -E2BIG, "log of %zu records", e->n);
	e->off = calloc(e->n + 1, sizeof(*e->off));
	e->next = calloc(e->n + 1, sizeof(*e->next));
	e->done = calloc(e->n + 1, sizeof(*e->done));
	e->births = calloc(e->nbirths + 1, sizeof(*e->births));
	if (!e->off || !e->next || !e->done || !e->births)
		return rrc_fail(err, -ENOMEM, "out of memory for a log of %zu records", e->n);
	return 0;
}

/* What cannot be replayed ends the replay before it (rule 4): nothing that came of it was let out. */
static bool ends(const struct rrc_rec *rec)
{
	/* A cut does not: it is of a checkpoint that was not committed when the primary died. */
	if (rec->kind == RRC_REC_LOST)
		return true;
	return rec->flags &
	       (RRC_F_BARRIER | RRC_F_FAULT | RRC_F_TRUNC | RRC_F_UNPATCHED | RRC_F_COMPAT);
}

size_t rrc_log_end(const uint8_t *log, size_t len)
{
	const struct rrc_rec *rec;
	size_t off = 0, end = len;

	while ((rec = rrc_reclog_next(log, len, &off, NULL))) {
		size_t at = (size_t)((const uint8_t *)rec - log);

		/* What is missing may do so anywhere in what was taken in with it. */
		if (rec->kind == RRC_REC_LOST)
			at -= rrc_min(at, rec->args[0]);
		if (ends(rec))
			end = rrc_min(end, at);
	}
	return end;
}

static int chain(struct tails *tails, uint32_t tid, uint32_t i, uint32_t *slot)
{
	struct tail *t = tail_of(tails, tid);

	if (!t)
		return -ENOMEM;
	if (t->slot)
		*t->slot = i;
	else
		t->first = i;
	t->slot = slot;
	return 0;
}

int rrc_log_index(struct rrc_engine *e, struct rrc_error *err)
{
	rrc_autofree struct tails *tails = calloc(1, sizeof(*tails));
	size_t off = 0, i = 0, births = 0, end;
	const struct rrc_rec *rec;
	int r;

	r = tails ? count_records(e, err) : rrc_fail(err, -ENOMEM, "out of memory");
	if (r)
		return r;
	e->end = e->n;
	end = rrc_log_end(e->log, e->len);
	while ((rec = rrc_reclog_next(e->log, e->len, &off, NULL))) {
		e->off[i] = (uint64_t)((const uint8_t *)rec - e->log);
		e->next[i] = RRC_NO_REC;
		if (e->end == e->n && e->off[i] >= end) {
			e->end = i;
			e->rep.barrier_at = e->off[i];
		}
		if (!r && rrc_log_of_thread(rec))
			r = chain(tails, rec->tid, (uint32_t)i, &e->next[i]);
		if (!r && rec->kind == RRC_REC_BIRTH) {
			struct birth *b = &e->births[births++];

			b->rec = (uint32_t)i;
			b->first = RRC_NO_REC;
			/* the id may be an old thread's: from here on it is the new one's */
			struct tail *t = tail_of(tails, (uint32_t)rec->ret);

			if (t)
				t->slot = &b->first;
			else
				r = -ENOMEM;
		}
		i++;
	}
	set_firsts(e, tails);
	tails_free(tails);
	e->rep.records = e->end;
	return r ? rrc_fail(err, r, "out of memory") : 0;
}

const struct rrc_rec *rrc_log_rec(const struct rrc_engine *e, size_t i)
{
	return (const struct rrc_rec *)(e->log + e->off[i]);
}

bool rrc_log_stays_alone(const struct rrc_engine *e, const struct tproc *p, size_t from)
{
	for (size_t i = from; i < e->end; i++) {
		const struct rrc_rec *rec = rrc_log_rec(e, i);

		if (rec->pid == p->ns_pid &&
		    (rec->kind == RRC_REC_EXEC ||
		     (rec->kind == RRC_REC_BIRTH && rec->args[1] != p->ns_pid)))
			return false;
	}
	return true;
}

const struct rrc_rec *rrc_next_rec(const struct rrc_engine *e, const struct tracee *t)
{
	/* RRC_NO_REC is beyond any end */
	return t->next_rec < e->end ? rrc_log_rec(e, t->next_rec) : NULL;
}

void rrc_pass_rec(struct rrc_engine *e, struct tracee *t)
{
	e->done[t->next_rec] = 1;
	t->prev_rec = t->next_rec;
	t->next_rec = e->next[t->next_rec];
}

uint32_t rrc_birth_first(const struct rrc_engine *e, uint32_t i)
{
	size_t lo = 0, hi = e->nbirths;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (e->births[mid].rec == i)
			return e->births[mid].first;
		if (e->births[mid].rec < i)
			lo = mid + 1;
		else
			hi = mid;
	}
	return RRC_NO_REC;
}
