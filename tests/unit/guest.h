/* SPDX-License-Identifier: MIT */
/*
 * Small programs in a pid namespace of their own that the replay engine runs by logs written by hand. A
 * guest is a function, in a fork of the test: so a log can name its addresses.
 */
#ifndef GUEST_H
#define GUEST_H

#include <sys/types.h>

#include "engine.h"
#include "help.h"
#include "syscalls.h"

/* What guests read into and write from. */
extern char guest_in[64], guest_out[64];
extern const char guest_digits[];
/* The pipe that every guest reads an end of file from first, and the one that it answers on. */
extern int guest_pipe[2], guest_back[2];

/* No call is answered inside the guest. */
extern bool guest_by_ptrace;

/* Records: a call, a segment for the last record, what kind of descriptor it was about, an end. */
struct rrc_rec *guest_call(struct help_log *l, uint32_t tid, int nr, int64_t ret, uint64_t a,
			   uint64_t b, uint64_t c);
void guest_seg(struct help_log *l, struct rrc_rec *r, int row, int dir, const void *data, size_t n);
void guest_fifo(struct rrc_rec *r, uint64_t obj);
void guest_ends(struct help_log *l, uint32_t tid, int code);

/* The read that every guest starts in: end of file. */
void guest_begins(struct help_log *l);

/* Starts a guest, which is then stopped before its first instruction. */
pid_t guest_start(void (*guest)(void));

/* Replays the log in it. */
int guest_run(pid_t pid, struct help_log *l, struct rrc_engine **e, struct rrc_error *err);

/* Replays the log, goes live, gives what the guest then writes. */
void guest_live(pid_t pid, struct help_log *l, char *buf, size_t size);

#endif
