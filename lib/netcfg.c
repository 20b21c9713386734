// SPDX-License-Identifier: MIT
/* The container's link through rtnetlink, see netcfg.h: no child processes, since each costs ms. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "netcfg.h"
#include "nl.h"
#include "util.h"

static size_t addr_len(const struct rrc_netaddr *a)
{
	return a->family == AF_INET ? 4 : 16;
}

/* ---- reading ---- */

struct reading {
	struct rrc_netcfg *cfg;
	const char *want;
	int ifindex; /* 0: not found yet */
	int found; /* number of links that would fit */
	int overflow;
};

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct reading *r = data;
	const struct nlattr *attr;
	struct rrc_netcfg cfg = { 0 };

	if (ifi->ifi_flags & IFF_LOOPBACK)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
	{
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == IFLA_IFNAME && len <= IFNAMSIZ)
			memcpy(cfg.ifname, mnl_attr_get_payload(attr), len);
		else if (mnl_attr_get_type(attr) == IFLA_ADDRESS && len == 6)
			memcpy(cfg.mac, mnl_attr_get_payload(attr), 6);
		else if (mnl_attr_get_type(attr) == IFLA_MTU && len == 4)
			cfg.mtu = mnl_attr_get_u32(attr);
	}
	cfg.ifname[IFNAMSIZ - 1] = 0;
	if (r->want ? strcmp(r->want, cfg.ifname) : !(ifi->ifi_flags & IFF_UP))
		return MNL_CB_OK;
	r->found++;
	r->ifindex = ifi->ifi_index;
	*r->cfg = cfg;
	return MNL_CB_OK;
}

static int on_addr(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct reading *r = data;
	struct rrc_netaddr a = { .family = ifa->ifa_family, .prefix = ifa->ifa_prefixlen };
	const struct nlattr *attr;
	int have = 0;

	if ((int)ifa->ifa_index != r->ifindex || (a.family != AF_INET && a.family != AF_INET6))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*ifa))
	{
		int type = mnl_attr_get_type(attr);

		/* With a peer's address IFA_ADDRESS is the peer's. */
		if (mnl_attr_get_payload_len(attr) != addr_len(&a) ||
		    (type != IFA_LOCAL && (type != IFA_ADDRESS || have)))
			continue;
		memcpy(a.addr, mnl_attr_get_payload(attr), addr_len(&a));
		have = 1;
	}
	if (have && r->cfg->naddrs < RRC_NET_MAX_ADDRS)
		r->cfg->addrs[r->cfg->naddrs++] = a;
	else
		r->overflow |= have;
	return MNL_CB_OK;
}

static void route_attr(const struct nlattr *attr, struct rrc_netroute *rt, uint32_t *oif)
{
	size_t len = mnl_attr_get_payload_len(attr);
	struct rrc_netaddr *a = NULL;

	switch (mnl_attr_get_type(attr)) {
	case RTA_OIF:
		*oif = len == 4 ? mnl_attr_get_u32(attr) : 0;
		return;
	case RTA_PRIORITY:
		rt->metric = len == 4 ? mnl_attr_get_u32(attr) : 0;
		return;
	case RTA_DST:
		a = &rt->dst;
		break;
	case RTA_GATEWAY:
		a = &rt->via;
		break;
	case RTA_PREFSRC:
		a = &rt->src;
		break;
	default:
		return;
	}
	a->family = rt->dst.family;
	if (len == addr_len(a))
		memcpy(a->addr, mnl_attr_get_payload(attr), len);
}

