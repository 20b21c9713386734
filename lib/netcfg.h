/* SPDX-License-Identifier: MIT */
/*
 * The container's link: name, MAC, MTU, addresses, routes. Read on the primary, carried in a
 * checkpoint's manifest as text, made again on the backup: a network namespace that is ready before
 * it is needed and joins the network in one step.
 */
#ifndef RRC_NETCFG_H
#define RRC_NETCFG_H

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define RRC_NET_MAX_ADDRS  32
#define RRC_NET_MAX_ROUTES 64
#define RRC_NET_TEXT_MAX   16384 /* longest text of a configuration */

struct rrc_netaddr {
	uint8_t family; /* AF_INET or AF_INET6; 0: none */
	uint8_t prefix;
	uint8_t addr[16]; /* network byte order */
};

struct rrc_netroute {
	struct rrc_netaddr dst; /* prefix 0: default */
	struct rrc_netaddr via; /* family 0: on the link itself */
	struct rrc_netaddr src; /* preferred source; family 0: none */
	uint32_t metric;
};

struct rrc_netcfg {
	char ifname[IFNAMSIZ];
	uint8_t mac[6];
	uint32_t mtu;
	uint32_t naddrs, nroutes;
	struct rrc_netaddr addrs[RRC_NET_MAX_ADDRS];
	struct rrc_netroute routes[RRC_NET_MAX_ROUTES];
};

/* Reads the link ifname, or the only one besides lo if it is NULL, of a network namespace. */
int rrc_netcfg_read(int netns, const char *ifname, struct rrc_netcfg *cfg, struct rrc_error *err);

/* As text, one line each for link, addresses, routes; returns its length or negative. */
int rrc_netcfg_print(const struct rrc_netcfg *cfg, char *buf, size_t size);
int rrc_netcfg_parse(const char *text, size_t len, struct rrc_netcfg *cfg, struct rrc_error *err);

/*
 * Makes the link in namespace netns with lo up, and its other end hostif in the caller's namespace:
 * up, so that there is a carrier, but a member of no bridge, so that nothing gets in or out.
 */
int rrc_netcfg_make(int netns, const struct rrc_netcfg *cfg, const char *hostif,
		    struct rrc_error *err);

/* Go-live: puts hostif into a bridge of the caller's namespace. One message, some 50 µs. */
int rrc_netcfg_connect(const char *hostif, const char *bridge, struct rrc_error *err);

/* Takes it out of the bridge again. */
int rrc_netcfg_disconnect(const char *hostif, struct rrc_error *err);

/* Removes both ends. */
int rrc_netcfg_unmake(const char *hostif, struct rrc_error *err);

/* Tells the kernel (by a netlink socket in its namespace) who has an address on the link, so that it
 * need not ask. 0 or a negative errno. */
struct mnl_socket;
int rrc_netcfg_neigh(struct mnl_socket *nl, uint32_t ifindex, const struct rrc_netaddr *addr,
		     const uint8_t mac[6]);

/* Is addr on the link itself, by one of cfg's prefixes? */
int rrc_netcfg_onlink(const struct rrc_netcfg *cfg, const struct rrc_netaddr *addr);

/* The route of cfg that leads to addr when it is not on the link; NULL: there is none. */
const struct rrc_netroute *rrc_netcfg_route(const struct rrc_netcfg *cfg,
					    const struct rrc_netaddr *addr);

/* A route to addr alone, as the others lead there, on which connections begin with a congestion
 * window of cwnd packets; cwnd 0 removes it again. 0 or a negative errno. */
int rrc_netcfg_wide_route(struct mnl_socket *nl, uint32_t ifindex, const struct rrc_netcfg *cfg,
			  const struct rrc_netaddr *addr, uint32_t cwnd);

/* A new network namespace with lo up; a descriptor or negative. */
int rrc_netns_new(struct rrc_error *err);

/* Puts the calling thread into namespace netns; *old gets what rrc_netns_leave needs. */
int rrc_netns_enter(int netns, int *old, struct rrc_error *err);
void rrc_netns_leave(int old);

/* socket(2) in another network namespace; negative errno on failure. */
int rrc_netns_socket(int netns, int domain, int type, int protocol);

#endif
