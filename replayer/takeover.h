/* SPDX-License-Identifier: MIT */
/* The failover: restore, replay, rebuild the connections, go live. */
#ifndef RRC_TAKEOVER_H
#define RRC_TAKEOVER_H

#include "session.h"

/* The primary has fallen silent. Waits until it must be, then takes over in a process of its own, which
 * stays as the container's keeper. Returns when that process ends. */
int rrc_takeover(struct rrc_session *s, struct rrc_error *err);

#endif
