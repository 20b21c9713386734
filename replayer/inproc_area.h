/* SPDX-License-Identifier: MIT */
/*
 * What the engine and its code inside a replayed program share: which calls each thread is expected to make next.
 * Plain numbers only; the code in the program is compiled without libc.
 */
#ifndef RRC_INPROC_AREA_H
#define RRC_INPROC_AREA_H

#include <stddef.h>
#include <stdint.h>

#define RRC_IP_SLOTS   128
#define RRC_IP_TABLE   1024 /* slots by bits 12 to 21 of the thread's fs base */
#define RRC_IP_ENTRIES 1024
#define RRC_IP_SEGS    4
#define RRC_IP_STACK   2048 /* where a slot's stack ends and its entries begin */

enum rrc_ip_how {
	RRC_IP_PLAIN, /* at the address in an argument */
	RRC_IP_IOVEC,
	RRC_IP_MSG, /* in a struct msghdr: its data, … */
	RRC_IP_MSGNAME,
	RRC_IP_MSGCTL,
};

struct rrc_ip_seg {
	uint32_t off, len; /* of the bytes, in the record */
	uint8_t how; /* enum rrc_ip_how */
	uint8_t in; /* compared, else written */
	uint8_t ptr, count; /* arguments */
};

/* One call that is expected. */
struct rrc_ip_entry {
	uint64_t rec; /* address of its record */
	uint8_t mask; /* of the arguments that are compared */
	uint8_t nseg;
	uint8_t pad[6];
	struct rrc_ip_seg seg[RRC_IP_SEGS];
};
_Static_assert(sizeof(struct rrc_ip_entry) == 64, "entry");

/* A thread's: written by the engine while the thread is stopped, by the thread while it runs. */
struct rrc_ip_slot {
	uint64_t fs; /* whose it is */
	uint32_t active; /* there is something to take */
	uint32_t site; /* of the last call */
	/* as at the call: the arguments at first, in their order; rax gets the result */
	uint64_t args[6];
	uint64_t rax, rsp, rbx, rbp, r12, r13, r14, r15;
	/* Entries, counted on and on: taken <= granted <= filled. Before one that is not granted it waits. */
	uint32_t taken, filled, granted;
	uint32_t waiting; /* in FUTEX_WAIT on granted */
	uint8_t selector; /* of prctl(PR_SET_SYSCALL_USER_DISPATCH): 1: calls elsewhere than in our code stop it */
	uint8_t pad[15];
	uint8_t stack[RRC_IP_STACK - 160];
	struct rrc_ip_entry entry[RRC_IP_ENTRIES]; /* index modulo their number */
};
_Static_assert(offsetof(struct rrc_ip_slot, rax) == 64, "the instructions count on it");
_Static_assert(offsetof(struct rrc_ip_slot, taken) == 128, "the instructions count on it");
_Static_assert(offsetof(struct rrc_ip_slot, entry) == RRC_IP_STACK, "the instructions count on it");

struct rrc_ip_area {
	uint64_t table[RRC_IP_TABLE]; /* addresses of slots */
	struct rrc_ip_slot slot[RRC_IP_SLOTS];
};

/*
 * The code, position-independent, as it is copied; two words (table, thunks) in it are filled in by who copies it.
 * A thunk for each patched place leads there (sites.h).
 */
extern const uint8_t __start_rrc_inproc[], __stop_rrc_inproc[], rrc_ip_enter[];
extern const uint8_t rrc_ip_table[], rrc_ip_thunks[];

#endif
