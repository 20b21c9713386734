/* SPDX-License-Identifier: MIT */
/*
 * The record: one nondeterministic outcome. The log is records in one total order, which is the
 * order of the ring buffer (rule 2). Shared by bpf/ and user space, so fixed-width types only.
 *
 * A record is
 *
 *	struct rrc_rec		fixed header, with all six argument registers
 *	struct rrc_seg[nseg]	what the payload is made of
 *	payload			the segments' bytes, one after the other, no padding between them
 *	padding			zeros up to a multiple of 8
 *
 * A record that is not a call uses the same header and one segment that holds its structure below.
 */
#ifndef RRC_RECORD_H
#define RRC_RECORD_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define RRC_FORMAT_VERSION 4 /* raised by every change to record, frame or manifest */
#define RRC_REC_MAX_SEG	   8
#define RRC_REC_MAX_SIZE   (48u << 20) /* a larger payload is a barrier, not a record */

enum rrc_rec_kind {
	RRC_REC_NONE = 0,
	RRC_REC_SYSCALL, /* a call returned */
	RRC_REC_ENTER, /* a call that never returns was entered: exit, exit_group */
	RRC_REC_SIGNAL, /* a signal is delivered to tid: struct rrc_rec_signal */
	RRC_REC_BIRTH, /* tid made ret (a thread id of the container); args[0] = clone flags,
				 * args[1] = thread group id of the child. Placed before either runs */
	RRC_REC_DEATH, /* task tid is gone; ret = exit code as wait(2) shows it */
	RRC_REC_EXEC, /* tid executes a new program: struct rrc_rec_exec */
	RRC_REC_PACKET, /* an IP packet came in: struct rrc_rec_packet, then its bytes */
	RRC_REC_CONN, /* a TCP connection is established: struct rrc_rec_conn */
	RRC_REC_CONN_STATE, /* obj changed state: args[0] = old, args[1] = new (TCP_*) */
	RRC_REC_CUT, /* by the collector: a checkpoint was taken here; args[0] = its number */
	RRC_REC_LOST, /* by the collector: ret records are missing, somewhere in the args[0] bytes of records
				 * before this place */
	RRC_REC_LOCKS, /* by the collector: what thread slot args[0] of process pid did since it said so
				 * last (lib/locklog.h): args[1] = ops, args[2] = done, args[3] = which
				 * area, args[4] = 1 if a program brought it that was executed
				 * while we watched; and its events.
				 * Of no thread, and no part of the order: the events hold their own */
	RRC_REC_KINDS,
};

enum rrc_rec_flags {
	RRC_F_BARRIER = 1 << 0, /* cannot be replayed: hold outputs until the next checkpoint */
	RRC_F_FAULT = 1 << 1, /* a page of the payload was not readable (is a barrier too) */
	RRC_F_TRUNC = 1 << 2, /* payload is not whole (is a barrier too) */
	RRC_F_UNPATCHED = 1 << 3, /* the process reads clocks unseen (is a barrier too) */
	RRC_F_NONBLOCK = 1 << 4, /* the descriptor had O_NONBLOCK set */
	RRC_F_COMPAT = 1 << 5, /* a 32-bit call (is a barrier too) */
};

/* What is behind the descriptor that a call is about. */
enum rrc_fdkind {
	RRC_FD_NONE = 0, /* the call has no descriptor, or it was not open */
	RRC_FD_REG, /* file of the container */
	RRC_FD_DIR,
	RRC_FD_PROC, /* file in /proc, /sys, cgroup */
	RRC_FD_CHR, /* character or block device, terminal */
	RRC_FD_FIFO, /* pipe or named pipe */
	RRC_FD_TCP, /* TCP socket, not listening */
	RRC_FD_TCP_LISTEN,
	RRC_FD_UDP,
	RRC_FD_UNIX,
	RRC_FD_SOCK_OTHER, /* netlink, raw, … */
	RRC_FD_ANON, /* eventfd, epoll, timerfd, signalfd, inotify, … */
	RRC_FDKINDS,
};

