/* SPDX-License-Identifier: MIT */
/*
 * The gate holds the container's outgoing packets (rule 1): an NFQUEUE in its network namespace.
 * With nobody listening the kernel drops what would be queued, so the gate fails closed (rule 6).
 * ARP does not pass it, and neighbour discovery is let through by rule: the lease rules over those.
 */
#ifndef RRC_GATE_H
#define RRC_GATE_H

#include <stdint.h>

#include "err.h"

struct rrc_gate;

/* Puts the rules into network namespace netns_fd and listens. */
struct rrc_gate *rrc_gate_open(int netns_fd, struct rrc_error *err);

/* Lets everything held go and takes the rules out. */
void rrc_gate_close(struct rrc_gate *g);

/* Stops listening but leaves the rules, so that nothing leaves the container any more. */
void rrc_gate_abandon(struct rrc_gate *g);

/* Takes rules out that a killed run left behind. */
int rrc_gate_cleanup(int netns_fd, struct rrc_error *err);

/* Readable when packets arrived. */
int rrc_gate_fd(const struct rrc_gate *g);

/* Takes in all announcements that are there. Returns their number; *last gets the newest id. */
int rrc_gate_read(struct rrc_gate *g, uint32_t *last);

/* One batch verdict: packets up to and including id may leave. */
int rrc_gate_release(struct rrc_gate *g, uint32_t id);

#endif
