/* SPDX-License-Identifier: MIT */
/* One step up the stack of a stopped thread, by the call frame information that an object carries for its
 * exceptions (.eh_frame): where the frame's return address is, exactly, at any instruction. */
#ifndef RRC_UNWIND_H
#define RRC_UNWIND_H

#include <stdint.h>
#include <sys/types.h>

struct rrc_frame {
	uint64_t pc, sp, bp;
	uint64_t slot; /* where this frame's return address was found: the former frame's */
};

/* hdr: address of the object's .eh_frame_hdr in process pid. inner: the frame stands at pc, and is not in a call
 * before it. Moves *f to the caller's. 0 or a negative errno: what is not understood is -ENOTSUP. */
int rrc_unwind(pid_t pid, uint64_t hdr, int inner, struct rrc_frame *f);

#endif
