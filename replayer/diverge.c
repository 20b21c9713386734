// SPDX-License-Identifier: MIT
/* Where replay and log part, in clear text; and the steps of a replay for people who look for why. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "recprint.h"
#include "tracee.h"
#include "util.h"

int rrc_diverge(struct rrc_engine *e, size_t i, const struct tracee *t, struct rrc_error *err,
		const char *fmt, ...)
{
	char seen[1300], *record = NULL;
	size_t size = 0, n;
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(seen, sizeof(seen), fmt, ap);
	va_end(ap);
	f = i < e->n ? open_memstream(&record, &size) : NULL;
	if (f) {
		rrc_rec_print(f, rrc_log_rec(e, i), 0, e->off[i]);
		fclose(f);
	}
	n = record ? strcspn(record, "\n") : 0;
	snprintf(e->rep.first, sizeof(e->rep.first),
		 "record %zu of %zu, thread %u: %s; the log has: %.*s", i, e->n, t ? t->ns_tid : 0,
		 seen, (int)rrc_min(n, (size_t)400), record ? record : "its end");
	free(record);
	e->rep.where =
		(struct rrc_place){ t ? t->ns_tid : 0, t ? t->prev_rec : RRC_NO_REC, 0, e->head };
	e->diverged = true;
	return rrc_fail_exit(err, RRC_EXIT_DIVERGED, -EILSEQ, "%s", e->rep.first);
}

void rrc_trace_step(struct rrc_engine *e, const struct tracee *t, const char *what)
{
	if (!e->opts.trace)
		return;
	fprintf(e->opts.trace, "%-9s thread %u ip %#llx head %zu: ", what, t->ns_tid,
		(unsigned long long)t->regs.rip, e->head);
	if (t->next_rec < e->n)
		rrc_rec_print(e->opts.trace, rrc_log_rec(e, t->next_rec), 0, e->off[t->next_rec]);
	else
		fprintf(e->opts.trace, "-\n");
}
