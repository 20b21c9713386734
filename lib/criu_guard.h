/* SPDX-License-Identifier: MIT */
/*
 * A process of ours that owns a dump, so that it ends whatever happens to us. CRIU keeps the container stopped, with
 * code of its own inside, and asks us at two places. Killing it there would leave that code; with us gone nobody would
 * answer. So it is the child of one that outlives us, answers "no" in our stead, and CRIU takes back what it did.
 */
#ifndef RRC_CRIU_GUARD_H
#define RRC_CRIU_GUARD_H

#include <sys/types.h>

struct rrc_criu_questions {
	char script[512], ask_path[512], answer_path[512];
	int ask, answer; /* fifos, each open both ways: who opens one never waits for us */
};

/* Starts it, and CRIU (start(ctx), a fork) by it. Returns its pid, which ends with CRIU's exit code, or a negative
 * errno; *alive is to be closed after that. */
pid_t rrc_criu_guard(struct rrc_criu_questions *q, pid_t (*start)(const void *ctx), const void *ctx,
		     int *alive);

/* What is left of the questions. */
void rrc_criu_questions_close(struct rrc_criu_questions *q);

#endif
