/* SPDX-License-Identifier: MIT */
/* What the client of the test of connection states does to its own network: segments that are lost, and TCP options that
 * new connections do without. */
#ifndef TCP_STATES_NET_H
#define TCP_STATES_NET_H

#include "tcp-states.h"

#define DROP "RRCSTATES" /* chains of ours in the client's namespace */

enum how {
	OUT = 1, /* opened by the server */
	NO_TS = 2,
	NO_SACK = 4,
	NO_WS = 8,
	REUSE = 16,
	BIG = 32, /* with PART bytes in place of SMALL */
	EMPTY = 64, /* nothing was sent before */
};

static void sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd))
		die("failed: %s", cmd);
}

/* Segments of these ports are lost on the way, each way in a chain of its own. */
static void lose(char via, const char *rule)
{
	sh("%s -w -A %s", via == '6' ? "ip6tables" : "iptables", rule);
}

static void each_table(const char *fmt)
{
	char cmd[256];

	for (int i = 0; i < 2; i++) {
		snprintf(cmd, sizeof(cmd), fmt, i ? "ip6tables -w" : "iptables -w",
			 i ? "ip6tables -w" : "iptables -w");
		sh("%s", cmd);
	}
}

static void make_chains(void)
{
	each_table("%s -N " DROP "I && %s -I INPUT -j " DROP "I");
	each_table("%s -N " DROP "O && %s -I OUTPUT -j " DROP "O");
}

static void empty_chains(void)
{
	each_table("%s -F " DROP "I && %s -F " DROP "O");
}

static void sysctl(const char *name, int val)
{
	char path[128], text[8];
	int fd, n = snprintf(text, sizeof(text), "%d", val);

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	fd = CK(open(path, O_WRONLY | O_CLOEXEC));
	CK(write(fd, text, (size_t)n));
	close(fd);
}

static void options(int how, int val)
{
	if (how & NO_TS)
		sysctl("tcp_timestamps", val);
	if (how & NO_SACK)
		sysctl("tcp_sack", val);
	if (how & NO_WS)
		sysctl("tcp_window_scaling", val);
}

#endif
