/* SPDX-License-Identifier: GPL-2.0 */
/* The log of write faults, as its program and its reader see it. */
#ifndef RRC_BPF_WRITES_H
#define RRC_BPF_WRITES_H

#define RRC_WRITES (1u << 18) /* entries; a power of two */

/* An entry: which page, and the thread's id inside the container. 0: not written yet. */
#define RRC_WRITE_TID_BITS	 24
#define RRC_WRITE_ENTRY(a, tid)	 ((a) >> 12 << RRC_WRITE_TID_BITS | (tid))
#define RRC_WRITE_TID(entry)	 ((entry) & ((1u << RRC_WRITE_TID_BITS) - 1))
#define RRC_WRITE_ADDRESS(entry) ((entry) >> RRC_WRITE_TID_BITS << 12)

#endif
