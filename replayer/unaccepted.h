/* SPDX-License-Identifier: MIT */
/*
 * At go-live: everything of TCP that no descriptor of the application stands for. Connections that wait to be
 * accepted, and handshakes that were under way.
 */
#ifndef RRC_UNACCEPTED_H
#define RRC_UNACCEPTED_H

#include "conn.h"
#include "err.h"
#include "netcfg.h"
#include "rawlink.h"
#include "tcprepair.h"

struct rrc_unaccepted;
struct rrc_reborn;

/*
 * reborn: loaded in advance, the caller's; NULL: it is loaded if there is need. list: the n connections, which are sorted by birth here, as the listener will hand them out; also
 * with n = 0. Before the ingress is open. *why is set and NULL returned when this kernel cannot do it, or when
 * there is nothing to do (then why->exit is 0).
 */
struct rrc_unaccepted *rrc_unaccepted_expect(struct rrc_reborn *reborn, int netns, uint32_t ifindex,
					     const struct rrc_netcfg *cfg,
					     const struct rrc_tcp_place *place,
					     struct rrc_conns *conns, struct rrc_conn **list,
					     size_t n, struct rrc_error *why);

/* With the ingress open. 0, or what rrc_reborn_make says. */
int rrc_unaccepted_make(struct rrc_unaccepted *u, struct rrc_rawlink *link,
			const struct rrc_conn *conn);

/* Clients whose handshake was under way are answered now and not when they ask again; one that believes
 * it complete and waits for us would never ask. Returns how many have not said anything since. */
uint32_t rrc_unaccepted_answer(struct rrc_unaccepted *u, struct rrc_rawlink *link,
			       struct rrc_conns *conns);

/* Later: clients may still complete a handshake. */
void rrc_unaccepted_free(struct rrc_unaccepted *u);

#endif
