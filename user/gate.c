/* SPDX-License-Identifier: MIT */
/* The gate: NFQUEUE with metadata only, whole GSO packets and batch verdicts; see gate.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "gate.h"
#include "netcfg.h"
#include "util.h"

#define RRC_QUEUE      4770
#define RRC_QUEUE_STR  "4770"
#define RRC_QUEUE_LEN  32768 /* packets held at most; more are dropped and TCP sends them again */
#define RRC_RCVBUF     (8 << 20)
#define RRC_GATE_BATCH 32 /* announcements read at a time */
#define RRC_GATE_BUF   4096 /* one of them: metadata only, some 100 bytes */

struct rrc_gate {
	struct mnl_socket *nl;
	int netns_fd;
	struct mmsghdr msgs[RRC_GATE_BATCH];
	struct iovec iov[RRC_GATE_BATCH];
	uint8_t bufs[RRC_GATE_BATCH][RRC_GATE_BUF];
};

/* One rule: the same words add it and take it out. */
static const char *const rules[][16] = {
	{ "ip6tables", "-p", "icmpv6", "--icmpv6-type", "neighbour-solicitation", "-j", "ACCEPT" },
	{ "ip6tables", "-p", "icmpv6", "--icmpv6-type", "neighbour-advertisement", "-j", "ACCEPT" },
	{ "ip6tables", "!", "-o", "lo", "-j", "NFQUEUE", "--queue-num", RRC_QUEUE_STR },
	{ "iptables", "!", "-o", "lo", "-j", "NFQUEUE", "--queue-num", RRC_QUEUE_STR },
};

static int run_rule(int netns_fd, const char *op, const char *const *rule)
{
	const char *argv[32] = { rule[0], "-w", "-t", "mangle", op, "OUTPUT" };
	size_t n = 6;
	pid_t pid;
	int st;

	for (size_t i = 1; i < RRC_ARRAY_SIZE(rules[0]) && rule[i]; i++)
		argv[n++] = rule[i];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		if (setns(netns_fd, CLONE_NEWNET))
			_exit(126);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(st))
		return -ECHILD;
	return WEXITSTATUS(st) == 127 ? -ENOENT : WEXITSTATUS(st) ? -EPERM : 0;
}

int rrc_gate_cleanup(int netns_fd, struct rrc_error *err)
{
	for (size_t i = 0; i < RRC_ARRAY_SIZE(rules); i++) {
		int ret;

		do {
			ret = run_rule(netns_fd, "-D", rules[i]);
		} while (!ret);
		if (ret == -ENOENT)
			return rrc_fail_exit(err, RRC_EXIT_HOST, ENOENT,
					     "no %s on this host: apt-get install iptables",
					     rules[i][0]);
	}
	return 0;
}

static int add_rules(int netns_fd, struct rrc_error *err)
{
	int ret = rrc_gate_cleanup(netns_fd, err);

	for (size_t i = 0; !ret && i < RRC_ARRAY_SIZE(rules); i++) {
		ret = run_rule(netns_fd, "-A", rules[i]);
		if (ret)
			ret = rrc_fail_exit(
				err, RRC_EXIT_HOST, ret,
				"%s cannot queue packets in the container's network "
				"namespace: the kernel needs xt_NFQUEUE and nfnetlink_queue",
				rules[i][0]);
	}
	return ret;
}

/* Sends a configuration message and takes its acknowledgement. */
static int config(struct rrc_gate *g, struct nlmsghdr *nlh)
{
	ssize_t n;

	nlh->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(g->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(g->nl, g->bufs[0], sizeof(g->bufs[0]));
	if (n < 0)
		return -errno;
	return mnl_cb_run(g->bufs[0], (size_t)n, 0, 0, NULL, NULL) < 0 ? -errno : 0;
}

static int bind_queue(struct rrc_gate *g)
{
	uint32_t flags = NFQA_CFG_F_GSO;
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh;
	int ret;

	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, RRC_QUEUE);
	nfq_nlmsg_cfg_put_cmd(nlh, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	ret = config(g, nlh);
	if (ret)
		return ret;
	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, RRC_QUEUE);
	nfq_nlmsg_cfg_put_params(nlh, NFQNL_COPY_META, 0);
	nfq_nlmsg_cfg_put_qmaxlen(nlh, RRC_QUEUE_LEN);
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(flags));
	return config(g, nlh);
}

