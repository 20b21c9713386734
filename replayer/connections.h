/* SPDX-License-Identifier: MIT */
/*
 * Go-live of the connections: from the table at the end of the log to sockets that their clients go
 * on talking to. In this order:
 *
 *	rrc_takeover_prepare		in advance, when the namespace is made
 *	(the link is connected to the network: rrc_netcfg_connect; announced: rrc_announce_now)
 *	rrc_takeover_connections	asks the clients, rebuilds, opens the ingress, resumes
 *	(the threads are released)
 */
#ifndef RRC_CONNECTIONS_H
#define RRC_CONNECTIONS_H

#include <stdint.h>

#include "conn.h"
#include "err.h"
#include "netcfg.h"

struct rrc_takeover_opts {
	int netns; /* the restored container's network namespace */
	const struct rrc_netcfg *cfg; /* its link */
	const char *hostif; /* the link's other end, in the caller's namespace */
	int64_t skew_ns; /* CLOCK_MONOTONIC of the dead primary, minus ours */
	uint64_t ask_ns; /* how long to wait for clients that do not answer; 0: 5 ms */

	struct rrc_reborn *reborn; /* loaded in advance; NULL: when it is needed */

	/* A descriptor (a duplicate, which is closed here) of the container's socket that has this
	 * cookie in the log; negative: there is none. Its thread is stopped. */
	int (*lookup)(void *ctx, uint64_t cookie);
	void *ctx;
};

enum rrc_takeover_what {
	RRC_TAKEN_REBUILT = 0, /* goes on in the application's own socket */
	RRC_TAKEN_REBORN, /* waits in the listener to be accepted */
	RRC_TAKEN_FINISHING, /* the application closed it: a socket of ours sends the rest */
	RRC_TAKEN_RESET, /* the client got a RST */
	RRC_TAKEN_CLOSED, /* nobody to tell: the application finds it closed */
	RRC_TAKEN_WHATS,
};

enum rrc_takeover_reason {
	RRC_WHY_NONE = 0,
	RRC_WHY_NOT_ACCEPTED, /* by the application, and it cannot be recreated in the listener */
	RRC_WHY_NO_SOCKET, /* the restored container has no socket for it */
	RRC_WHY_LOST, /* bytes of it are missing in the log */
	RRC_WHY_PEER_RESET, /* the client has reset it */
	RRC_WHY_OVER, /* nothing was left to be done; not in the report */
	RRC_WHY_INSIDE, /* both ends are in the container */
	RRC_WHY_FAILED, /* the kernel refused; the first refusal is in `failure` */
	RRC_WHYS,
};

struct rrc_takeover_entry {
	uint64_t cookie;
	uint8_t what, why;
	char name[128];
};

struct rrc_takeover_report {
	uint32_t total;
	uint32_t what[RRC_TAKEN_WHATS], why[RRC_WHYS];
	uint32_t answered; /* clients that said what they have */
	uint32_t datagrams; /* given to UDP sockets again */
	uint32_t handshakes; /* under way, answered once more */
	uint64_t resent, unread; /* bytes sent again, given back to receive queues */
	uint64_t ask_ns, rebuild_ns, resume_ns;
	uint64_t rebuild_cpu_ns; /* CPU time of ours in rebuild_ns, on all threads */
	struct rrc_takeover_entry *entries; /* those that were not rebuilt; to be freed */
	uint32_t nentries;
	struct rrc_error failure; /* the first refusal; exit 0: there was none */
};

struct rrc_takeover;

/* Closes the namespace's ingress to TCP and opens what is needed. NULL with *err set. opts and what
 * it points to must live on. */
struct rrc_takeover *rrc_takeover_prepare(const struct rrc_takeover_opts *opts,
					  struct rrc_error *err);

/* Does it all. Connections that cannot be carried are in the report and no failure. The table is
 * changed by what the clients answer. */
int rrc_takeover_connections(struct rrc_takeover *t, struct rrc_conns *conns,
			     struct rrc_takeover_report *report, struct rrc_error *err);

/* Some time later, as often as is liked: answers those handshakes again whose client is still silent. */
void rrc_takeover_again(struct rrc_takeover *t, struct rrc_conns *conns);

/* Also opens the ingress if that has not happened. Clients whose handshake was under way may complete it
 * until then. */
void rrc_takeover_free(struct rrc_takeover *t);

void rrc_takeover_report_free(struct rrc_takeover_report *report);
const char *rrc_takeover_what_name(enum rrc_takeover_what what);
const char *rrc_takeover_why_name(enum rrc_takeover_reason why);

#endif
