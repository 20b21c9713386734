// SPDX-License-Identifier: MIT
/* rtnetlink by libmnl, see nl.h; and network namespaces entered for a moment, see netcfg.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netcfg.h"
#include "nl.h"

int rrc_netns_enter(int netns, int *old, struct rrc_error *err)
{
	int ret;

	*old = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*old < 0)
		return rrc_fail(err, -errno, "open our network namespace: %s", strerror(errno));
	if (!setns(netns, CLONE_NEWNET))
		return 0;
	ret = -errno;
	close(*old);
	*old = -1;
	return rrc_fail(err, ret, "enter a network namespace: %s", strerror(-ret));
}

void rrc_netns_leave(int old)
{
	/* Nothing after it would be right in the wrong namespace. */
	if (setns(old, CLONE_NEWNET))
		abort();
	close(old);
}

int rrc_netns_socket(int netns, int domain, int type, int protocol)
{
	struct rrc_error err;
	int old, sock;

	if (rrc_netns_enter(netns, &old, &err))
		return err.code;
	sock = socket(domain, type, protocol);
	if (sock < 0)
		sock = -errno;
	rrc_netns_leave(old);
	return sock;
}

struct mnl_socket *rrc_nl_open(int netns, struct rrc_error *err)
{
	struct mnl_socket *nl;
	int old = -1;

	if (netns >= 0 && rrc_netns_enter(netns, &old, err))
		return NULL;
	nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID)) {
		rrc_fail(err, -errno, "open a netlink socket: %s", strerror(errno));
		if (nl)
			mnl_socket_close(nl);
		nl = NULL;
	}
	if (netns >= 0)
		rrc_netns_leave(old);
	return nl;
}

struct nlmsghdr *rrc_nl_msg(char *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = 1;
	return nlh;
}

int rrc_nl_talk(struct mnl_socket *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	char buf[32768];
	int ret;

	if (!cb)
		nlh->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		ret = mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), cb, data);
	} while (ret > 0);
	return ret < 0 ? -errno : 0;
}
