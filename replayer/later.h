/* SPDX-License-Identifier: MIT */
/*
 * Threads that share memory without a lock: their ways from one call to the next run one after the other, in the order
 * in which they were half over on the primary. The log says when a call returned and when the next one was
 * made; what a thread did in between happened there. Here only one CPU runs, so this costs next to nothing.
 */
#ifndef RRC_LATER_H
#define RRC_LATER_H

#include <stdbool.h>
#include <stdint.h>

struct rrc_engine;
struct tracee;

/* t's record was passed (or, from_ns 0, it starts at the checkpoint) and it would run on to its next call. true: it is
 * made to wait (TR_LATER), since others were earlier. */
bool rrc_later(struct rrc_engine *e, struct tracee *t, uint64_t from_ns);

/* Thread tid is to do what happened then: lets those run that were earlier, one after the other. Until when that has to
 * wait for them, CLOCK_MONOTONIC in ns; 0: it does not. */
uint64_t rrc_later_wait(struct rrc_engine *e, uint64_t ns, uint32_t tid);

/* Is nobody left but those that were later, and who waits for one of them with an atomic? Then one of them has what the
 * others wait for. */
bool rrc_later_alone(const struct rrc_engine *e);

/* Nothing else moves: the first of those that wait runs. true: there was one. */
bool rrc_later_next(struct rrc_engine *e);

#endif
