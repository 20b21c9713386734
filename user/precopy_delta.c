/* SPDX-License-Identifier: MIT */
/* Engine precopy: a manifest and a delta of what was taken, when the container runs again. */
#include "precopy_int.h"

struct rrc_deltas_stack rrc_precopy_stack(const struct pre_process *p)
{
	struct rrc_deltas_stack s = { 0 };

	return rrc_dirty_stack(p->dirty, &s.start, &s.end) ? s : (struct rrc_deltas_stack){ 0 };
}

int rrc_precopy_delta(struct precopy *e, struct rrc_error *err)
{
	struct rrc_taking *t = e->t;
	int ret = rrc_deltas_begin(&e->kept, t, err);

	for (size_t i = 0; i < e->nthreads && !ret; i++)
		ret = rrc_deltas_thread(t, &e->threads[i].state, e->threads[i].xsave, err);
	for (size_t i = 0; i < e->nprocs && !ret; i++) {
		struct pre_process *p = &e->procs[i];
		struct rrc_deltas_stack now = rrc_precopy_stack(p);

		ret = rrc_deltas_process(t, p->ns_pid, p->pages, p->sent, &p->stack, &now, err);
	}
	return ret ? ret : rrc_deltas_end(t, err);
}
