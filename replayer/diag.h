/* SPDX-License-Identifier: MIT */
/* Which ports a network namespace has sockets on. */
#ifndef RRC_DIAG_H
#define RRC_DIAG_H

#include <stdbool.h>
#include <stdint.h>

struct rrc_ports {
	uint8_t bits[65536 / 8];
};

static inline bool rrc_ports_has(const struct rrc_ports *p, uint16_t port)
{
	return p->bits[port / 8] & 1 << port % 8;
}

/* Adds those of sockets of either family, of this protocol, whose state (TCP_*) is in `states`. */
void rrc_diag_ports(struct rrc_ports *p, int netns, uint8_t protocol, uint32_t states);

#endif
