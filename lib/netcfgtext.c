// SPDX-License-Identifier: MIT
/* The container's link as text: lines `link`, `addr`, `route`, in that order. See netcfg.h. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netcfg.h"
#include "util.h"

#define MAX_WORDS 12
#define MAX_LINE  256

struct text {
	char *buf;
	size_t size, len; /* len counts on when it does not fit */
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
	size_t left = t->len < t->size ? t->size - t->len : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(left ? t->buf + t->len : NULL, left, fmt, ap);
	va_end(ap);
	t->len += n > 0 ? (size_t)n : 0;
}

static void add_addr(struct text *t, const char *word, const struct rrc_netaddr *a, int with_prefix)
{
	char name[INET6_ADDRSTRLEN];

	if (!a->family || !inet_ntop(a->family, a->addr, name, sizeof(name)))
		return;
	add(t, " %s%s%s", word, *word ? " " : "", name);
	if (with_prefix)
		add(t, "/%u", a->prefix);
}

int rrc_netcfg_print(const struct rrc_netcfg *cfg, char *buf, size_t size)
{
	struct text t = { .buf = buf, .size = size };
	const uint8_t *m = cfg->mac;

	add(&t, "link %s %02x:%02x:%02x:%02x:%02x:%02x mtu %u\n", cfg->ifname, m[0], m[1], m[2],
	    m[3], m[4], m[5], cfg->mtu);
	for (uint32_t i = 0; i < cfg->naddrs; i++) {
		add(&t, "addr");
		add_addr(&t, "", &cfg->addrs[i], 1);
		add(&t, "\n");
	}
	for (uint32_t i = 0; i < cfg->nroutes; i++) {
		const struct rrc_netroute *r = &cfg->routes[i];

		add(&t, "route");
		add_addr(&t, "", &r->dst, 1);
		add_addr(&t, "via", &r->via, 0);
		add_addr(&t, "src", &r->src, 0);
		if (r->metric)
			add(&t, " metric %u", r->metric);
		add(&t, "\n");
	}
	return t.len < size ? (int)t.len : -ENOSPC;
}

static int parse_num(const char *s, uint32_t max, uint32_t *val)
{
	unsigned long v;
	char *end;

	if (!isdigit((unsigned char)*s))
		return -1;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v > max)
		return -1;
	*val = (uint32_t)v;
	return 0;
}

static int parse_addr(char *s, int with_prefix, struct rrc_netaddr *a)
{
	char *slash = strchr(s, '/');
	uint32_t prefix = 0;

	memset(a, 0, sizeof(*a));
	if (!!slash != !!with_prefix)
		return -1;
	if (slash)
		*slash++ = 0;
	a->family = strchr(s, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(a->family, s, a->addr) != 1)
		return -1;
	if (slash && parse_num(slash, a->family == AF_INET ? 32 : 128, &prefix))
		return -1;
	a->prefix = (uint8_t)prefix;
	return 0;
}

static int parse_link(char **w, int n, struct rrc_netcfg *cfg)
{
	uint8_t *m = cfg->mac;
	char rest;

	if (n != 5 || cfg->ifname[0] || strlen(w[1]) >= IFNAMSIZ || strchr(w[1], '/') ||
	    !strcmp(w[1], ".") || !strcmp(w[1], "..") || strcmp(w[3], "mtu"))
		return -1;
	if (strlen(w[2]) != 17 || sscanf(w[2], "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", m, m + 1,
					 m + 2, m + 3, m + 4, m + 5, &rest) != 6)
		return -1;
	strcpy(cfg->ifname, w[1]);
	return parse_num(w[4], 1 << 20, &cfg->mtu);
}

static int parse_route(char **w, int n, struct rrc_netcfg *cfg)
{
	struct rrc_netroute *r = &cfg->routes[cfg->nroutes];

	if (n < 2 || n % 2 || cfg->nroutes == RRC_NET_MAX_ROUTES)
		return -1;
	memset(r, 0, sizeof(*r));
	if (parse_addr(w[1], 1, &r->dst))
		return -1;
	for (int i = 2; i < n; i += 2) {
		int bad = !strcmp(w[i], "via")	    ? parse_addr(w[i + 1], 0, &r->via)
			  : !strcmp(w[i], "src")    ? parse_addr(w[i + 1], 0, &r->src)
			  : !strcmp(w[i], "metric") ? parse_num(w[i + 1], UINT32_MAX, &r->metric)
						    : -1;

		if (bad)
			return -1;
	}
	cfg->nroutes++;
	return 0;
}

static int parse_line(char *line, struct rrc_netcfg *cfg)
{
	char *w[MAX_WORDS], *save = NULL, *s;
	int n = 0;

	for (s = strtok_r(line, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		if (n == MAX_WORDS)
			return -1;
		w[n++] = s;
	}
	if (!n)
		return -1;
	if (!strcmp(w[0], "link"))
		return parse_link(w, n, cfg);
	if (!strcmp(w[0], "route"))
		return parse_route(w, n, cfg);
	if (strcmp(w[0], "addr") || n != 2 || cfg->naddrs == RRC_NET_MAX_ADDRS)
		return -1;
	return parse_addr(w[1], 1, &cfg->addrs[cfg->naddrs++]);
}

int rrc_netcfg_parse(const char *text, size_t len, struct rrc_netcfg *cfg, struct rrc_error *err)
{
	char line[MAX_LINE];
	unsigned int n = 0;

	memset(cfg, 0, sizeof(*cfg));
	if (len > RRC_NET_TEXT_MAX)
		return rrc_fail(err, -EBADMSG, "network configuration is too long");
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t l = end ? (size_t)(end - text) : len;

		n++;
		if (l >= sizeof(line) || memchr(text, 0, l))
			return rrc_fail(err, -EBADMSG, "network configuration, line %u: damaged",
					n);
		memcpy(line, text, l);
		line[l] = 0;
		if (parse_line(line, cfg))
			return rrc_fail(err, -EBADMSG,
					"network configuration, line %u: not understood", n);
		l += end ? 1 : 0;
		text += l;
		len -= l;
	}
	if (!cfg->ifname[0])
		return rrc_fail(err, -EBADMSG, "network configuration without a link");
	return 0;
}

static int within(const struct rrc_netaddr *net, const struct rrc_netaddr *addr)
{
	unsigned int bytes = net->prefix / 8, bits = net->prefix % 8;

	if (net->family != addr->family || memcmp(net->addr, addr->addr, bytes))
		return 0;
	return !bits || !((net->addr[bytes] ^ addr->addr[bytes]) >> (8 - bits));
}

int rrc_netcfg_onlink(const struct rrc_netcfg *cfg, const struct rrc_netaddr *addr)
{
	for (uint32_t i = 0; i < cfg->naddrs; i++)
		if (within(&cfg->addrs[i], addr))
			return 1;
	return 0;
}

const struct rrc_netroute *rrc_netcfg_route(const struct rrc_netcfg *cfg,
					    const struct rrc_netaddr *addr)
{
	const struct rrc_netroute *best = NULL;

	for (uint32_t i = 0; i < cfg->nroutes; i++) {
		const struct rrc_netroute *r = &cfg->routes[i];

		if (within(&r->dst, addr) &&
		    (!best || r->dst.prefix > best->dst.prefix ||
		     (r->dst.prefix == best->dst.prefix && r->metric < best->metric)))
			best = r;
	}
	return best;
}
