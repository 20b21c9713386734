/* SPDX-License-Identifier: MIT */
/* Keeps TCP out of the container until its connections exist, else the kernel would answer RST. */
#ifndef RRC_INGRESS_H
#define RRC_INGRESS_H

#include <stdint.h>

#include "err.h"

/* Drops every TCP packet that comes in on the link, behind the place where packet sockets see it. ARP,
 * neighbour discovery and the rest pass. */
int rrc_ingress_close(int netns, uint32_t ifindex, struct rrc_error *err);
int rrc_ingress_open(int netns, uint32_t ifindex, struct rrc_error *err);

/* A program at tc ingress, one for each priority: lower ones come first, the recorder's comes last. */
#define RRC_INGRESS_CLOSED 1
#define RRC_INGRESS_REBORN 2

int rrc_ingress_add(int netns, uint32_t ifindex, uint16_t prio, int prog, const char *name,
		    struct rrc_error *err);
int rrc_ingress_remove(int netns, uint32_t ifindex, uint16_t prio, struct rrc_error *err);

#endif
