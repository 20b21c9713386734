/* SPDX-License-Identifier: MIT */
/*
 * Clock readings of the lock logs among the calls (at a careful attempt: all events of lock logs that tell their time, and
 * one thread runs at a time, from one such place or call to its next). A reading says when it happened, so it has a place in the
 * log's order: the calls before it have returned, and those behind it wait for it. It is the one point, between two
 * calls of a thread, that tells how far the thread was: programs set a global variable to the time that a
 * thread read, and others look at it without a lock.
 */
#ifndef RRC_CLOCKMARKS_H
#define RRC_CLOCKMARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "locklog.h"

struct rrc_engine;
struct tracee;

/* Is this a careful attempt? */
bool rrc_clockmarks_careful(const struct rrc_engine *e);

/* … at which another thread than t has a mark to come that was before that time. */
bool rrc_clockmarks_others(const struct rrc_engine *e, const struct tracee *t, uint64_t before);

/* Takes the readings of a process with several threads; feeds as given to it. */
int rrc_clockmarks_add(struct rrc_engine *e, struct rrc_locklog *ll,
		       const struct rrc_locklog_feed *feeds, struct rrc_error *err);

/* Before the log's head is passed. 0: it may be; else CLOCK_MONOTONIC, ns, of when to ask again at the latest. */
uint64_t rrc_clockmarks_wait(struct rrc_engine *e);

/* When the slot's next reading happened, if it lies before this record; 0: it has none there. */
uint64_t rrc_clockmarks_ahead(const struct rrc_engine *e, const struct rrc_locklog *ll,
			      uint32_t slot, size_t before);

/* The first record that has to wait for the reading of another thread than t. SIZE_MAX: none, for long. */
size_t rrc_clockmarks_cap(struct rrc_engine *e, const struct tracee *t);

/* t passes the records before this one by itself: so it does its readings up to there that happened before limit. */
void rrc_clockmarks_grant(struct rrc_engine *e, const struct tracee *t, size_t before,
			  uint64_t limit_ns);

/* The log is at its end: the readings behind it may happen. */
void rrc_clockmarks_end(struct rrc_engine *e);

/* The process's lock log is about to go. */
void rrc_clockmarks_forget(struct rrc_engine *e, const struct rrc_locklog *ll);
void rrc_clockmarks_free(struct rrc_engine *e);

#endif
