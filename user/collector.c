/* SPDX-License-Identifier: MIT */
/* Ring to log frames, see collector.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "collector.h"
#include "locks.h"
#include "recorder.h"
#include "sendfile.h"
#include "syscalls.h"
#include "util.h"
#include "wire.h"

#define RRC_BATCH	  (1u << 20) /* records are made a frame when so many bytes are there */
#define RRC_RESTART_BLOCK 516 /* ERESTART_RESTARTBLOCK: the kernel's own, never seen by programs */
#define RRC_NO_BARRIER	  UINT64_MAX

struct rrc_collector {
	struct rrc_collector_opts o;
	struct rrc_packer *packer;
	struct rrc_sendfile *sendfile;
	struct rrc_locks *locks;
	uint8_t *buf; /* records not emitted yet */
	size_t len, size;
	uint64_t pos; /* of the end of buf */
	uint64_t stamp;
	int emitting;
	int files_changed, files_mapped;
	int failed; /* first error of this drain */
	uint64_t lost_seen;
	/* First barrier before and behind the newest cut: a commit forgets the former. */
	uint64_t barrier, barrier_after_cut, cut_pos;
	unsigned int barrier_nr;
	struct rrc_rec **restarts;
	size_t nrestarts;
	struct rrc_collector_stats stats;
};

struct rrc_collector *rrc_collector_new(const struct rrc_collector_opts *o, struct rrc_error *err)
{
	struct rrc_collector *c = calloc(1, sizeof(*c));

	if (!c)
		goto nomem;
	c->o = *o;
	c->barrier = c->barrier_after_cut = RRC_NO_BARRIER;
	c->packer = rrc_packer_new();
	c->sendfile = rrc_sendfile_new(o->pidns);
	c->locks = rrc_locks_new(o->pidns);
	c->size = 2 * RRC_BATCH;
	c->buf = malloc(c->size);
	if (!c->packer || !c->buf || !c->sendfile || !c->locks)
		goto nomem;
	return c;
nomem:
	rrc_collector_free(c);
	rrc_fail(err, ENOMEM, "no memory for the collector");
	return NULL;
}

void rrc_collector_free(struct rrc_collector *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->nrestarts; i++)
		free(c->restarts[i]);
	free(c->restarts);
	rrc_packer_free(c->packer);
	rrc_sendfile_free(c->sendfile);
	rrc_locks_free(c->locks);
	free(c->buf);
	free(c);
}

/* Makes what is in the buffer a frame. */
static int flush(struct rrc_collector *c)
{
	const void *frame;
	long n;

	if (!c->len)
		return 0;
	if (c->emitting) {
		n = rrc_packer_log(c->packer, c->buf, (uint32_t)c->len, c->pos - c->len, c->stamp,
				   &frame);
		if (n < 0)
			return (int)n;
		c->stats.frames++;
		c->stats.frame_bytes += (uint64_t)n;
		c->len = 0;
		return c->o.emit(c->o.ctx, frame, (size_t)n);
	}
	c->len = 0;
	return 0;
}

static uint8_t *room(struct rrc_collector *c, size_t n)
{
	if (c->len + n > c->size) {
		uint8_t *bigger = realloc(c->buf, c->len + n + RRC_BATCH);

		if (!bigger)
			return NULL;
		c->buf = bigger;
		c->size = c->len + n + RRC_BATCH;
	}
	return c->buf + c->len;
}

static void barrier(struct rrc_collector *c, const struct rrc_rec *rec)
{
	int call =
		(rec->kind == RRC_REC_SYSCALL || rec->kind == RRC_REC_ENTER) && rec->nr < RRC_NSYS;
	uint64_t at = rec->kind == RRC_REC_LOST ? c->pos - rec->args[0] : c->pos;

	c->stats.barriers++;
	if (call)
		c->stats.call_barriers[rec->nr]++;
	else if (rec->kind < RRC_REC_KINDS)
		c->stats.kind_barriers[rec->kind]++;
	if (at < c->barrier_after_cut) {
		c->barrier_after_cut = at;
		c->barrier_nr = rec->nr;
	}
}