static int on_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct reading *r = data;
	struct rrc_netroute rt = { .dst = { .family = rtm->rtm_family,
					    .prefix = rtm->rtm_dst_len } };
	const struct nlattr *attr;
	uint32_t oif = 0;

	/* Routes that come with an address or a link are made by the kernel again. */
	if (rtm->rtm_table != RT_TABLE_MAIN || rtm->rtm_type != RTN_UNICAST ||
	    rtm->rtm_protocol == RTPROT_KERNEL || rtm->rtm_flags & RTM_F_CLONED)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm)) route_attr(attr, &rt, &oif);
	if ((int)oif != r->ifindex)
		return MNL_CB_OK;
	if (r->cfg->nroutes == RRC_NET_MAX_ROUTES) {
		r->overflow = 1;
		return MNL_CB_OK;
	}
	r->cfg->routes[r->cfg->nroutes++] = rt;
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *nl, uint16_t type, size_t size, mnl_cb_t cb, struct reading *r)
{
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh = rrc_nl_msg(buf, type, NLM_F_DUMP);

	mnl_nlmsg_put_extra_header(nlh, size);
	return rrc_nl_talk(nl, nlh, cb, r);
}

int rrc_netcfg_read(int netns, const char *ifname, struct rrc_netcfg *cfg, struct rrc_error *err)
{
	struct reading r = { .cfg = cfg, .want = ifname };
	struct mnl_socket *nl = rrc_nl_open(netns, err);
	int ret;

	memset(cfg, 0, sizeof(*cfg));
	if (!nl)
		return err ? err->code : -EIO;
	ret = dump(nl, RTM_GETLINK, sizeof(struct ifinfomsg), on_link, &r);
	if (!ret && r.found == 1)
		ret = dump(nl, RTM_GETADDR, sizeof(struct ifaddrmsg), on_addr, &r);
	if (!ret && r.found == 1)
		ret = dump(nl, RTM_GETROUTE, sizeof(struct rtmsg), on_route, &r);
	mnl_socket_close(nl);
	if (ret)
		return rrc_fail(err, ret, "read the container's link: %s", strerror(-ret));
	if (r.found != 1)
		return rrc_fail(err, -ENODEV,
				"the container has %d network links besides lo, one is needed",
				r.found);
	if (r.overflow)
		return rrc_fail(err, -ENOSPC,
				"the container's link has too many addresses or routes");
	return 0;
}

/* ---- making ---- */

/* No addresses but those that we give it. */
static void put_no_autoconf(struct nlmsghdr *nlh)
{
	struct nlattr *spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	struct nlattr *in6 = mnl_attr_nest_start(nlh, AF_INET6);

	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(nlh, in6);
	mnl_attr_nest_end(nlh, spec);
}

static int add_veth(struct mnl_socket *nl, int netns, const struct rrc_netcfg *cfg,
		    const char *hostif)
{
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh = rrc_nl_msg(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data, *peer;

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, hostif);
	mnl_attr_put_u32(nlh, IFLA_MTU, cfg->mtu);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, cfg->ifname);
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, cfg->mac);
	mnl_attr_put_u32(nlh, IFLA_MTU, cfg->mtu);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)netns);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return rrc_nl_talk(nl, nlh, NULL, NULL);
}

