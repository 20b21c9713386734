/* SPDX-License-Identifier: MIT */
/* The same for many things at once, on all CPUs. */
#ifndef RRC_PARALLEL_H
#define RRC_PARALLEL_H

#include <stdint.h>

/* Calls fn(ctx, i) for each i below n, in any order, on as many threads as are worth while, the caller's
 * included. Returns when all are done. */
void rrc_parallel(uint32_t n, void (*fn)(void *ctx, uint32_t i), void *ctx);

#endif
