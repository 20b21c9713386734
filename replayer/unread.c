// SPDX-License-Identifier: MIT
/* Unread datagrams, see unread.h. A captured packet may have no checksum yet: it is made anew. */
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "diag.h"
#include "unread.h"

#define UDP_STATES (1u << TCP_CLOSE | 1u << TCP_ESTABLISHED) /* not connected, connected */

struct giving {
	struct rrc_rawlink *link;
	struct rrc_ports ports;
	uint32_t n;
};

static void give(const struct rrc_datagram *gram, void *ctx)
{
	struct giving *g = ctx;

	if (!rrc_ports_has(&g->ports, gram->port))
		return;
	rrc_packet_sum_udp(gram->packet, gram->at);
	g->n += !rrc_rawlink_inject_packet(g->link, gram->head.mac_src, gram->packet,
					   gram->head.len);
}

uint32_t rrc_unread_datagrams(int netns, struct rrc_rawlink *link, const struct rrc_conns *conns)
{
	struct giving g = { .link = link };

	if (!rrc_conns_datagrams(conns)->n)
		return 0;
	rrc_diag_ports(&g.ports, netns, IPPROTO_UDP, UDP_STATES);
	rrc_datagrams_each(rrc_conns_datagrams(conns), give, &g);
	return g.n;
}
