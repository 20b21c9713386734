// SPDX-License-Identifier: MIT
/* The container's link as text, and made in a namespace of our own. */
#include <criterion/criterion.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netcfg.h"
#include "util.h"

static const char good[] = "link eth0 02:00:00:00:00:0a mtu 1450\n"
			   "addr 10.9.0.2/24\n"
			   "addr fd09::2/64\n"
			   "route 0.0.0.0/0 via 10.9.0.1\n"
			   "route 10.20.0.0/16 via 10.9.0.7 src 10.9.0.2 metric 50\n"
			   "route ::/0 via fd09::1 metric 1024\n";

static struct rrc_error err;

Test(netcfg, text_and_back)
{
	struct rrc_netcfg cfg;
	char text[RRC_NET_TEXT_MAX];

	cr_assert_eq(rrc_netcfg_parse(good, strlen(good), &cfg, &err), 0, "%s", err.msg);
	cr_assert_eq(cfg.naddrs, 2);
	cr_assert_eq(cfg.nroutes, 3);
	cr_assert_eq(rrc_netcfg_print(&cfg, text, sizeof(text)), (int)strlen(good));
	cr_assert_str_eq(text, good);
	cr_assert_eq(rrc_netcfg_print(&cfg, text, 20), -28);
}

Test(netcfg, damaged_text)
{
	static const char *const bad[] = {
		"",
		"addr 10.0.0.1/24\n",
		"link eth0 02:00:00:00:00 mtu 1500\n",
		"link eth0 02:00:00:00:00:0a mtu -1\n",
		"link ../x 02:00:00:00:00:0a mtu 1500\n",
		"link eth0 02:00:00:00:00:0a mtu 1500\naddr 10.0.0.1/33\n",
		"link eth0 02:00:00:00:00:0a mtu 1500\naddr 10.0.0.1\n",
		"link eth0 02:00:00:00:00:0a mtu 1500\nroute 10.0.0.0/8 via\n",
		"link eth0 02:00:00:00:00:0a mtu 1500\nroute 10.0.0.0/8 by 10.0.0.1\n",
		"link eth0 02:00:00:00:00:0a mtu 1500\nlink eth1 02:00:00:00:00:0b mtu 1500\n",
		"link verylonginterfacename 02:00:00:00:00:0a mtu 1500\n",
		"link eth0 02:00:00:00:00:0a mtu 1500\n\n",
		"rm -rf\n",
	};
	char many[RRC_NET_TEXT_MAX] = "link eth0 02:00:00:00:00:0a mtu 1500\n";
	struct rrc_netcfg cfg;

	for (size_t i = 0; i < RRC_ARRAY_SIZE(bad); i++)
		cr_assert_lt(rrc_netcfg_parse(bad[i], strlen(bad[i]), &cfg, &err), 0, "%s", bad[i]);
	for (int i = 0; i <= RRC_NET_MAX_ADDRS; i++)
		strcat(many, "addr 10.0.0.1/24\n");
	cr_assert_lt(rrc_netcfg_parse(many, strlen(many), &cfg, &err), 0);
	for (size_t i = 0; i < strlen(good); i++)
		rrc_netcfg_parse(good, i, &cfg, &err); /* any cut: no crash */
}

Test(netcfg, on_the_link_or_not)
{
	struct rrc_netaddr near = { AF_INET, 0, { 10, 9, 0, 77 } },
			   far = { AF_INET, 0, { 10, 9, 1, 1 } };
	struct rrc_netcfg cfg;

	cr_assert_eq(rrc_netcfg_parse(good, strlen(good), &cfg, &err), 0);
	cr_assert(rrc_netcfg_onlink(&cfg, &near));
	cr_assert(!rrc_netcfg_onlink(&cfg, &far));
	cfg.addrs[0].prefix = 23;
	cr_assert(rrc_netcfg_onlink(&cfg, &far));
}

