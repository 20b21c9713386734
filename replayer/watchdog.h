/* SPDX-License-Identifier: MIT */
/*
 * A child that ends when nothing has moved for a while: so that a wait for any child, which is how
 * the engine waits, ends too, at no cost while things move.
 */
#ifndef RRC_WATCHDOG_H
#define RRC_WATCHDOG_H

#include <stdbool.h>
#include <sys/types.h>

#include "err.h"

struct rrc_watchdog;

struct rrc_watchdog *rrc_watchdog_new(unsigned int limit_ms, struct rrc_error *err);

/* Something moved. */
void rrc_watchdog_pat(struct rrc_watchdog *w);

/* Is this child the watchdog? */
bool rrc_watchdog_is(const struct rrc_watchdog *w, pid_t pid);

void rrc_watchdog_free(struct rrc_watchdog *w);

#endif