/* Remembers, per thread, a call that ended in a restart block and no call after it. */
static void note_restart(struct rrc_collector *c, const struct rrc_rec *rec)
{
	struct rrc_rec **bigger, *copy;

	for (size_t i = 0; i < c->nrestarts; i++) {
		if (c->restarts[i]->tid != rec->tid)
			continue;
		free(c->restarts[i]);
		c->restarts[i] = c->restarts[--c->nrestarts];
		break;
	}
	if (rec->ret != -RRC_RESTART_BLOCK)
		return;
	copy = malloc(rec->size);
	bigger = realloc(c->restarts, (c->nrestarts + 1) * sizeof(*bigger));
	if (bigger)
		c->restarts = bigger;
	if (!copy || !bigger) {
		free(copy);
		return;
	}
	memcpy(copy, rec, rec->size);
	c->restarts[c->nrestarts++] = copy;
}

static int append(struct rrc_collector *c, const struct rrc_rec *rec)
{
	uint8_t *at = room(c, rec->size);

	if (!at)
		return -ENOMEM;
	memcpy(at, rec, rec->size);
	if (rec->flags & RRC_F_BARRIER)
		barrier(c, rec);
	if (c->o.changes)
		rrc_changes_note(c->o.changes, rec);
	c->len += rec->size;
	c->pos += rec->size;
	c->stats.records++;
	c->stats.raw_bytes += rec->size;
	return 0;
}

/* Calls that only might change a file count, but not those on what is no file. */
static int may_change_files(const struct rrc_rec *rec)
{
	return rec->ret >= 0 && rec->nr < RRC_NSYS && rrc_sysrow(rec->nr)->flags & RRC_ROW_FILES &&
	       (rec->fdkind == RRC_FD_REG || rec->fdkind == RRC_FD_DIR ||
		rec->fdkind == RRC_FD_NONE);
}

/* The rings of hundreds of threads, all full, beside a very long record: a frame holds no more. */
static int on_locks(void *ctx, const struct rrc_rec *rec)
{
	struct rrc_collector *c = ctx;
	int ret = c->len + rec->size > RRC_FRAME_MAX ? flush(c) : 0;

	return ret ? ret : append(c, rec);
}

/*
 * A frame is what the backup has or has not: the lock log of its calls is in it (rule 1). Threads write theirs
 * before they make the call, so what is read now has it.
 */
static int close_frame(struct rrc_collector *c)
{
	int ret = rrc_locks_drain(c->locks, on_locks, c);

	return ret ? ret : flush(c);
}

static int on_record(void *ctx, const struct rrc_rec *rec)
{
	struct rrc_collector *c = ctx;
	int ret = 0;

	if (rec->kind == RRC_REC_SYSCALL && rec->nr == SYS_sendfile && rec->ret > 0)
		rec = rrc_sendfile_complete(c->sendfile, rec);
	if (c->len + rec->size > RRC_BATCH)
		ret = close_frame(c);
	if (!ret)
		ret = append(c, rec);
	if (ret && !c->failed)
		c->failed = ret;
	if (rec->kind != RRC_REC_SYSCALL)
		rrc_locks_seen(c->locks, rec);
	if (rec->kind == RRC_REC_SYSCALL && (rec->nr == SYS_openat || rec->nr == SYS_open))
		rrc_sendfile_opened(c->sendfile, rec);
	if (rec->kind == RRC_REC_SYSCALL && (c->nrestarts || rec->ret == -RRC_RESTART_BLOCK))
		note_restart(c, rec);
	if (rec->kind == RRC_REC_SYSCALL && !c->files_changed)
		c->files_changed = may_change_files(rec);
	/* Written through a mapping: no call will tell. */
	if (rec->kind == RRC_REC_SYSCALL && rec->nr == SYS_mmap && rec->fdkind == RRC_FD_REG &&
	    rec->args[2] & PROT_WRITE && rec->args[3] & MAP_SHARED)
		c->files_mapped = 1;
	return 0;
}