static int set_link(struct mnl_socket *nl, const char *ifname, unsigned int up, int no_autoconf)
{
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh = rrc_nl_msg(buf, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_change = up;
	ifi->ifi_flags = up;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	if (no_autoconf)
		put_no_autoconf(nlh);
	return rrc_nl_talk(nl, nlh, NULL, NULL);
}

static int add_addr(struct mnl_socket *nl, uint32_t ifindex, const struct rrc_netaddr *a)
{
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh = rrc_nl_msg(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	ifa->ifa_family = a->family;
	ifa->ifa_prefixlen = a->prefix;
	ifa->ifa_index = ifindex;
	/* The address is ours by right: asking whether somebody has it costs a second. */
	ifa->ifa_flags = IFA_F_PERMANENT | (a->family == AF_INET6 ? IFA_F_NODAD : 0);
	mnl_attr_put(nlh, IFA_LOCAL, addr_len(a), a->addr);
	mnl_attr_put(nlh, IFA_ADDRESS, addr_len(a), a->addr);
	return rrc_nl_talk(nl, nlh, NULL, NULL);
}

static struct nlmsghdr *route_msg(char *buf, uint16_t type, uint16_t flags, uint32_t ifindex,
				  const struct rrc_netroute *r)
{
	struct nlmsghdr *nlh = rrc_nl_msg(buf, type, flags);
	struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));

	rtm->rtm_family = r->dst.family;
	rtm->rtm_dst_len = r->dst.prefix;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = r->via.family ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	rtm->rtm_type = RTN_UNICAST;
	if (r->dst.prefix)
		mnl_attr_put(nlh, RTA_DST, addr_len(&r->dst), r->dst.addr);
	if (r->via.family)
		mnl_attr_put(nlh, RTA_GATEWAY, addr_len(&r->via), r->via.addr);
	if (r->src.family)
		mnl_attr_put(nlh, RTA_PREFSRC, addr_len(&r->src), r->src.addr);
	if (r->metric)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, r->metric);
	mnl_attr_put_u32(nlh, RTA_OIF, ifindex);
	return nlh;
}

static int add_route(struct mnl_socket *nl, uint32_t ifindex, const struct rrc_netroute *r)
{
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh =
		route_msg(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, ifindex, r);

	return rrc_nl_talk(nl, nlh, NULL, NULL);
}

int rrc_netcfg_wide_route(struct mnl_socket *nl, uint32_t ifindex, const struct rrc_netcfg *cfg,
			  const struct rrc_netaddr *addr, uint32_t cwnd)
{
	const struct rrc_netroute *general = rrc_netcfg_route(cfg, addr);
	struct rrc_netroute r = { .dst = *addr, .metric = 1 };
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh;
	struct nlattr *metrics;

	r.dst.prefix = addr->family == AF_INET ? 32 : 128;
	if (!rrc_netcfg_onlink(cfg, addr) && general) {
		r.via = general->via;
		r.src = general->src;
	}
	if (!cwnd)
		return rrc_nl_talk(nl, route_msg(buf, RTM_DELROUTE, 0, ifindex, &r), NULL, NULL);
	nlh = route_msg(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, ifindex, &r);
	metrics = mnl_attr_nest_start(nlh, RTA_METRICS);
	mnl_attr_put_u32(nlh, RTAX_INITCWND, cwnd);
	mnl_attr_nest_end(nlh, metrics);
	return rrc_nl_talk(nl, nlh, NULL, NULL);
}

/* In the container's namespace. Routes on the link come first: gateways must be reachable. */
static int configure(const struct rrc_netcfg *cfg, struct rrc_error *err)
{
	struct mnl_socket *nl = rrc_nl_open(-1, err);
	uint32_t ifindex = if_nametoindex(cfg->ifname);
	const char *step = "lo";
	int ret;

	if (!nl)
		return err ? err->code : -EIO;
	ret = set_link(nl, "lo", IFF_UP, 0);
	if (!ret && (step = "address mode"))
		ret = set_link(nl, cfg->ifname, 0, 1);
	if (!ret && (step = "link"))
		ret = set_link(nl, cfg->ifname, IFF_UP, 0);
	for (uint32_t i = 0; !ret && i < cfg->naddrs; i++) {
		step = "address";
		ret = add_addr(nl, ifindex, &cfg->addrs[i]);
	}
	for (uint32_t i = 0; !ret && i < 2 * cfg->nroutes; i++) {
		const struct rrc_netroute *r = &cfg->routes[i % cfg->nroutes];

		step = "route";
		if (!r->via.family == (i < cfg->nroutes))
			ret = add_route(nl, ifindex, r);
	}
	mnl_socket_close(nl);
	return ret ? rrc_fail(err, ret, "configure %s: %s: %s", cfg->ifname, step, strerror(-ret))
		   : 0;
}

