/* SPDX-License-Identifier: MIT */
/*
 * The replay engine: re-executes one epoch's log in a stopped process tree, checks every call, and
 * leaves each thread parked where its log ends, ready to go live or to be killed.
 *
 * Who uses it must have no other children while it runs: it waits for any. The thread that made the
 * engine must be the one that runs it (ptrace).
 */
#ifndef RRC_ENGINE_H
#define RRC_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "err.h"
#include "nudge.h"
#include "record.h"

#define RRC_PATIENCE_NS 10000000 /* a usual patience */

struct rrc_engine_opts {
	bool fs_exact; /* files are as they were: another outcome is a divergence */
	bool kill_on_exit; /* the tree dies with the engine's process (verification) */
	unsigned int stall_ms; /* nothing moved for so long: divergence; 0: 10 s */
	const struct rrc_nudges *nudges; /* other timing, from attempts before; or NULL */
	bool by_ptrace; /* no call is answered inside the program: slower, to compare */
	bool no_pacing; /* records are passed as fast as can be, even while other threads compute */
	int64_t mono_ns, real_ns; /* the program's clocks, less CLOCK_MONOTONIC of the primary */
	uint32_t patience_ns; /* of lock logs, for programs that spin (locklog.h, TOLERANCE) */
	int cpu; /* engine and tree share this CPU; < 0: the one it is on */
	/* Connections that were there at the checkpoint: container pid, descriptor, cookie. */
	const struct rrc_engine_held {
		uint32_t pid;
		int fd;
		uint64_t cookie;
	} * held;
	size_t nheld;
	/* Calls that stood waiting at the checkpoint and lost their place in the image: CRIU turns
	 * -ERESTART_RESTARTBLOCK into -EINTR. From the last record before the cut, per thread. */
	const struct rrc_rec *const *restarts;
	size_t nrestarts;
	/* Sees each record as the replay passes it, those that are not of a thread too. May be NULL. */
	void (*seen)(void *ctx, const struct rrc_rec *rec);
	void *ctx;
	FILE *trace; /* each step in clear text, for people; NULL: none */
};

struct rrc_engine_report {
	uint64_t records; /* of the log, up to the end of what can be replayed */
	uint64_t passed; /* so far */
	uint64_t calls; /* matched */
	uint64_t emulated, executed;
	uint64_t inproc; /* of the emulated ones, inside the program */
	uint64_t signals, births, deaths;
	uint64_t outputs; /* output calls whose bytes were compared */
	uint64_t output_bytes;
	uint64_t bytes; /* compared in all: inputs and outputs */
	uint64_t fs_fixups; /* files were not as they had been: the recorded outcome was kept */
	uint64_t skipped; /* records of threads that are not in the tree */
	uint64_t barrier_at; /* position of the record that ended it early; 0: none */
	uint64_t ns; /* that the run took */
	struct rrc_place where; /* … and which thread went another way */
	char first[2048]; /* divergence: what was asked and what the log has */
};

struct rrc_engine;

/* Where in the log (bytes of whole records) a run ends: before what cannot be replayed; len if all can be. */
size_t rrc_log_end(const uint8_t *log, size_t len);

/* Seizes the tree whose root is init (as seen from here): restored in a group stop, or stopped by the
 * caller's SIGSTOP. The log's records start right after the cut; they must stay where they are. */
struct rrc_engine *rrc_engine_new(pid_t init, const void *log, size_t len,
				  const struct rrc_engine_opts *opts, struct rrc_error *err);

/* 0: each thread is parked at the end of its log. -EILSEQ: it diverged, the report says where. Other
 * negative errno: it failed. */
int rrc_engine_run(struct rrc_engine *e, struct rrc_error *err);

const struct rrc_engine_report *rrc_engine_report(const struct rrc_engine *e);

/* A descriptor of the socket that is this connection (its cookie on the primary, as in the log), the caller's from
 * now on: the engine forgets it, since with many connections two each are too many. Negative: the program
 * holds none. */
int rrc_engine_conn(struct rrc_engine *e, uint64_t cookie);

/* After a run that returned 0: contents of pipes put right, vDSOs restored, signals that were left
 * over sent, every thread running on its own with its parked call. */
int rrc_engine_golive(struct rrc_engine *e, struct rrc_error *err);

/* Kills what is left of the tree, if it did not go live, and frees everything. NULL is fine. */
void rrc_engine_kill(struct rrc_engine *e);

/* Frees everything after go-live. */
void rrc_engine_free(struct rrc_engine *e);

#endif
