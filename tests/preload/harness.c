// SPDX-License-Identifier: MIT
/* The lock log without the rest: plays the collector for a program that it starts, then the replayer for the
 * same program from its beginning, and compares what it printed.
 *	harness [-n REPLAYS] [-p PATIENCE_NS] [-d THOUSANDTH] [-l DRAINS] [-r] LIBRARY CMD ARGS…
 * -r: only record, as a drainer. -l DRAINS: the log ends after so many drains, and the replay goes live there; it must
 * come to a good end. -d: spoil the log: the order of that event (in thousandths) with the next on its lock
 * is exchanged; the replay must not go through. Exit 0: all replays equal; 1: not; 3: no log. */
#include "run.h"

/* Operations of a thread are numbered upwards, whoever interrupted it. */
static void check_log(const struct log *log)
{
	uint32_t i, j;

	for (i = 0; i < RRC_LL_SLOTS; i++) {
		const struct rrc_locklog_feed *f = &log->feed[i];

		for (j = 0; j < f->count; j++)
			if (!f->events[j].kind || (j && f->events[j].n <= f->events[j - 1].n)) {
				fprintf(stderr, "harness: slot %u, event %u is out of order\n", i,
					j);
				exit(1);
			}
	}
}

/* Events of the log are what came before `drains` drains (0: all of them). */
static void record(struct run *r, struct log *log, const char *library, char **argv, int drains)
{
	struct log behind = { 0 };
	int n = 0;
	uint32_t i;

	memset(log, 0, sizeof(*log));
	start(r, library, argv);
	rrc_locklog_set_mode(&r->ll, RRC_LL_RECORD);
	go(r);
	while (!step(r, 1))
		drain(r, drains && n++ >= drains ? &behind : log);
	drain(r, drains && n >= drains ? &behind : log);
	while (r->out >= 0)
		take_output(r);
	for (i = 0; i < RRC_LL_SLOTS; i++) {
		log->feed[i].count = rrc_locklog_settle(log->feed[i].events, log->feed[i].count);
		log->skipped += r->ll.area->slot[i].skipped;
	}
	check_log(log);
	rrc_locklog_resolve(log->feed);
}

/* True: it printed what the recorded run did. quiet_s: seconds without progress that end it. */
static bool replay(struct run *r, const struct run *first, const struct log *log,
		   const char *library, char **argv, uint32_t patience, int quiet_s, bool loud)
{
	uint64_t last = 0, now;
	int quiet = 0;
	bool equal;

	start(r, library, argv);
	rrc_locklog_replay(&r->ll, patience);
	feed(r, log);
	go(r);
	while (!step(r, 100)) {
		now = progress(r);
		quiet = now == last ? quiet + 1 : 0;
		last = now;
		if (quiet < quiet_s * 10)
			continue;
		if (loud)
			describe(r);
		kill(r->pid, SIGKILL);
		waitpid(r->pid, &r->status, 0);
		break;
	}
	while (r->out >= 0)
		take_output(r);
	equal = r->status == first->status && r->length == first->length &&
		!memcmp(r->output, first->output, r->length);
	if (!equal && loud)
		printf("# recorded (status %x): %.*s# replayed (status %x): %.*s\n", first->status,
		       (int)first->length, first->output, r->status, (int)r->length, r->output);
	finish(r);
	return equal;
}

