/* SPDX-License-Identifier: MIT */
/* The failover: restore, replay, rebuild the connections, go live. */
#ifndef RRC_TAKEOVER_H
#define RRC_TAKEOVER_H

#include "session.h"

/* The primary has fallen silent. Takes over in a process of its own, which waits with its first packet
 * until the other must be silent, and stays as the container's keeper. Returns when that process ends. */
int rrc_takeover(struct rrc_session *s, struct rrc_error *err);

#endif
