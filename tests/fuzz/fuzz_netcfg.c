// SPDX-License-Identifier: MIT
/* Any bytes as the text of a link: refused, or printed and read again it is the same. */
#include "fuzz.h"
#include "netcfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rrc_netaddr to = { .family = size && data[0] & 1 ? AF_INET : AF_INET6 };
	struct rrc_netcfg cfg, again;
	char *text = malloc(size ? size : 1), out[RRC_NET_TEXT_MAX + 8192];
	int n;

	must(text != NULL);
	if (size)
		memcpy(text, data, size); /* of exactly this size: a byte too far is seen */
	if (!rrc_netcfg_parse(text, size, &cfg, NULL)) {
		must(cfg.naddrs <= RRC_NET_MAX_ADDRS && cfg.nroutes <= RRC_NET_MAX_ROUTES);
		must(memchr(cfg.ifname, 0, sizeof(cfg.ifname)) && !strchr(cfg.ifname, '/'));
		n = rrc_netcfg_print(&cfg, out, sizeof(out));
		must(n > 0 && (size_t)n == strlen(out));
		must(n > RRC_NET_TEXT_MAX || !rrc_netcfg_parse(out, (size_t)n, &again, NULL));
		must(n > RRC_NET_TEXT_MAX || !memcmp(&cfg, &again, sizeof(cfg)));
		memcpy(to.addr, data, size < sizeof(to.addr) ? size : sizeof(to.addr));
		rrc_netcfg_onlink(&cfg, &to);
		rrc_netcfg_route(&cfg, &to);
	}
	free(text);
	return 0;
}
