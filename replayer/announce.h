/* SPDX-License-Identifier: MIT */
/* Tells the network that the container's addresses live here now. */
#ifndef RRC_ANNOUNCE_H
#define RRC_ANNOUNCE_H

#include <stdint.h>

#include "err.h"
#include "netcfg.h"

struct rrc_announcer {
	struct rrc_netcfg cfg;
	int sock; /* AF_PACKET on the container's link */
	int timer; /* readable when rrc_announce_again is due */
	unsigned int left; /* repetitions */
	uint64_t delay_ns; /* until the next, doubled each time */
};

/* Prepares, in advance: opens the sockets. Sends nothing. */
int rrc_announce_open(struct rrc_announcer *a, int netns, const struct rrc_netcfg *cfg,
		      struct rrc_error *err);

/* Gratuitous ARP and unsolicited neighbour advertisement for every address, now, and arms the timer
 * for `repeats` more after 10, 30, 70, … ms. */
int rrc_announce_now(struct rrc_announcer *a, unsigned int repeats, struct rrc_error *err);

/* When a->timer is readable. Returns 1 while there are more to come, 0 after the last. */
int rrc_announce_again(struct rrc_announcer *a, struct rrc_error *err);

void rrc_announce_close(struct rrc_announcer *a);

#endif
