/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's types that the programs in bpf/ name, with the fields that they use and nothing else.
 * Every access is relocated at load (CO-RE) to where the running kernel keeps the field, so order
 * and size here mean nothing. Checked against 6.1 and 6.18.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include <linux/types.h>
#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;
enum {
	false = 0,
	true = 1
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	s64 counter;
} atomic64_t;

/* Tasks. */

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct thread_info {
	u32 status;
};

struct mm_struct {
	unsigned long start_stack;
	struct {
		void *vdso;
	} context;
	unsigned long saved_auxv[2];
};

struct signal_struct {
	unsigned int flags;
	int group_exit_code;
};

struct file;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct thread_info thread_info;
	int pid, tgid;
	int exit_code;
	unsigned long jobctl;
	struct pid *thread_pid;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct files_struct *files;
	struct signal_struct *signal;
};

struct pt_regs {
	unsigned long r10, r9, r8, ax, dx, si, di, orig_ax, ip, sp;
};

struct linux_binprm;

typedef void (*__sighandler_t)(int);

struct sigaction {
	__sighandler_t sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct kernel_siginfo {
	int si_signo;
	int si_code;
};

/* Files. */

struct super_block {
	unsigned long s_magic;
};

struct inode {
	unsigned short i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	unsigned int f_flags;
	void *private_data;
	long long f_pos;
};

/* Sockets. */

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct net_device {
	int ifindex;
};

struct dst_entry {
	struct net_device *dev;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_type, sk_protocol;
	u32 sk_ack_backlog;
	struct dst_entry *sk_dst_cache;
};

struct socket {
	struct sock *sk;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_options_received {
	u32 ts_recent, rcv_tsval, rcv_tsecr;
	u16 tstamp_ok : 1, wscale_ok : 1, sack_ok : 3, snd_wscale : 4, rcv_wscale : 4;
	u16 mss_clamp;
};

struct rb_node;

struct rb_root {
	struct rb_node *rb_node;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 snd_nxt, snd_una, rcv_nxt, copied_seq, write_seq;
	u32 snd_wnd, rcv_wnd, window_clamp;
	u32 mss_cache, tsoffset;
	u16 advmss;
	u8 ecn_flags;
	u8 tcp_usec_ts : 1;
	struct tcp_options_received rx_opt;
	struct rb_root out_of_order_queue;
};

struct seq_file;

struct bpf_iter_meta {
	union {
		struct seq_file *seq;
	};
};

struct bpf_iter__tcp {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct sock_common *sk_common;
	};
};

#pragma clang attribute pop

#endif
