// SPDX-License-Identifier: MIT
/* The index of a log: each thread's records in their order, births, and where a replay must end. */
#include <errno.h>

#include "help.h"
#include "tracee.h"

struct indexed {
	struct rrc_engine e;
	struct help_log l;
	struct tracee t;
};

static void start(struct indexed *x)
{
	memset(x, 0, sizeof(*x));
	x->t.ns_tid = 1;
	x->t.next_rec = RRC_NO_REC;
	x->e.by_ns[1] = &x->t;
}

static int make_index(struct indexed *x, struct rrc_error *err)
{
	x->e.log = x->l.bytes;
	x->e.len = x->l.len;
	return rrc_log_index(&x->e, err);
}

static void drop(struct indexed *x)
{
	free(x->e.off);
	free(x->e.next);
	free(x->e.done);
	free(x->e.births);
}

static struct rrc_rec *death(struct indexed *x, uint32_t tid)
{
	return help_rec(&x->l, RRC_REC_DEATH, tid);
}

static struct rrc_rec *birth(struct indexed *x, uint32_t tid, uint32_t child)
{
	struct rrc_rec *r = help_rec(&x->l, RRC_REC_BIRTH, tid);

	r->ret = child;
	r->args[1] = child;
	return r;
}

Test(logindex, threads_are_chained)
{
	struct rrc_error err = { 0 };
	struct indexed x;

	start(&x);
	birth(&x, 1, 2); /* 0 */
	death(&x, 2); /* 1 */
	help_rec(&x.l, RRC_REC_CUT, 0); /* 2: nobody's */
	birth(&x, 1, 2); /* 3: the id again */
	death(&x, 1); /* 4 */
	death(&x, 2); /* 5 */
	cr_assert_eq(make_index(&x, &err), 0, "%s", err.msg);
	cr_assert(x.e.n == 6 && x.e.end == 6 && x.e.nbirths == 2);
	cr_assert_eq(x.t.next_rec, 0u);
	cr_assert(x.e.next[0] == 3 && x.e.next[3] == 4 && x.e.next[4] == RRC_NO_REC);
	cr_assert(rrc_birth_first(&x.e, 0) == 1 && rrc_birth_first(&x.e, 3) == 5);
	cr_assert(rrc_birth_first(&x.e, 1) == RRC_NO_REC, "not a birth");
	cr_assert(x.e.next[1] == RRC_NO_REC, "the one that had the id before is gone");
	for (uint32_t i = 0; i < 6; i++)
		cr_assert_eq((const uint8_t *)rrc_log_rec(&x.e, i),
			     x.l.bytes + i * sizeof(struct rrc_rec));
	cr_assert_eq(rrc_next_rec(&x.e, &x.t), rrc_log_rec(&x.e, 0));
	rrc_pass_rec(&x.e, &x.t);
	cr_assert_eq(rrc_next_rec(&x.e, &x.t), rrc_log_rec(&x.e, 3));
	cr_assert(x.e.done[0] && !x.e.done[3]);
	drop(&x);
}

/* Rule 4: nothing behind what cannot be replayed is. */
Test(logindex, ends_before_what_cannot_be_replayed)
{
	static const uint16_t flags[] = { RRC_F_BARRIER,   RRC_F_FAULT,	 RRC_F_TRUNC,
					  RRC_F_UNPATCHED, RRC_F_COMPAT, 0 };
	struct rrc_error err = { 0 };
	struct indexed x;

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		struct rrc_rec *r;

		start(&x);
		death(&x, 2);
		r = flags[i] ? death(&x, 1) : help_rec(&x.l, RRC_REC_LOST, 0);
		r->flags = flags[i];
		death(&x, 3);
		cr_assert_eq(make_index(&x, &err), 0, "%s", err.msg);
		cr_assert(x.e.n == 3 && x.e.end == 1, "flags %x", flags[i]);
		cr_assert_null(rrc_next_rec(&x.e, &x.t), "flags %x", flags[i]);
		drop(&x);
	}
	start(&x);
	cr_assert_eq(make_index(&x, &err), 0, "%s", err.msg);
	cr_assert(x.e.n == 0 && x.e.end == 0 && !rrc_next_rec(&x.e, &x.t));
	drop(&x);
}

/* What is missing may do so anywhere in what came with the word of it; that may be more than there is. */
Test(logindex, ends_where_what_is_missing_may_have_been)
{
	static const struct {
		uint64_t back;
		size_t end;
	} cases[] = { { 0, 3 },
		      { sizeof(struct rrc_rec), 2 },
		      { 2 * sizeof(struct rrc_rec) - 8, 2 },
		      { 3 * sizeof(struct rrc_rec), 0 },
		      { UINT64_MAX, 0 } };
	struct rrc_error err = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct indexed x;

		start(&x);
		death(&x, 1);
		death(&x, 2);
		death(&x, 3);
		help_rec(&x.l, RRC_REC_LOST, 0)->args[0] = cases[i].back;
		cr_assert_eq(make_index(&x, &err), 0, "%s", err.msg);
		cr_assert(x.e.n == 4 && x.e.end == cases[i].end, "case %zu: %zu", i, x.e.end);
		drop(&x);
	}
}

Test(logindex, a_damaged_log_is_refused)
{
	struct rrc_error err = { 0 };
	struct indexed x;

	start(&x);
	death(&x, 1);
	death(&x, 1)->size = 8;
	cr_assert_lt(make_index(&x, &err), 0);
	cr_assert(strstr(err.msg, "after record 1"), "%s", err.msg);
	drop(&x);
}
