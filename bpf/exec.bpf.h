/* SPDX-License-Identifier: GPL-2.0 */
/* A new program: its record, and the mark of a process whose vDSO is not patched yet. */
#ifndef RRC_EXEC_BPF_H
#define RRC_EXEC_BPF_H

#include "maps.bpf.h"

#define AT_NULL	   0
#define AT_RANDOM  25
#define AUXV_WORDS 56

static __always_inline void flag_unpatched(struct rrc_thread *t)
{
	u32 pid = t->rec.pid, gen = run_unpatched_gen;

	if (!t->unpatched && t->unpatched_gen == gen)
		return;
	t->unpatched_gen = gen;
	if (bpf_map_lookup_elem(&rrc_unpatched, &pid))
		t->unpatched = 1;
	else
		t->unpatched = 0; /* patched meanwhile: not looked for again */
	if (t->unpatched)
		t->rec.flags |= RRC_F_UNPATCHED | RRC_F_BARRIER;
}

/* Where AT_RANDOM points to; 0: nowhere. */
static __always_inline u64 at_random(struct mm_struct *mm)
{
	u32 zero = 0;
	u64 *auxv = bpf_map_lookup_elem(&rrc_scratch, &zero);

	/* Some kernels keep fewer words; what follows them does no harm. */
	if (!auxv || bpf_probe_read_kernel(auxv, AUXV_WORDS * sizeof(*auxv), &mm->saved_auxv))
		return 0;
	for (int i = 0; i < AUXV_WORDS; i += 2) {
		if (auxv[i] == AT_NULL)
			return 0;
		if (auxv[i] == AT_RANDOM)
			return auxv[i + 1];
	}
	return 0;
}

/* At the exit of the call, so after whoever patched the new program: the bytes that it will see. */
static __always_inline void emit_exec(struct rrc_thread *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mm_struct *mm = task->mm;
	struct {
		struct rrc_rec rec;
		struct rrc_seg seg;
		struct rrc_rec_exec exec;
	} * r;
	u64 random;

	if (!mm)
		return;
	random = at_random(mm);
	t->rec.kind = RRC_REC_EXEC;
	t->rec.seq = next_seq();
	r = bpf_ringbuf_reserve(&rrc_events, sizeof(*r), 0);
	if (!r) {
		count(lost);
		return;
	}
	t->rec.exit_ns = bpf_ktime_get_ns();
	r->rec = t->rec;
	r->rec.size = sizeof(*r);
	r->rec.nseg = 1;
	r->seg = (struct rrc_seg){ .len = sizeof(r->exec) };
	r->exec.start_stack = mm->start_stack;
	r->exec.vdso = (u64)mm->context.vdso;
	if (bpf_probe_read_user(r->exec.random, sizeof(r->exec.random), (void *)random)) {
		r->rec.flags |= RRC_F_FAULT | RRC_F_BARRIER;
		count(faults);
		__builtin_memset(r->exec.random, 0, sizeof(r->exec.random));
	}
	bpf_ringbuf_submit(r, wake_flags(r->rec.flags, r->rec.seq));
}

#endif
