/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the maps hold, for the programs and for user space. `bpftool map dump pinned
 * /sys/fs/bpf/rrc/NAME/rrc_stats` shows it in clear text.
 */
#ifndef RRC_MAPS_H
#define RRC_MAPS_H

#include "../lib/record.h"
#include "../lib/syscalls.h"

#define RRC_MAX_THREADS 16384
#define RRC_MAX_CONNS	65536
#define RRC_MAX_CMDS	1024
#define RRC_NR_OTHER	511 /* rrc_barriers: of calls whose number is not below 512 */

/* One entry, mappable. Fields change while they are read. */
struct rrc_stats {
	__u64 records; /* tried, lost ones too; its low half is the last rec.seq + 1 */
	__u64 lost; /* no room in the ring, or no room to know the thread */
	__u64 barriers; /* records with RRC_F_BARRIER */
	__u64 faults; /* segments that could not be read */
	__u64 truncated; /* segments that were too long */
	__u64 births;
	__u64 deaths;
	__u64 signals;
	__u64 packets;
	__u64 packets_dropped; /* no room in the ring: the sender sends again */
	__u64 conns; /* connections established */
	__u64 drained_records; /* by the reader */
	__u64 drained_bytes;
};

/* Key of rrc_cmds, whose values are struct rrc_cmdrow. */
#define RRC_CMD_KEY(nr, cmd) ((__u64)(nr) << 32 | (__u32)(cmd))

/* Where a segment's bytes are: worked out before the record is reserved. */
struct rrc_piece {
	__u64 src; /* user address, by kind */
	__u32 len; /* bytes of payload; of a string: the most that it may have */
	__u32 count; /* elements of the vector */
	__u8 kind; /* enum rrc_piece_kind */
	__u8 row;
	__u8 dir;
	__u8 pad[5];
};

enum rrc_piece_kind {
	RRC_PIECE_BYTES = 0,
	RRC_PIECE_STR,
	RRC_PIECE_IOVEC, /* struct iovec[] */
	RRC_PIECE_MMSG, /* struct mmsghdr[]: data, … */
	RRC_PIECE_MMSGNAME, /* … names, … */
	RRC_PIECE_MMSGCTL, /* … control data */
};

/*
 * A thread of the container, by its thread id on the host. `rec` is the header of the record that
 * is being made, so a dump shows the thread's last call.
 */
struct rrc_thread {
	struct rrc_rec rec;
	__u64 calls; /* recorded */
	__u8 in_call;
	__u8 unpatched; /* RRC_F_UNPATCHED may apply: rrc_unpatched knows */
	__u8 npiece;
	__u8 fd_known; /* rec.fdkind and rec.obj were found at entry */
	__u8 futex_rests; /* a wait in futex() was broken off: restart_syscall() is its rest */
	__u64 again_ns; /* its last call is a wait that the exec watcher's stop broke off: when it began, CLOCK_MONOTONIC;
			 * 0: it is not */
	__u32 entry_len[RRC_ROW_SEGS]; /* RRC_ROW_ENTRY_VALRES, one per row of segments */
	__u32 total; /* bytes of all pieces */
	__u32 unpatched_gen; /* run_unpatched_gen when `unpatched` was last looked at */
	struct rrc_piece piece[RRC_REC_MAX_SEG];
};

/* A TCP connection of the container's network namespace, by socket cookie. */
struct rrc_conn_entry {
	__u8 laddr[16], raddr[16];
	__u16 family;
	__u16 lport, rport;
	__u8 state;
	__u8 active;
	__u64 since_ns;
};

/* The dead-man's switch. Mappable. */
struct rrc_lease {
	__u64 armed; /* 0: everything passes */
	__u64 until_ns; /* CLOCK_MONOTONIC; armed and now later than this: everything is dropped */
	__u64 passed;
	__u64 dropped;
};

/* What the iterator rrc_waiting gives: a byte a socket. */
#define RRC_WAITING_ACCEPT 'a' /* a listener with connections that wait to be accepted */
#define RRC_WAITING_GAP	   'g' /* a connection with bytes that came out of order */

#endif