Test(netcfg, made_as_read)
{
	char text[RRC_NET_TEXT_MAX];
	struct rrc_netcfg cfg;
	int host, ns, old;

	if (geteuid())
		cr_skip_test("needs root");
	cr_assert_eq(rrc_netcfg_parse(good, strlen(good), &cfg, &err), 0);
	host = rrc_netns_new(&err); /* so that the host sees nothing of it */
	ns = rrc_netns_new(&err);
	cr_assert_geq(host, 0, "%s", err.msg);
	cr_assert_geq(ns, 0, "%s", err.msg);
	cr_assert_eq(rrc_netns_enter(host, &old, &err), 0);
	cr_assert_eq(rrc_netcfg_make(ns, &cfg, "rrcu-h", &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_netcfg_read(ns, NULL, &cfg, &err), 0, "%s", err.msg);
	cr_assert_gt(rrc_netcfg_print(&cfg, text, sizeof(text)), 0);
	cr_assert_str_eq(text, good);
	cr_assert_lt(rrc_netcfg_connect("rrcu-h", "nobridge", &err), 0);
	cr_assert_eq(rrc_netcfg_unmake("rrcu-h", &err), 0, "%s", err.msg);
	cr_assert_lt(rrc_netcfg_read(ns, NULL, &cfg, &err), 0);
	rrc_netns_leave(old);
	close(host);
	close(ns);
}

Test(netcfg, the_route_that_leads_there)
{
	static const char text[] = "link eth0 02:00:00:00:00:0a mtu 1500\n"
				   "route 0.0.0.0/0 via 10.9.0.1 metric 100\n"
				   "route 0.0.0.0/0 via 10.9.0.2 metric 50\n"
				   "route 10.20.0.0/16 via 10.9.0.3\n"
				   "route 10.20.128.0/17 via 10.9.0.4\n"
				   "route fd00::/9 via fd09::1\n";
	static const struct {
		struct rrc_netaddr to;
		uint8_t via; /* its last byte; 0: none */
	} cases[] = {
		{ { AF_INET, 0, { 8, 8, 8, 8 } }, 2 }, /* the smaller metric */
		{ { AF_INET, 0, { 10, 20, 127, 255 } }, 3 }, /* the longer prefix */
		{ { AF_INET, 0, { 10, 20, 128, 0 } }, 4 },
		{ { AF_INET6, 0, { 0xfd, 0x7f } }, 1 },
		{ { AF_INET6, 0, { 0xfd, 0x80 } }, 0 },
		{ { AF_INET6, 0, { 0 } }, 0 }, /* the default is of another family */
	};
	struct rrc_netcfg cfg;

	cr_assert_eq(rrc_netcfg_parse(text, strlen(text), &cfg, &err), 0, "%s", err.msg);
	for (size_t i = 0; i < RRC_ARRAY_SIZE(cases); i++) {
		const struct rrc_netroute *r = rrc_netcfg_route(&cfg, &cases[i].to);
		int last = cases[i].to.family == AF_INET ? 3 : 15;

		cr_assert_eq(r ? r->via.addr[last] : 0, cases[i].via, "case %zu", i);
	}
}

Test(netcfg, sockets_in_another_namespace)
{
	int ns, sock, level;
	char path[64], there[64], here[64];
	ssize_t n;

	if (geteuid())
		cr_skip_test("needs root");
	n = readlink("/proc/thread-self/ns/net", here, sizeof(here) - 1);
	cr_assert_gt(n, 0);
	here[n] = 0;
	ns = rrc_netns_new(&err);
	cr_assert_geq(ns, 0, "%s", err.msg);
	sock = rrc_netns_socket(ns, AF_INET, SOCK_DGRAM, 0);
	cr_assert_geq(sock, 0);
	/* It is that one's, and we are where we were. */
	level = ioctl(sock, SIOCGSKNS);
	cr_assert_geq(level, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", level);
	n = readlink(path, there, sizeof(there) - 1);
	cr_assert_gt(n, 0);
	there[n] = 0;
	cr_assert_str_neq(there, here);
	n = readlink("/proc/thread-self/ns/net", path, sizeof(path) - 1);
	path[n] = 0;
	cr_assert_str_eq(path, here);
	cr_assert_lt(rrc_netns_socket(-1, AF_INET, SOCK_DGRAM, 0), 0);
	close(level);
	close(sock);
	close(ns);
}
