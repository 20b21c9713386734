// SPDX-License-Identifier: MIT
/* Ports by sock_diag, which looks at listeners alone if asked; /proc/net/tcp walks the table of all. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "diag.h"
#include "netcfg.h"
#include "util.h"

static int note(const struct nlmsghdr *nlh, void *ctx)
{
	const struct inet_diag_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct rrc_ports *p = ctx;
	uint16_t port = ntohs(msg->id.idiag_sport);

	p->bits[port / 8] |= (uint8_t)(1 << port % 8);
	return MNL_CB_OK;
}

static void one_family(struct rrc_ports *p, int netns, uint8_t family, uint8_t protocol,
		       uint32_t states)
{
	struct {
		struct nlmsghdr nlh;
		struct inet_diag_req_v2 req;
	} ask = {
		.nlh = { .nlmsg_len = sizeof(ask),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = family,
			 .sdiag_protocol = protocol,
			 .idiag_states = states },
	};
	rrc_autoclose int s =
		rrc_netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	char buf[16384];
	ssize_t n;

	if (s < 0 || send(s, &ask, sizeof(ask), 0) < 0)
		return;
	do {
		n = recv(s, buf, sizeof(buf), 0);
	} while (n > 0 && mnl_cb_run(buf, (size_t)n, 0, 0, note, p) > MNL_CB_STOP);
}

void rrc_diag_ports(struct rrc_ports *p, int netns, uint8_t protocol, uint32_t states)
{
	one_family(p, netns, AF_INET, protocol, states);
	one_family(p, netns, AF_INET6, protocol, states);
}