static int append_made(struct rrc_collector *c, enum rrc_rec_kind kind, uint64_t arg, int64_t ret,
		       uint16_t flags)
{
	struct rrc_rec rec = {
		.size = sizeof(rec),
		.kind = (uint8_t)kind,
		.flags = flags,
		.ret = ret,
		.exit_ns = rrc_now_ns(CLOCK_MONOTONIC),
		.args = { arg },
	};

	return append(c, &rec);
}

static int take_in(struct rrc_collector *c, uint64_t stamp)
{
	uint64_t lost, from = c->pos;
	struct rrc_stats stats;
	int ret;

	c->stamp = stamp;
	c->failed = 0;
	ret = rrc_recorder_drain(c->o.recorder, on_record, c, RRC_DRAIN_ALL);
	if (ret >= 0)
		ret = c->failed;
	if (!ret)
		ret = rrc_locks_drain(c->locks, on_locks, c);
	if (ret)
		return ret;
	rrc_recorder_stats(c->o.recorder, &stats);
	lost = stats.lost + rrc_locks_lost(c->locks);
	if (lost != c->lost_seen) {
		/* Rule 4: something is missing; it may lie before any record that we took in. */
		ret = append_made(c, RRC_REC_LOST, c->pos - from, (int64_t)(lost - c->lost_seen),
				  RRC_F_BARRIER);
		c->stats.lost += lost - c->lost_seen;
		c->lost_seen = lost;
	}
	return ret;
}

int rrc_collector_drain(struct rrc_collector *c, uint64_t stamp)
{
	int ret = take_in(c, stamp);

	return ret ? ret : flush(c);
}

int rrc_collector_cut(struct rrc_collector *c, uint64_t number, uint64_t stamp, uint64_t *pos)
{
	int ret = rrc_collector_drain(c, stamp);

	if (ret)
		return ret;
	/* Rule 3: the cut is a record, and nothing that ran before it is behind it. */
	*pos = c->cut_pos = c->pos;
	if (c->barrier == RRC_NO_BARRIER)
		c->barrier = c->barrier_after_cut;
	c->barrier_after_cut = RRC_NO_BARRIER;
	c->files_changed = 0;
	if (c->o.changes)
		rrc_changes_cut(c->o.changes);
	c->emitting = 1;
	ret = append_made(c, RRC_REC_CUT, number, 0, 0);
	rrc_locks_on(c->locks);
	return ret ? ret : flush(c);
}

enum rrc_locks_taken rrc_collector_take_locks(struct rrc_collector *c, const struct rrc_locklog *ll,
					      int executed)
{
	return rrc_locks_take(c->locks, ll, executed);
}

void rrc_collector_emit(struct rrc_collector *c, int on)
{
	c->emitting = on;
}

uint64_t rrc_collector_pos(const struct rrc_collector *c)
{
	return c->pos;
}

uint64_t rrc_collector_barrier(const struct rrc_collector *c, unsigned int *nr)
{
	if (nr)
		*nr = c->barrier_nr;
	return c->barrier != RRC_NO_BARRIER ? c->barrier : c->barrier_after_cut;
}

void rrc_collector_committed(struct rrc_collector *c, uint64_t cut_pos)
{
	if (cut_pos >= c->cut_pos)
		c->barrier = RRC_NO_BARRIER;
}

size_t rrc_collector_restarts(const struct rrc_collector *c, const struct rrc_rec *const **recs)
{
	*recs = (const struct rrc_rec *const *)c->restarts;
	return c->nrestarts;
}

const struct rrc_collector_stats *rrc_collector_stats(const struct rrc_collector *c)
{
	return &c->stats;
}

int rrc_collector_files_changed(const struct rrc_collector *c)
{
	return c->files_changed || c->files_mapped;
}
