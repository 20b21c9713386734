// SPDX-License-Identifier: MIT
/* Connections and handshakes that no descriptor stands for, see unaccepted.h. */
#include <errno.h>
#include <fcntl.h>
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <string.h>

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
	uint8_t ports[65536 / 8]; /* that somebody listens on */
};

static bool listens(const struct rrc_unaccepted *u, uint16_t port)
{
	return u->ports[port / 8] & 1 << port % 8;
}

static int note_listener(const struct nlmsghdr *nlh, void *ctx)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct rrc_unaccepted *u = ctx;
	uint16_t port = ntohs(msg->id.idiag_sport);

	u->ports[port / 8] |= (uint8_t)(1 << port % 8);
	return MNL_CB_OK;
}

/* By sock_diag, which looks at listeners alone; /proc/net/tcp walks the table of all connections. */
static void read_listeners(struct rrc_unaccepted *u, int netns, uint8_t family)
{
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
	} ask = {
		.nlh = { .nlmsg_len = sizeof(ask),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = family,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = 1 << TCP_LISTEN },
	};
	rrc_autoclose int s =
		rrc_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	char buf[16384];
	ssize_t n;

	if (s < 0 || send(s, &ask, sizeof(ask), 0) < 0)
		return;
	do {
		n = recv(s, buf, sizeof(buf), 0);
	} while (n > 0 && mnl_cb_run(buf, (size_t)n, 0, 0, note_listener, u) > MNL_CB_STOP);
}

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

	if (ns < c->u->since_ns || !listens(c->u, syn->dport))
		return 0;
	if (c->link && !rrc_reborn_waits(c->u->reborn, syn))
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
	read_listeners(u, netns, AF_INET);
	read_listeners(u, netns, AF_INET6);
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
