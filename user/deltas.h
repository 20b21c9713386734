/* SPDX-License-Identifier: MIT */
/* What the engines that make deltas have in common: what they keep from one to the next, and a manifest and a
 * delta of what was taken. */
#ifndef RRC_DELTAS_H
#define RRC_DELTAS_H

#include "engines.h"
#include "pages.h"
#include "sent.h"

struct rrc_deltas {
	const struct rrc_checkpointer_opts *o;
	struct rrc_sockets sockets; /* as of so many changes of the descriptor table */
	uint64_t sockets_at;
	int have_sockets;
	struct rrc_rec **restarts; /* of the cut */
	size_t nrestarts;
};
void rrc_deltas_forget(struct rrc_deltas *k);

/* Which descriptor is which connection, unless that is known still. */
int rrc_deltas_sockets(struct rrc_deltas *k, struct rrc_error *err);

/* The cut's records are the collector's, and good only as long as nothing is drained: copies, until they are
 * dropped. */
int rrc_deltas_restarts(struct rrc_deltas *k, const struct rrc_cut *cut, struct rrc_error *err);
void rrc_deltas_drop_restarts(struct rrc_deltas *k);

/* The lock log's head and slots, which the collector writes too, by a mapping of its own that nobody watches: how
 * much of the area at `at` of process pid that is. */
int rrc_deltas_locklog(pid_t pid, uint64_t at, uint64_t *len, struct rrc_error *err);

/* A stack gets larger as it is touched. As the backup has it; 0: there is none. */
struct rrc_deltas_stack {
	uint64_t start, end;
};

/* t->manifest and t->delta: begun, then all threads, then all processes, ended. A process's pages are forgotten,
 * and its stack is what the backup will have. sent: pages as it has them; NULL: all are sent whole. */
int rrc_deltas_begin(struct rrc_deltas *k, struct rrc_taking *t, struct rrc_error *err);
int rrc_deltas_thread(struct rrc_taking *t, const struct rrc_delta_thread *state,
		      const uint8_t *xsave, struct rrc_error *err);
int rrc_deltas_process(struct rrc_taking *t, uint32_t ns_pid, struct rrc_pages *pages,
		       struct rrc_sent *sent, struct rrc_deltas_stack *has,
		       const struct rrc_deltas_stack *now, struct rrc_error *err);
int rrc_deltas_end(struct rrc_taking *t, struct rrc_error *err);

/* All of a delta but the pause has time: the container's own threads come first. */
void rrc_deltas_step_back(int on);

#endif
