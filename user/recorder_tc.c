// SPDX-License-Identifier: MIT
/*
 * The recorder's two filters on the container's link, by tc. Apart from recorder.c because they are
 * put in and taken out inside another network namespace, and outlive the process.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "netcfg.h"
#include "recorder.h"
#include "recorder_int.h"
#include "util.h"

#define TC_HANDLE 1
/* The priority says whether the qdisc was ours to make, for a later run that takes it out. */
#define PRIO_OWN_QDISC	   50
#define PRIO_FOREIGN_QDISC 51

/* Packets are looked at from behind an Ethernet header. */
static int check_link(const char *ifname, struct rrc_error *err)
{
	struct ifreq ifr = { 0 };
	rrc_autoclose int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (strlen(ifname) >= sizeof(ifr.ifr_name))
		return rrc_fail(err, -EINVAL, "%s: name is too long for a link", ifname);
	strcpy(ifr.ifr_name, ifname);
	if (s < 0 || ioctl(s, SIOCGIFHWADDR, &ifr))
		return rrc_fail(err, -errno, "link %s: %m", ifname);
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER && ifr.ifr_hwaddr.sa_family != ARPHRD_LOOPBACK)
		return rrc_fail(err, -EOPNOTSUPP, "link %s is not Ethernet", ifname);
	return 0;
}

static int attach_one(int ifindex, enum bpf_tc_attach_point point, int prog_fd, __u32 prio)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = prio, .prog_fd = prog_fd,
		    .flags = BPF_TC_F_REPLACE);

	return bpf_tc_attach(&hook, &opts);
}

/* Whether program id is one of ours, by its name. */
static bool is_ours(__u32 id)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);
	rrc_autoclose int fd = bpf_prog_get_fd_by_id(id);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       (!strcmp(info.name, "rrc_ingress") || !strcmp(info.name, "rrc_egress"));
}

/* Filters of a killed run are replaced where they are, so that there is no gap. */
static __u32 priority(int ifindex, bool own_qdisc)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = PRIO_OWN_QDISC);

	if (own_qdisc || (!bpf_tc_query(&hook, &opts) && is_ours(opts.prog_id)))
		return PRIO_OWN_QDISC;
	return PRIO_FOREIGN_QDISC;
}

static int attach_here(struct rrc_recorder *rec, const char *ifname, struct rrc_error *err)
{
	int ret = check_link(ifname, err), ingress, egress;
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	__u32 prio;

	if (ret)
		return ret;
	hook.ifindex = (int)if_nametoindex(ifname);
	ret = bpf_tc_hook_create(&hook);
	if (ret && ret != -EEXIST)
		return rrc_fail_exit(err, RRC_EXIT_HOST, ret, "link %s: no clsact qdisc: %s",
				     ifname, strerror(-ret));
	prio = priority(hook.ifindex, !ret);
	rrc_recorder_link_progs(rec, &ingress, &egress);
	ret = attach_one(hook.ifindex, BPF_TC_INGRESS, ingress, prio);
	if (!ret)
		ret = attach_one(hook.ifindex, BPF_TC_EGRESS, egress, prio);
	if (ret)
		return rrc_fail_exit(err, RRC_EXIT_HOST, ret, "link %s: no filter: %s", ifname,
				     strerror(-ret));
	return 0;
}

/* Returns 1 when there was such a filter. */
static int detach_one(int ifindex, enum bpf_tc_attach_point point, __u32 prio)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_HANDLE, .priority = prio);
	int ret = bpf_tc_query(&hook, &opts);

	if (ret || !is_ours(opts.prog_id))
		return ret == -ENOENT || ret == -EINVAL ? 0 : ret;
	opts.prog_fd = 0;
	opts.prog_id = 0;
	opts.flags = 0;
	ret = bpf_tc_detach(&hook, &opts);
	return ret ?: 1;
}

static int detach_here(const char *ifname, struct rrc_error *err)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	static const enum bpf_tc_attach_point points[] = { BPF_TC_INGRESS, BPF_TC_EGRESS };
	static const __u32 prios[] = { PRIO_OWN_QDISC, PRIO_FOREIGN_QDISC };
	bool own_qdisc = false;
	int ret;

	hook.ifindex = (int)if_nametoindex(ifname);
	if (!hook.ifindex)
		return 0;
	for (size_t i = 0; i < RRC_ARRAY_SIZE(points); i++) {
		for (size_t j = 0; j < RRC_ARRAY_SIZE(prios); j++) {
			ret = detach_one(hook.ifindex, points[i], prios[j]);
			if (ret < 0)
				return rrc_fail(err, ret, "link %s: filter stays: %s", ifname,
						strerror(-ret));
			own_qdisc |= ret && prios[j] == PRIO_OWN_QDISC;
		}
	}
	if (own_qdisc) {
		ret = bpf_tc_hook_destroy(&hook);
		if (ret && ret != -ENOENT)
			return rrc_fail(err, ret, "link %s: clsact qdisc stays: %s", ifname,
					strerror(-ret));
	}
	return 0;
}

int rrc_recorder_attach_tc(struct rrc_recorder *rec, int netns_fd, const char *ifname,
			   struct rrc_error *err)
{
	libbpf_print_fn_t print;
	int old, ret = rrc_netns_enter(netns_fd, &old, err);

	if (ret)
		return ret;
	print = rrc_libbpf_silence(false);
	ret = attach_here(rec, ifname, err);
	if (ret)
		detach_here(ifname, NULL);
	rrc_libbpf_restore(print);
	rrc_netns_leave(old);
	return ret;
}

int rrc_recorder_detach_tc(int netns_fd, const char *ifname, struct rrc_error *err)
{
	libbpf_print_fn_t print;
	int old, ret = rrc_netns_enter(netns_fd, &old, err);

	if (ret)
		return ret;
	print = rrc_libbpf_silence(false);
	ret = detach_here(ifname, err);
	rrc_libbpf_restore(print);
	rrc_netns_leave(old);
	return ret;
}