/* The log is at its end when nothing moves any more; then for real. True: the program ended well. */
static bool go_live(struct run *r, const struct log *log, const char *library, char **argv,
		    uint32_t patience)
{
	uint64_t last = 0, now;
	uint32_t states[16] = { 0 }, i, at_end = 0;
	bool ended;
	int quiet = 0;

	start(r, library, argv);
	rrc_locklog_replay(&r->ll, patience);
	feed(r, log);
	go(r);
	while (!(ended = step(r, 20)) && quiet < 10) {
		now = progress(r);
		quiet = now == last ? quiet + 1 : 0;
		last = now;
	}
	for (i = 0; i < r->ll.area->slots; i++) {
		states[r->ll.area->slot[i].state & 15]++;
		at_end += r->ll.area->slot[i].ops >= log->feed[i].total;
	}
	printf("# at the end of the log: %u parked, %u wait for a turn, %u block, %u mismatch; %u of %u "
	       "slots have done all of it\n",
	       states[RRC_LL_PARKED_END], states[RRC_LL_WAIT_TURN], states[RRC_LL_IN_CALL],
	       states[RRC_LL_MISMATCH], at_end, r->ll.area->slots);
	if (states[RRC_LL_MISMATCH])
		describe(r);
	rrc_locklog_live(&r->ll);
	for (quiet = 0; !ended && quiet < 100; quiet++)
		ended = step(r, 100);
	if (!ended) {
		describe(r);
		kill(r->pid, SIGKILL);
		waitpid(r->pid, &r->status, 0);
	}
	while (r->out >= 0)
		take_output(r);
	finish(r);
	return r->status == 0 && r->length && !states[RRC_LL_MISMATCH];
}

static bool same_lock(const struct rrc_ll_event *a, const struct rrc_ll_event *b)
{
	return a->lock == b->lock && a->kind < RRC_LL_BIRTH && b->kind < RRC_LL_BIRTH;
}

/* Gives an event's turn to the thread that has the next on the same lock, and the reverse. */
static bool spoil(struct log *log, unsigned int thousandths)
{
	uint32_t i, j, k;

	for (i = 1; i < RRC_LL_SLOTS; i++) {
		struct rrc_locklog_feed *f = &log->feed[i];

		for (k = f->count * thousandths / 1000; k < f->count; k++) {
			struct rrc_ll_event *e = &f->events[k];

			for (j = 1; j < RRC_LL_SLOTS && j != i; j++) {
				struct rrc_locklog_feed *g = &log->feed[j];

				for (uint32_t m = 0; m < g->count; m++) {
					struct rrc_ll_event *o = &g->events[m];

					if (!same_lock(e, o) ||
					    RRC_LL_CHANGES(o->value) !=
						    RRC_LL_CHANGES(e->value) + 1)
						continue;
					uint64_t was = o->value;

					o->value = e->value;
					e->value = was;
					return true;
				}
			}
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	int replays = 1, opt, i, bad = 0;
	unsigned int patience = 0, spoilt = 0, drains = 0;
	struct run first, again;
	bool only = false;
	uint64_t events = 0, ops = 0;
	struct log log;

	while ((opt = getopt(argc, argv, "+n:p:d:l:r")) != -1) {
		switch (opt) {
		case 'n':
			replays = atoi(optarg);
			break;
		case 'p':
			patience = (unsigned int)atoi(optarg);
			break;
		case 'd':
			spoilt = (unsigned int)atoi(optarg);
			break;
		case 'l':
			drains = (unsigned int)atoi(optarg);
			break;
		case 'r':
			only = true;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind < 2)
		return 2;
	record(&first, &log, argv[optind], argv + optind + 1, (int)drains);
	if (only) {
		fwrite(first.output, 1, first.length, stdout);
		return WIFEXITED(first.status) ? WEXITSTATUS(first.status) : 128;
	}
	for (i = 0; i < RRC_LL_SLOTS; i++) {
		events += log.feed[i].count;
		ops += log.feed[i].total;
	}
	if (spoilt && !spoil(&log, spoilt)) {
		printf("# nothing to exchange\n");
		return 3;
	}
	for (i = 0; drains && i < replays; i++)
		bad += !go_live(&again, &log, argv[optind], argv + optind + 1, patience);
	for (i = 0; !drains && i < replays; i++)
		bad += !replay(&again, &first, &log, argv[optind], argv + optind + 1, patience,
			       spoilt ? 1 : 5, !spoilt);
	printf("# %s: %lu operations, %lu events, %d of %d replays %s, skipped %u\n",
	       argv[argc - 1], ops, events, replays - bad, replays, drains ? "went live" : "equal",
	       log.skipped);
	fwrite(first.output, 1, first.length, stdout);
	finish(&first);
	return bad ? 1 : 0;
}