/* Opens the socket while in the container's network namespace, and comes back. */
static int open_in_netns(struct rrc_gate *g)
{
	int old, ret = rrc_netns_enter(g->netns_fd, &old, NULL);

	if (ret)
		return ret;
	g->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!g->nl || mnl_socket_bind(g->nl, 0, MNL_SOCKET_AUTOPID) < 0)
		ret = -errno;
	rrc_netns_leave(old);
	return ret;
}

struct rrc_gate *rrc_gate_open(int netns_fd, struct rrc_error *err)
{
	struct rrc_gate *g = calloc(1, sizeof(*g));
	int size = RRC_RCVBUF, one = 1, ret;

	if (!g) {
		rrc_fail(err, ENOMEM, "no memory for the gate");
		return NULL;
	}
	g->netns_fd = netns_fd;
	for (size_t i = 0; i < RRC_GATE_BATCH; i++) {
		g->iov[i] = (struct iovec){ g->bufs[i], sizeof(g->bufs[i]) };
		g->msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &g->iov[i], .msg_iovlen = 1 };
	}
	ret = open_in_netns(g);
	if (!ret)
		ret = bind_queue(g);
	if (ret) {
		rrc_fail_exit(err, RRC_EXIT_HOST, ret, "cannot listen on packet queue %d: %s%s",
			      RRC_QUEUE, strerror(-ret),
			      ret == -EBUSY ? " (another rrc-trace holds it)" : "");
		goto fail;
	}
	/* A lost announcement does no harm: a later verdict covers its packet too. */
	mnl_socket_setsockopt(g->nl, NETLINK_NO_ENOBUFS, &one, sizeof(one));
	setsockopt(mnl_socket_get_fd(g->nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	fcntl(mnl_socket_get_fd(g->nl), F_SETFL, O_NONBLOCK);
	if (add_rules(netns_fd, err))
		goto fail;
	return g;
fail:
	rrc_gate_cleanup(netns_fd, NULL);
	if (g->nl)
		mnl_socket_close(g->nl);
	free(g);
	return NULL;
}

void rrc_gate_abandon(struct rrc_gate *g)
{
	if (!g)
		return;
	mnl_socket_close(g->nl);
	free(g);
}

void rrc_gate_close(struct rrc_gate *g)
{
	uint32_t last;

	if (!g)
		return;
	/* Rules first, then what they put into the queue until then. */
	rrc_gate_cleanup(g->netns_fd, NULL);
	rrc_gate_read(g, &last);
	rrc_gate_release(g, UINT32_MAX >> 1);
	rrc_gate_abandon(g);
}

int rrc_gate_fd(const struct rrc_gate *g)
{
	return mnl_socket_get_fd(g->nl);
}

/* The packets that one datagram of the queue announces. */
static int take_packets(const uint8_t *buf, size_t len, uint32_t *last)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;
	int left = (int)len, count = 0;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		struct nlattr *attr[NFQA_MAX + 1] = { 0 };
		struct nfqnl_msg_packet_hdr *ph;

		if (nlh->nlmsg_type != ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET) ||
		    nfq_nlmsg_parse(nlh, attr) < 0 || !attr[NFQA_PACKET_HDR])
			continue;
		ph = mnl_attr_get_payload(attr[NFQA_PACKET_HDR]);
		*last = ntohl(ph->packet_id);
		count++;
	}
	return count;
}

/* The queue announces each packet in a datagram of its own: many are taken with one call. */
int rrc_gate_read(struct rrc_gate *g, uint32_t *last)
{
	int count = 0, n;

	do {
		n = recvmmsg(mnl_socket_get_fd(g->nl), g->msgs, RRC_GATE_BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < n; i++)
			count += take_packets(g->bufs[i], g->msgs[i].msg_len, last);
	} while (n == RRC_GATE_BATCH);
	return count;
}

int rrc_gate_release(struct rrc_gate *g, uint32_t id)
{
	char buf[256];
	struct nlmsghdr *nlh = nfq_nlmsg_put(buf, NFQNL_MSG_VERDICT_BATCH, RRC_QUEUE);

	nfq_nlmsg_verdict_put(nlh, (int)id, NF_ACCEPT);
	return mnl_socket_sendto(g->nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}
