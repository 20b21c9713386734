// SPDX-License-Identifier: MIT
/* The cut at every instruction: one run of a guest is cut after so many single steps and recorded on, another
 * one is switched to REPLAY after as many and goes by that log. Both must print the same, and what the
 * clock says after the cut.
 *	steps STRIDE[:LIMIT] LIBRARY CMD ARGS… */
#include <limits.h>

#include "run.h"

/* To the guest's breakpoint and n instructions on. False: it ended before. */
static bool advance(struct run *r, long n)
{
	int status;

	rrc_locklog_set_mode(&r->ll, RRC_LL_RECORD);
	if (ptrace(PTRACE_CONT, r->pid, 0, 0) < 0 || waitpid(r->pid, &status, 0) != r->pid ||
	    !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		die("the guest has no breakpoint");
	while (n-- > 0) {
		if (ptrace(PTRACE_SINGLESTEP, r->pid, 0, 0) < 0 ||
		    waitpid(r->pid, &status, 0) != r->pid)
			die("step");
		if (!WIFSTOPPED(status)) {
			r->status = status;
			return false;
		}
	}
	return true;
}

/* False: that many instructions are beyond the guest's end. */
static bool record_from(struct run *r, struct log *log, long n, const char *library, char **argv)
{
	uint32_t i;

	start(r, library, argv);
	if (!advance(r, n)) {
		finish(r);
		return false;
	}
	memset(log, 0, sizeof(*log));
	drain(r, log);
	for (i = 0; i < RRC_LL_SLOTS; i++)
		log->feed[i].count = 0; /* before the cut */
	go(r);
	while (!step(r, 1))
		drain(r, log);
	drain(r, log);
	while (r->out >= 0)
		take_output(r);
	for (i = 0; i < RRC_LL_SLOTS; i++)
		log->feed[i].count = rrc_locklog_settle(log->feed[i].events, log->feed[i].count);
	return true;
}

/* The same digests, and of the three clock readings those after the cut. */
static bool same(const struct run *a, const struct run *b, const struct log *log)
{
	uint64_t x[5], y[5];
	uint32_t i, readings = 0;

	for (i = 0; i < log->feed[0].count; i++)
		readings += log->feed[0].events[i].kind == RRC_LL_CLOCK;
	for (i = 0; i < 5; i++) {
		x[i] = strtoul(a->output + 6 + i * 17, NULL, 16);
		y[i] = strtoul(b->output + 6 + i * 17, NULL, 16);
	}
	if (a->length != b->length || x[0] != y[0] || x[1] != y[1])
		return false;
	for (i = 0; i < readings; i++)
		if (x[4 - i] != y[4 - i])
			return false;
	return true;
}

static bool replay_from(struct run *r, const struct run *first, const struct log *log, long n,
			const char *library, char **argv)
{
	int quiet = 0;
	bool equal;

	start(r, library, argv);
	if (!advance(r, n))
		return false;
	rrc_locklog_replay(&r->ll, 0);
	feed(r, log);
	go(r);
	while (!step(r, 100)) {
		if (++quiet < 20)
			continue;
		describe(r);
		kill(r->pid, SIGKILL);
		waitpid(r->pid, &r->status, 0);
		break;
	}
	while (r->out >= 0)
		take_output(r);
	equal = r->status == 0 && same(r, first, log);
	finish(r);
	return equal;
}

int main(int argc, char **argv)
{
	static struct run first, again;
	static struct log log;
	long n, stride, limit, cuts = 0, inside = 0, bad = 0;
	char *colon;

	if (argc < 4)
		return 2;
	stride = strtol(argv[1], &colon, 10);
	limit = *colon == ':' ? atol(colon + 1) : LONG_MAX;
	for (n = 0; n < limit && record_from(&first, &log, n, argv[2], argv + 3); n += stride) {
		/* the vDSO takes another way now and then: then the two cuts are not the same one */
		bool good = replay_from(&again, &first, &log, n, argv[2], argv + 3);

		finish(&first);
		if (!good && record_from(&first, &log, n, argv[2], argv + 3)) {
			good = replay_from(&again, &first, &log, n, argv[2], argv + 3);
			finish(&first);
		}
		cuts++;
		if (!good) {
			bad++;
			printf("# after %ld instructions: %.*s# %.*s", n, (int)first.length,
			       first.output, (int)again.length, again.output);
		}
		for (uint32_t i = 0; i < RRC_LL_SLOTS; i++)
			free(log.feed[i].events);
		if (log.feed[0].count)
			inside++;
		else if (inside)
			break; /* nothing of it is left after the cut */
	}
	printf("# %ld cuts, %ld of them before the last event, %ld not replayed\n", cuts, inside,
	       bad);
	return bad || inside < 20;
}
