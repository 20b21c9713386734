// SPDX-License-Identifier: MIT
/* A replay in which nothing moves any more: who waits for whom, and who is to blame. */
#include <string.h>

#include "locks.h"
#include "tracee.h"
#include "util.h"

#define BLAME_MAX 8

/* "thread 7 stands before a call: read" */
static void describe(const struct rrc_engine *e, const struct tracee *t, char *buf, size_t size)
{
	static const char *const states[] = {
		[TR_RUN] = "computes",		 [TR_CALL] = "stands before a call",
		[TR_BUSY] = "makes a call",	 [TR_DONE] = "has made a call",
		[TR_LOCAL] = "waits in a futex", [TR_NEW] = "is born",
		[TR_HELD] = "is held back",	 [TR_LATER] = "is later",
		[TR_PAUSED] = "is stopped",	 [TR_EXITING] = "ends",
		[TR_DEAD] = "has ended",
	};
	const char *call =
		t && t->state == TR_CALL ? rrc_sysname((unsigned int)t->regs.orig_rax) : NULL;
	char locks[400];

	if (!t) {
		snprintf(buf, size, "the thread is not there");
		return;
	}
	rrc_locks_describe(e, t, locks, sizeof(locks));
	snprintf(buf, size, "thread %u %s%s%s%s%s", t->ns_tid, states[t->state], call ? ": " : "",
		 call ? call : "", locks[0] ? "; " : "", locks);
}

/* "; thread 9 makes a call": those that are not where they would wait for the log. */
static void describe_moving(const struct rrc_engine *e, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (const struct tracee *t = e->threads; t && n < size; t = t->next) {
		char text[500];

		if (t->state != TR_RUN && t->state != TR_BUSY && t->state != TR_NEW)
			continue;
		describe(e, t, text, sizeof(text));
		n += (size_t)snprintf(buf + n, size - n, "; %s", text);
	}
}

int rrc_stalled(struct rrc_engine *e, const char *how, struct rrc_error *err)
{
	const struct rrc_rec *rec = e->head < e->end ? rrc_log_rec(e, e->head) : NULL;
	const struct tracee *t = rec ? rrc_tracee_ns(e, rec->tid) : NULL;
	const struct tracee *whom = t, *next;
	char head[600], other[600] = "", moving[600];
	uint32_t op = 0;

	/* who waits for whom: the last one is to blame */
	for (int i = 0; i < BLAME_MAX && rrc_locks_blame(e, whom, &next, &op); i++)
		whom = next;
	describe(e, t, head, sizeof(head));
	if (whom != t)
		describe(e, whom, other, sizeof(other));
	describe_moving(e, moving, sizeof(moving));
	rrc_diverge(e, e->head, t, err, "%s, %s%s%s%s", how, head, whom != t ? "; before it, " : "",
		    other, moving);
	if (whom != t)
		e->rep.where = (struct rrc_place){ whom->ns_tid, whom->prev_rec, op, e->head };
	return err->code;
}
