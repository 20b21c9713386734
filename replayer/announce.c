// SPDX-License-Identifier: MIT
/* Gratuitous ARP (RFC 5227) and unsolicited neighbour advertisements (RFC 4861, 7.2.6), announce.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "announce.h"
#include "packet.h"
#include "util.h"

#define FIRST_DELAY_NS 10000000ull
#define NA_LEN	       32 /* header, target, option with the link-layer address */
#define FRAME_MAX      (ETH_HLEN + 40 + NA_LEN)

static size_t make_arp(const struct rrc_netaddr *addr, const uint8_t mac[6], uint8_t *p)
{
	static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 1 }; /* Ethernet, IPv4, request */

	memset(p, 0xff, 6);
	memcpy(p + 6, mac, 6);
	p[12] = 0x08;
	p[13] = 0x06;
	p += ETH_HLEN;
	memcpy(p, head, sizeof(head));
	memcpy(p + 8, mac, 6);
	memcpy(p + 14, addr->addr, 4);
	memset(p + 18, 0, 6);
	memcpy(p + 24, addr->addr, 4);
	return ETH_HLEN + 28;
}

static size_t make_advert(const struct rrc_netaddr *addr, const uint8_t mac[6], uint8_t *p)
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	uint8_t tail[8] = { 0, 0, 0, NA_LEN, 0, 0, 0, IPPROTO_ICMPV6 };
	uint8_t *ip = p + ETH_HLEN, *na = ip + 40;
	uint16_t sum;

	memcpy(p, all_nodes_mac, 6);
	memcpy(p + 6, mac, 6);
	p[12] = 0x86;
	p[13] = 0xdd;
	memset(ip, 0, 40 + NA_LEN);
	ip[0] = 0x60;
	ip[5] = NA_LEN;
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, addr->addr, 16);
	memcpy(ip + 24, all_nodes, 16);
	na[0] = 136;
	na[4] = 0x20; /* override what you knew */
	memcpy(na + 8, addr->addr, 16);
	na[24] = 2; /* target link-layer address, in units of 8 bytes */
	na[25] = 1;
	memcpy(na + 26, mac, 6);
	sum = (uint16_t)~rrc_sum_fold(
		rrc_sum_add(rrc_sum_add(rrc_sum_add(0, ip + 8, 32), tail, 8), na, NA_LEN));
	na[2] = (uint8_t)(sum >> 8);
	na[3] = (uint8_t)sum;
	return FRAME_MAX;
}

static int send_all(struct rrc_announcer *a, struct rrc_error *err)
{
	uint8_t frame[FRAME_MAX];

	for (uint32_t i = 0; i < a->cfg.naddrs; i++) {
		const struct rrc_netaddr *addr = &a->cfg.addrs[i];
		size_t len = addr->family == AF_INET ? make_arp(addr, a->cfg.mac, frame)
						     : make_advert(addr, a->cfg.mac, frame);

		if (send(a->sock, frame, len, MSG_DONTWAIT) < 0 && errno != ENOBUFS)
			return rrc_fail(err, -errno, "announce an address on %s: %s", a->cfg.ifname,
					strerror(errno));
	}
	return 0;
}

static int arm(struct rrc_announcer *a)
{
	struct itimerspec it = { .it_value = { .tv_sec = (time_t)(a->delay_ns / 1000000000),
					       .tv_nsec = (long)(a->delay_ns % 1000000000) } };

	if (!a->left)
		memset(&it, 0, sizeof(it));
	a->delay_ns *= 2;
	return timerfd_settime(a->timer, 0, &it, NULL) ? -errno : 0;
}

int rrc_announce_open(struct rrc_announcer *a, int netns, const struct rrc_netcfg *cfg,
		      struct rrc_error *err)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET };
	int old, ret;

	*a = (struct rrc_announcer){ .cfg = *cfg, .sock = -1, .timer = -1 };
	ret = rrc_netns_enter(netns, &old, err);
	if (ret)
		return ret;
	a->sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* 0: receives nothing */
	ll.sll_ifindex = (int)if_nametoindex(cfg->ifname);
	rrc_netns_leave(old);
	if (a->sock >= 0 && ll.sll_ifindex && !bind(a->sock, (struct sockaddr *)&ll, sizeof(ll)))
		a->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (a->timer >= 0)
		return 0;
	ret = rrc_fail(err, -errno, "prepare to announce on %s: %s", cfg->ifname, strerror(errno));
	rrc_announce_close(a);
	return ret;
}

int rrc_announce_now(struct rrc_announcer *a, unsigned int repeats, struct rrc_error *err)
{
	a->left = repeats;
	a->delay_ns = FIRST_DELAY_NS;
	arm(a);
	return send_all(a, err);
}

int rrc_announce_again(struct rrc_announcer *a, struct rrc_error *err)
{
	uint64_t n;
	int ret;

	if (read(a->timer, &n, sizeof(n)) < 0 || !a->left)
		return a->left > 0;
	a->left--;
	arm(a);
	ret = send_all(a, err);
	return ret ? ret : a->left > 0;
}

void rrc_announce_close(struct rrc_announcer *a)
{
	if (a->sock >= 0)
		close(a->sock);
	if (a->timer >= 0)
		close(a->timer);
	a->sock = a->timer = -1;
}
