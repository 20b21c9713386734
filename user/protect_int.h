/* SPDX-License-Identifier: MIT */
/* What the files of the main loop share: protect.c (set-up and end), loop.c (events), loss.c (no backup). */
#ifndef RRC_PROTECT_INT_H
#define RRC_PROTECT_INT_H

#include <limits.h>
#include <net/if.h>

#include "backup.h"
#include "collector.h"
#include "container.h"
#include "control.h"
#include "engines.h"
#include "execwatch.h"
#include "gate.h"
#include "hold.h"
#include "options.h"
#include "outdir.h"
#include "recorder.h"
#include "spawn.h"
#include "worker.h"

enum rrc_protect_state {
	RRC_STATE_OPEN, /* not protected yet, or no longer by the operator's choice: nothing is held */
	RRC_STATE_HELD, /* no backup, and nothing may leave without one */
	RRC_STATE_PROTECTED,
	RRC_STATE_SILENT, /* a backup serves: this container must never speak again */
};

struct rrc_protect {
	const struct rrc_options *o;
	struct rrc_container container;
	char name[80]; /* for directories and the backup */
	char run_dir[PATH_MAX];
	char ifname[IFNAMSIZ];
	int net_fd;
	struct rrc_spawn spawn;
	int spawned;
	struct rrc_recorder *recorder;
	struct rrc_collector *collector;
	struct rrc_changes *changes;
	const struct rrc_ckpt_engine *engine;
	int deltas; /* it can make them, and the receiver can use them */
	uint64_t epoch_ns,
		whole_ns; /* between checkpoints, and between whole ones; 0: only where needed */
	struct rrc_gate *gate;
	struct rrc_hold *hold;
	struct rrc_execwatch *watch;
	struct rrc_worker *worker;
	struct rrc_outdir *out;
	struct rrc_control *control;
	struct rrc_backup backup;
	int have_backup;
	enum rrc_protect_state state;
	uint64_t number; /* of the checkpoint taken last */
	uint64_t committed, committed_cut;
	uint64_t began; /* when the newest checkpoint began */
	uint64_t whole_began; /* … and the newest whole one */
	int whole_due; /* a delta failed: at once */
	unsigned int refused; /* deltas in a row that the backup did not want, or that failed */
	uint64_t counted_at, counted,
		took_ns; /* at the last commit: when, records; how long it took */
	int lengthened; /* said that checkpoints take longer than an epoch */
	uint64_t retry_at; /* a failed checkpoint is not tried again before */
	int first; /* the receiver has nothing yet */
	int epoll, timer, signals, init_fd;
	uint64_t status_at, reconnect_at;
	int wants_write; /* epoll tells when the log link takes more */
	int done; /* leave the loop */
	int ended; /* the container ended by itself */
	struct rrc_error err; /* why, if done is for a failure */
};

#define RRC_TICK_NS 10000000ull /* sign of life, and whatever is due */

/* loop.c */
int rrc_protect_watch(struct rrc_protect *p, int fd, uint32_t events);
int rrc_protect_loop(struct rrc_protect *p, struct rrc_error *err);
int rrc_protect_begin_checkpoint(struct rrc_protect *p, struct rrc_error *err);
void rrc_protect_release(struct rrc_protect *p, uint64_t now);
int rrc_protect_drain(struct rrc_protect *p, uint64_t now);
int rrc_protect_open_gate(struct rrc_protect *p, struct rrc_error *err);
void rrc_protect_status(struct rrc_protect *p, uint64_t now);

/* loss.c */
int rrc_protect_join(struct rrc_protect *p, int timeout_ms, struct rrc_error *err);
void rrc_protect_lost(struct rrc_protect *p, const struct rrc_error *why);
void rrc_protect_superseded(struct rrc_protect *p);
void rrc_protect_rejoin(struct rrc_protect *p, uint64_t now);

#endif
