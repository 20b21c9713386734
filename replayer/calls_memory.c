// SPDX-License-Identifier: MIT
/* Mappings: made for real, at the recorded address. */
#include <sys/mman.h>

#include "tracee.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Results that are errors lie in the last page of the address space. */
static bool refused(const struct rrc_rec *rec)
{
	return rec->ret < 0 && rec->ret >= -4095;
}

static int mmap_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)err;
	if (refused(rec))
		return RRC_HOW_EMULATE;
	real->rdi = (uint64_t)rec->ret;
	real->r10 = (rec->args[3] & ~(uint64_t)MAP_FIXED_NOREPLACE) | MAP_FIXED;
	return RRC_HOW_EXECUTE;
}

const struct rrc_call_ops rrc_ops_mmap = { .how = mmap_how };

static int mremap_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		      struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)err;
	if (refused(rec))
		return RRC_HOW_EMULATE;
	if ((uint64_t)rec->ret != rec->args[0]) {
		real->r10 = rec->args[3] | MREMAP_MAYMOVE | MREMAP_FIXED;
		real->r8 = (uint64_t)rec->ret;
	}
	return RRC_HOW_EXECUTE;
}

const struct rrc_call_ops rrc_ops_mremap = { .how = mremap_how };
