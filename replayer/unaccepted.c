// SPDX-License-Identifier: MIT
/* Connections and handshakes that no descriptor stands for, see unaccepted.h. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "diag.h"
#include "reborn.h"
#include "unaccepted.h"
#include "util.h"

#define SYN_AGE_NS 10000000000ull /* a client asks again for longer, but it does ask */
#define MAX_WSCALE 14

struct rrc_unaccepted {
	struct rrc_reborn *reborn, *own; /* own: loaded here */
	uint64_t since_ns; /* of the other host's clock: SYNs from then on count */
	uint16_t mtu;
	uint8_t wscale;
	struct rrc_ports listening;
};

/* What the kernel answers a SYN with, if the application has not fixed a buffer (linux
 * tcp_select_initial_window). */
static uint8_t own_wscale(int netns)
{
	rrc_autofclose FILE *f = NULL;
	unsigned long space = 6 << 20;
	uint8_t scale = 0;
	int old;

	if (rrc_netns_enter(netns, &old, NULL))
		return 7;
	f = fopen("/proc/sys/net/ipv4/tcp_rmem", "re");
	rrc_netns_leave(old);
	if (f && fscanf(f, "%*u %*u %lu", &space) != 1)
		space = 6 << 20;
	for (; space > 65535 && scale < MAX_WSCALE; space >>= 1)
		scale++;
	return scale;
}

static int by_birth(const void *a, const void *b)
{
	const struct rrc_conn *x = *(struct rrc_conn *const *)a;
	const struct rrc_conn *y = *(struct rrc_conn *const *)b;

	return x->s.born_ns < y->s.born_ns ? -1 : x->s.born_ns > y->s.born_ns;
}

struct counting {
	struct rrc_unaccepted *u;
	struct rrc_rawlink *link; /* NULL: they are only expected */
	uint32_t n;
};

static int one_syn(const struct rrc_packet *syn, const struct rrc_rec_packet *head, uint64_t ns,
		   void *ctx)
{
	struct counting *c = ctx;
	uint16_t headers = syn->family == AF_INET ? 40 : 60;

	if (ns < c->u->since_ns || !rrc_ports_has(&c->u->listening, syn->dport))
		return 0;
	if (c->link && !rrc_reborn_answers(c->u->reborn, syn))
		return 0;
	c->n++;
	if (c->link)
		rrc_rawlink_synack(c->link, syn, head->mac_src, (uint16_t)(c->u->mtu - headers),
				   c->u->wscale);
	else if (c->u->reborn)
		rrc_reborn_expect_syn(c->u->reborn, syn, c->u->wscale);
	return 0;
}

struct rrc_unaccepted *rrc_unaccepted_expect(struct rrc_reborn *reborn, int netns, uint32_t ifindex,
					     const struct rrc_netcfg *cfg,
					     const struct rrc_tcp_place *place,
					     struct rrc_conns *conns, struct rrc_conn **list,
					     size_t n, struct rrc_error *why)
{
	struct rrc_unaccepted *u = calloc(1, sizeof(*u));
	struct counting c = { .u = u };

	if (!u)
		return NULL;
	rrc_diag_ports(&u->listening, netns, IPPROTO_TCP, 1 << TCP_LISTEN);
	u->wscale = own_wscale(netns);
	u->mtu = (uint16_t)rrc_min(cfg->mtu ? cfg->mtu : 1500u, 65535u);
	u->since_ns = rrc_now_ns(CLOCK_MONOTONIC) + (uint64_t)place->skew_ns - SYN_AGE_NS;
	rrc_conns_each_syn(conns, one_syn, &c);
	if (n + c.n && !reborn)
		reborn = u->own = rrc_reborn_load(why);
	if (n + c.n == 0 || !reborn || rrc_reborn_attach(reborn, netns, ifindex, why)) {
		rrc_reborn_free(u->own);
		free(u);
		return NULL;
	}
	u->reborn = reborn;
	rrc_conns_each_syn(conns, one_syn, &c);
	qsort(list, n, sizeof(*list), by_birth);
	for (size_t i = 0; i < n; i++)
		rrc_reborn_expect(u->reborn, list[i], rrc_tcp_tsval(list[i], place));
	return u;
}

int rrc_unaccepted_make(struct rrc_unaccepted *u, struct rrc_rawlink *link,
			const struct rrc_conn *conn)
{
	return rrc_reborn_make(u->reborn, link, conn);
}

uint32_t rrc_unaccepted_answer(struct rrc_unaccepted *u, struct rrc_rawlink *link,
			       struct rrc_conns *conns)
{
	struct counting c = { .u = u, .link = link };

	rrc_conns_each_syn(conns, one_syn, &c);
	rrc_rawlink_flush(link);
	return c.n;
}

void rrc_unaccepted_free(struct rrc_unaccepted *u)
{
	if (!u)
		return;
	rrc_reborn_detach(u->reborn);
	rrc_reborn_free(u->own);
	free(u);
}