int rrc_netcfg_make(int netns, const struct rrc_netcfg *cfg, const char *hostif,
		    struct rrc_error *err)
{
	struct mnl_socket *nl = rrc_nl_open(-1, err);
	int old, ret;

	if (!nl)
		return err ? err->code : -EIO;
	ret = add_veth(nl, netns, cfg, hostif);
	if (!ret)
		ret = set_link(nl, hostif, 0, 1);
	if (!ret)
		ret = set_link(nl, hostif, IFF_UP, 0);
	mnl_socket_close(nl);
	if (ret)
		return rrc_fail(err, ret, "make link %s: %s", hostif, strerror(-ret));
	ret = rrc_netns_enter(netns, &old, err);
	if (!ret) {
		ret = configure(cfg, err);
		rrc_netns_leave(old);
	}
	if (ret)
		rrc_netcfg_unmake(hostif, NULL);
	return ret;
}

static int set_master(const char *hostif, uint32_t master, struct rrc_error *err)
{
	struct mnl_socket *nl = rrc_nl_open(-1, err);
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh;
	int ret;

	if (!nl)
		return err ? err->code : -EIO;
	nlh = rrc_nl_msg(buf, RTM_NEWLINK, 0);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, hostif);
	mnl_attr_put_u32(nlh, IFLA_MASTER, master);
	ret = rrc_nl_talk(nl, nlh, NULL, NULL);
	mnl_socket_close(nl);
	return ret ? rrc_fail(err, ret, "connect link %s: %s", hostif, strerror(-ret)) : 0;
}

int rrc_netcfg_connect(const char *hostif, const char *bridge, struct rrc_error *err)
{
	uint32_t master = if_nametoindex(bridge);

	if (!master)
		return rrc_fail(err, -errno, "no bridge %s", bridge);
	return set_master(hostif, master, err);
}

int rrc_netcfg_disconnect(const char *hostif, struct rrc_error *err)
{
	return set_master(hostif, 0, err);
}

int rrc_netcfg_unmake(const char *hostif, struct rrc_error *err)
{
	struct mnl_socket *nl = rrc_nl_open(-1, err);
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh;
	int ret;

	if (!nl)
		return err ? err->code : -EIO;
	nlh = rrc_nl_msg(buf, RTM_DELLINK, 0);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, hostif);
	ret = rrc_nl_talk(nl, nlh, NULL, NULL);
	mnl_socket_close(nl);
	return ret ? rrc_fail(err, ret, "remove link %s: %s", hostif, strerror(-ret)) : 0;
}

int rrc_netcfg_neigh(struct mnl_socket *nl, uint32_t ifindex, const struct rrc_netaddr *addr,
		     const uint8_t mac[6])
{
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh = rrc_nl_msg(buf, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
	struct ndmsg *ndm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ndm));

	ndm->ndm_family = addr->family;
	ndm->ndm_ifindex = (int)ifindex;
	ndm->ndm_state = NUD_REACHABLE;
	mnl_attr_put(nlh, NDA_DST, addr_len(addr), addr->addr);
	mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
	return rrc_nl_talk(nl, nlh, NULL, NULL);
}

/* unshare() moves the calling thread alone, and we move it back. */
int rrc_netns_new(struct rrc_error *err)
{
	int old, ns = -1, ret = 0;
	struct mnl_socket *nl;

	old = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (old < 0)
		return rrc_fail(err, -errno, "open our network namespace: %s", strerror(errno));
	if (unshare(CLONE_NEWNET)) {
		ret = rrc_fail(err, -errno, "make a network namespace: %s", strerror(errno));
		close(old);
		return ret;
	}
	ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	nl = rrc_nl_open(-1, err);
	if (ns < 0 || !nl || set_link(nl, "lo", IFF_UP, 0))
		ret = rrc_fail(err, -EIO, "make a network namespace");
	if (nl)
		mnl_socket_close(nl);
	rrc_netns_leave(old);
	if (ret && ns >= 0)
		close(ns);
	return ret ? ret : ns;
}
