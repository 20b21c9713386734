/* SPDX-License-Identifier: GPL-2.0 */
/* What the program that recreates connections in their listener is told, and what it says. */
#ifndef RRC_REBORN_H
#define RRC_REBORN_H

#include <linux/types.h>

#define RRC_REBORN_MAX 65536

/* As in the packets of the client; IPv4 in the first 4 bytes, the rest zero. */
struct rrc_reborn_key {
	__u8 client[16], own[16];
	__u16 client_port, own_port; /* network byte order */
};

enum rrc_reborn_state {
	RRC_REBORN_WAITS = 0, /* for the packet that completes the handshake */
	RRC_REBORN_GIVEN, /* the listener got it */
	RRC_REBORN_ALIVE, /* the kernel has the connection, or a handshake of its own */
};

/* For so long a client's SYN is not shown to the kernel: it has an answer of ours on its way. */
#define RRC_REBORN_ANSWER_NS 1000000000ull

struct rrc_reborn_entry {
	__u64 answered_ns; /* CLOCK_MONOTONIC: its SYN was answered last; not sure ones alone */
	__u32 first_in; /* the client's first byte */
	__u32 first_out; /* ours; only if sure */
	__u32 ts_ahead; /* our TSval goes on from what the client has seen, plus this */
	__u32 tsval, tsecr; /* if sure */
	__u16 mss;
	__u8 rcv_wscale, snd_wscale;
	__u8 ecn, wscale, sack, ts, usec_ts;
	__u8 sure; /* our first byte and times are known; else they are the client's word */
	__u8 state; /* enum rrc_reborn_state */
	__u8 pad;
	__s32 error; /* what the kernel said, negative */
};

#endif
