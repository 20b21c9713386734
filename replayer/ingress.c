// SPDX-License-Identifier: MIT
/* A few BPF instructions at tc ingress that drop TCP, see ingress.h. By rtnetlink, since `tc` costs ms. */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ingress.h"
#include "nl.h"
#include "util.h"

#define HANDLE 0x52524301u /* of our filters */

#define INSN(c, d, s, o, i)                                                         \
	{                                                                           \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) \
	}
#define LOAD_BYTE(off)	       INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, off)
#define JUMP(op, reg, val, by) INSN(BPF_JMP | (op) | BPF_K, reg, 0, by, val)
#define SET(reg, val)	       INSN(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, val)

static int load_drop(void)
{
	const struct bpf_insn prog[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_W, 7, 1, offsetof(struct __sk_buff, protocol), 0),
		JUMP(BPF_JEQ, 7, htons(ETHERTYPE_IP), 2),
		JUMP(BPF_JEQ, 7, htons(ETHERTYPE_IPV6), 3),
		JUMP(BPF_JA, 0, 0, 5),
		LOAD_BYTE(ETH_HLEN + 9),
		JUMP(BPF_JA, 0, 0, 1),
		LOAD_BYTE(ETH_HLEN + 6),
		JUMP(BPF_JNE, 0, IPPROTO_TCP, 1),
		JUMP(BPF_JA, 0, 0, 2),
		SET(0, TC_ACT_UNSPEC),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		SET(0, TC_ACT_SHOT),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "rrc_ingress", "GPL", prog,
			     RRC_ARRAY_SIZE(prog), NULL);
}

static struct nlmsghdr *tc_msg(char *buf, uint16_t type, uint16_t flags, uint32_t ifindex,
			       struct tcmsg **tcm)
{
	struct nlmsghdr *nlh = rrc_nl_msg(buf, type, flags);

	*tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(**tcm));
	(*tcm)->tcm_family = AF_UNSPEC;
	(*tcm)->tcm_ifindex = (int)ifindex;
	return nlh;
}

static int add_clsact(struct mnl_socket *nl, uint32_t ifindex)
{
	char buf[RRC_NL_MSG];
	struct tcmsg *tcm;
	struct nlmsghdr *nlh = tc_msg(buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, &tcm);
	int ret;

	tcm->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	tcm->tcm_parent = TC_H_CLSACT;
	mnl_attr_put_strz(nlh, TCA_KIND, "clsact");
	ret = rrc_nl_talk(nl, nlh, NULL, NULL);
	return ret == -EEXIST ? 0 : ret;
}

static struct nlmsghdr *filter_msg(char *buf, uint16_t type, uint16_t flags, uint32_t ifindex,
				   uint16_t prio)
{
	struct tcmsg *tcm;
	struct nlmsghdr *nlh = tc_msg(buf, type, flags, ifindex, &tcm);

	tcm->tcm_handle = HANDLE;
	tcm->tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
	tcm->tcm_info = TC_H_MAKE((uint32_t)prio << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(nlh, TCA_KIND, "bpf");
	return nlh;
}

int rrc_ingress_add(int netns, uint32_t ifindex, uint16_t prio, int prog, const char *name,
		    struct rrc_error *err)
{
	struct mnl_socket *nl = rrc_nl_open(netns, err);
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh;
	struct nlattr *opts;
	int ret;

	if (!nl)
		return err ? err->code : -EIO;
	ret = add_clsact(nl, ifindex);
	if (!ret) {
		nlh = filter_msg(buf, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, ifindex, prio);
		opts = mnl_attr_nest_start(nlh, TCA_OPTIONS);
		mnl_attr_put_u32(nlh, TCA_BPF_FD, (uint32_t)prog);
		mnl_attr_put_strz(nlh, TCA_BPF_NAME, name);
		mnl_attr_put_u32(nlh, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
		mnl_attr_nest_end(nlh, opts);
		ret = rrc_nl_talk(nl, nlh, NULL, NULL);
	}
	mnl_socket_close(nl);
	return ret ? rrc_fail(err, ret, "put %s on the container's link: %s", name, strerror(-ret))
		   : 0;
}

int rrc_ingress_remove(int netns, uint32_t ifindex, uint16_t prio, struct rrc_error *err)
{
	struct mnl_socket *nl = rrc_nl_open(netns, err);
	char buf[RRC_NL_MSG];
	int ret;

	if (!nl)
		return err ? err->code : -EIO;
	ret = rrc_nl_talk(nl, filter_msg(buf, RTM_DELTFILTER, 0, ifindex, prio), NULL, NULL);
	mnl_socket_close(nl);
	return ret ? rrc_fail(err, ret, "open the container's ingress: %s", strerror(-ret)) : 0;
}

int rrc_ingress_close(int netns, uint32_t ifindex, struct rrc_error *err)
{
	int prog = load_drop(), ret;

	if (prog < 0)
		return rrc_fail(err, prog, "close the container's ingress: %s", strerror(-prog));
	ret = rrc_ingress_add(netns, ifindex, RRC_INGRESS_CLOSED, prog, "rrc_ingress", err);
	close(prog);
	return ret;
}

int rrc_ingress_open(int netns, uint32_t ifindex, struct rrc_error *err)
{
	return rrc_ingress_remove(netns, ifindex, RRC_INGRESS_CLOSED, err);
}
