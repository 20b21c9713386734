/* SPDX-License-Identifier: MIT */
/*
 * Runs the calling thread on the CPU where its connection's packets arrive. Waking a thread there costs
 * a tenth of waking it across CPUs (an interrupt to an idle one), and an acknowledgement is two wake-ups.
 */
#ifndef RRC_STEER_H
#define RRC_STEER_H

#include <sched.h>
#include <stdint.h>

struct rrc_steer {
	cpu_set_t home; /* where the thread might run before */
	int cpu; /* where it was put; -1: nowhere yet */
	int seen; /* where packets arrived when we looked last */
	uint64_t next; /* CLOCK_MONOTONIC, ns: when to look again */
};

/* Remembers the thread's affinity. */
void rrc_steer_begin(struct rrc_steer *s);

/* Looks now and then (cheap to call for every packet) and moves the calling thread to where two looks in a
 * row found the packets of socket fd to arrive (SO_INCOMING_CPU, socket(7)). */
void rrc_steer_follow(struct rrc_steer *s, int fd, uint64_t now);

/* Lets the thread run where it might before. */
void rrc_steer_end(struct rrc_steer *s);

#endif
