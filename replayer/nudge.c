// SPDX-License-Identifier: MIT
/* Who is held back and who runs ahead, see nudge.h. */
#include <string.h>

#include "locks.h"
#include "nudge.h"
#include "tracee.h"
#include "util.h"

#define LOOK_NS	 200000ull
#define RUSH_NS	 4000000ull
#define HOLD_MAX 20000000ull /* held no longer than this, whatever happens */

struct step {
	enum rrc_nudge_how how;
	uint32_t back; /* operations before the one that differed */
	uint64_t ns;
};

/* An operation on a lock differed: what decided it was read behind the one before, or a little earlier. */
static const struct step at_operation[] = {
	{ RRC_NUDGE_FIRST, 0, 0 }, { RRC_NUDGE_HOLD, 1, 0 },  { RRC_NUDGE_LAST, 0, 0 },
	{ RRC_NUDGE_RUSH, 0, 0 },  { RRC_NUDGE_HOLD, 2, 0 },  { RRC_NUDGE_HOLD, 3, 0 },
	{ RRC_NUDGE_HOLD, 5, 0 },  { RRC_NUDGE_HOLD, 8, 0 },  { RRC_NUDGE_HOLD, 0, 0 },
	{ RRC_NUDGE_HOLD, 13, 0 }, { RRC_NUDGE_DELAY, 0, 0 }, { RRC_NUDGE_HOLD, 21, 0 },
};

static const struct step at_call[] = {
	{ RRC_NUDGE_LAST, 0, 0 }, { RRC_NUDGE_FIRST, 0, 0 },	   { RRC_NUDGE_DELAY, 0, 0 },
	{ RRC_NUDGE_RUSH, 0, 0 }, { RRC_NUDGE_DELAY, 0, 30000 },   { RRC_NUDGE_DELAY, 0, 100000 },
	{ RRC_NUDGE_NONE, 0, 0 }, { RRC_NUDGE_DELAY, 0, 10000 },   { RRC_NUDGE_DELAY, 0, 300000 },
	{ RRC_NUDGE_NONE, 0, 0 }, { RRC_NUDGE_DELAY, 0, 1000000 }, { RRC_NUDGE_NONE, 0, 0 },
};

static void choose(struct rrc_nudges *n, struct rrc_nudge *g)
{
	const struct step *s = g->at.op ? &at_operation[g->step % RRC_ARRAY_SIZE(at_operation)]
					: &at_call[g->step % RRC_ARRAY_SIZE(at_call)];

	g->how = s->how;
	g->ns = s->ns;
	g->op = g->at.op > s->back ? g->at.op - s->back : 0;
	if (g->at.after == RRC_NO_REC)
		n->first = g->step + 1;
}

bool rrc_nudges_learn(struct rrc_nudges *n, const struct rrc_place *where, unsigned int limit)
{
	struct rrc_nudge *last = n->n ? &n->list[n->n - 1] : NULL;

	if (!n->careful)
		return n->careful = true;
	if (!where->tid)
		return n->first++ < limit;
	/* Not further than before: the same place once more, in another way. */
	if (last && where->head <= last->at.head) {
		if (++last->step >= limit)
			return false;
		choose(n, last);
		return true;
	}
	if (n->n == RRC_NUDGES)
		return false;
	last = &n->list[n->n++];
	*last = (struct rrc_nudge){ .at = *where };
	choose(n, last);
	return true;
}

static void hold(struct rrc_engine *e, struct tracee *t, uint64_t ns)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);

	rrc_nudge_release(e, true);
	e->held = t;
	e->held_quiet = !ns;
	e->held_until = now + (ns ? ns : HOLD_MAX);
}

bool rrc_nudge_resuming(struct rrc_engine *e, struct tracee *t, uint32_t record)
{
	const struct rrc_nudges *n = e->opts.nudges;

	for (size_t i = 0; n && i < n->n; i++) {
		const struct rrc_nudge *g = &n->list[i];

		if (g->at.tid != t->ns_tid || g->at.after != record)
			continue;
		switch (g->how) {
		case RRC_NUDGE_HOLD:
			rrc_locks_hold(e, t, g->op);
			break;
		case RRC_NUDGE_DELAY:
			hold(e, t, g->ns);
			t->state = TR_HELD;
			return true;
		case RRC_NUDGE_RUSH:
			e->rush = t;
			e->rush_until = rrc_now_ns(CLOCK_MONOTONIC) + RUSH_NS;
			break;
		case RRC_NUDGE_NONE:
		case RRC_NUDGE_FIRST:
		case RRC_NUDGE_LAST:
			break;
		}
	}
	return false;
}

enum rrc_nudge_how rrc_nudge_order(const struct rrc_engine *e, const struct tracee *t,
				   uint32_t record)
{
	const struct rrc_nudges *n = e->opts.nudges;

	for (size_t i = 0; n && i < n->n; i++) {
		const struct rrc_nudge *g = &n->list[i];

		if (g->at.tid != t->ns_tid || g->at.after != record)
			continue;
		if (g->how == RRC_NUDGE_LAST)
			return g->how;
		if (g->how == RRC_NUDGE_FIRST || g->how == RRC_NUDGE_RUSH)
			return RRC_NUDGE_FIRST;
	}
	return RRC_NUDGE_NONE;
}

uint64_t rrc_nudge_first(const struct rrc_engine *e, uint64_t from_ns, uint64_t to_ns)
{
	const struct rrc_nudges *n = e->opts.nudges;

	for (size_t i = 0; n && i < n->n; i++) {
		const struct rrc_nudge *g = &n->list[i];
		const struct rrc_rec *rec;
		uint32_t next;

		if (g->how != RRC_NUDGE_FIRST || g->at.after >= e->end || g->at.after < e->head)
			continue;
		rec = rrc_log_rec(e, g->at.after);
		next = e->next[g->at.after];
		if (rec->exit_ns > from_ns && rec->exit_ns < to_ns && next < e->end)
			return rrc_log_rec(e, next)->entry_ns;
	}
	return 0;
}

void rrc_nudge_held(struct rrc_engine *e, struct tracee *t)
{
	hold(e, t, 0);
}

uint64_t rrc_nudge_rush(struct rrc_engine *e)
{
	uint64_t now;

	if (!e->rush)
		return 0;
	now = rrc_now_ns(CLOCK_MONOTONIC);
	if (e->rush->state == TR_RUN && now < e->rush_until)
		return now + LOOK_NS / 4;
	e->rush = NULL;
	return 0;
}

uint64_t rrc_nudge_look(const struct rrc_engine *e)
{
	uint64_t now;

	if (!e->held)
		return 0;
	now = rrc_now_ns(CLOCK_MONOTONIC);
	return e->held_until > now ? rrc_min(e->held_until - now, LOOK_NS) : 1;
}

int rrc_nudge_release(struct rrc_engine *e, bool quiet)
{
	struct tracee *t = e->held;

	if (!t || (!(quiet && e->held_quiet) && rrc_now_ns(CLOCK_MONOTONIC) < e->held_until))
		return 0;
	e->held = NULL;
	if (t->state == TR_HELD)
		return rrc_resume(e, t, 0) ? 0 : 1;
	rrc_locks_hold(e, t, 0);
	return 1;
}