struct rrc_rec {
	__u32 size; /* of the whole record, padding included; a multiple of 8 */
	__u8 kind; /* enum rrc_rec_kind */
	__u8 fdkind; /* enum rrc_fdkind */
	__u16 flags; /* enum rrc_rec_flags */
	__u32 tid; /* thread id in the container's pid namespace; 0: not of a thread */
	__u32 pid; /* thread group id there */
	__u16 nr; /* system call number */
	__u8 nseg;
	__u8 reserved;
	__u32 seq; /* counts all records tried, lost ones too, so a gap shows a loss; not the order */
	__s64 ret;
	__u64 entry_ns; /* CLOCK_MONOTONIC of the host at entry; 0: not known (it is not for emulated calls
			 * that do not block) */
	__u64 exit_ns; /* … at exit, when the record was placed */
	__u64 obj; /* identity behind the descriptor: socket cookie for TCP, else inode number or,
			 * for anonymous inodes, a value unique while the file is open */
	__u64 args[6]; /* as at entry: rdi rsi rdx r10 r8 r9 */
};
_Static_assert(sizeof(struct rrc_rec) == 104, "record header");

enum rrc_seg_dir {
	RRC_SEG_OUT = 0, /* the kernel wrote it: replay puts it into the program's memory */
	RRC_SEG_IN = 1, /* the program gave it: replay compares */
};

struct rrc_seg {
	__u32 len; /* bytes of payload */
	__u8 row; /* index into the call's row of segments, which says where the bytes belong */
	__u8 dir; /* enum rrc_seg_dir */
	__u16 index; /* element, where one row yields several (recvmmsg) */
};
_Static_assert(sizeof(struct rrc_seg) == 8, "segment");

struct rrc_rec_signal {
	__u64 ip, sp; /* where it interrupted */
	__s64 ax, orig_ax; /* orig_ax < 0: not in a call (is a barrier when not a fault) */
	__u8 info[48]; /* the first bytes of struct siginfo; all that the kernel fills */
};
_Static_assert(sizeof(struct rrc_rec_signal) == 80, "signal");

struct rrc_rec_exec {
	__u8 random[16]; /* the bytes that AT_RANDOM points to */
	__u64 start_stack;
	__u64 vdso;
};
_Static_assert(sizeof(struct rrc_rec_exec) == 32, "exec");

struct rrc_rec_packet {
	__u32 len; /* of the packet from its IP header on */
	__u16 gso_segs;
	__u16 family; /* AF_INET or AF_INET6 */
	__u8 mac_src[6]; /* who sent it */
	__u8 mac_dst[6];
	__u32 ifindex;
	/* then len bytes from the IP header on */
};
_Static_assert(sizeof(struct rrc_rec_packet) == 24, "packet");

/* A TCP connection as it was when it became established (or at the first checkpoint). */
struct rrc_rec_conn {
	__u64 cookie; /* = rec.obj */
	__u16 family; /* of the socket: AF_INET or AF_INET6 (then v4-mapped is possible) */
	__u16 lport, rport; /* host byte order */
	__u8 active; /* 1: opened by the container */
	__u8 state; /* TCP_* */
	__u8 laddr[16], raddr[16]; /* network byte order; IPv4 in the first 4 */
	__u32 snd_nxt, snd_una, rcv_nxt, copied_seq, write_seq;
	__u32 snd_wnd, rcv_wnd, window_clamp;
	__u32 mss_clamp, advmss, mss_cache;
	__u32 ts_offset, rcv_tsval, rcv_tsecr, ts_recent;
	__u8 sack_ok, wscale_ok, snd_wscale, rcv_wscale, tstamp_ok, ecn, usec_ts, loopback;
	__u32 netns;
};
_Static_assert(sizeof(struct rrc_rec_conn) == 120, "connection");

#endif
