/* SPDX-License-Identifier: MIT */
/* Engine precopy: a manifest and a delta of what was taken, when the container runs again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "precopy_int.h"
#include "util.h"

void rrc_precopy_stack(struct pre_process *p)
{
	if (!rrc_dirty_stack(p->dirty, &p->stack_start, &p->stack_end))
		p->stack_start = p->stack_end = 0;
}

static int add_process(struct precopy *e, struct pre_process *p, struct rrc_delta *d,
		       struct rrc_error *err)
{
	struct rrc_delta_stack s = { .pid = p->ns_pid, .start = p->stack_start };
	const uint8_t *const *data;
	const uint64_t *addr;
	size_t n;
	int ret = 0;

	rrc_precopy_stack(p);
	s.end = p->stack_end;
	/* As far as it ever came: it never gets smaller. */
	if (p->stack_start && p->stack_start < s.start) {
		s.start = p->stack_start;
		ret = rrc_delta_add_stack(d, &s);
	}
	n = rrc_pages_all(p->pages, &addr, &data);
	e->t->times.pages += n;
	if (!ret)
		ret = rrc_delta_add_pages(d, p->ns_pid, addr, data, n);
	rrc_pages_clear(p->pages);
	return ret ? rrc_fail(err, ret, "no memory for a delta") : 0;
}

static int begin_manifest(struct precopy *e, struct rrc_error *err)
{
	struct rrc_taking *t = e->t;
	int ret;

	t->cut.restarts = (const struct rrc_rec *const *)e->restarts;
	t->sockets = e->sockets;
	ret = rrc_taking_manifest(t, RRC_MANIFEST_DELTA, err);
	t->sockets = (struct rrc_sockets){ 0 };
	t->cut.restarts = NULL;
	return ret;
}

int rrc_precopy_delta(struct precopy *e, struct rrc_error *err)
{
	struct rrc_taking *t = e->t;
	struct rrc_delta *d = t->delta = rrc_delta_new(t->number, t->after);
	struct rrc_manifest_file f;
	const void *bytes;
	size_t len;
	int ret = 0;

	if (!d)
		return rrc_fail(err, ENOMEM, "no memory for a delta");
	ret = begin_manifest(e, err);
	for (size_t i = 0; i < e->nthreads && !ret; i++)
		if (rrc_delta_add_thread(d, &e->threads[i].state, e->threads[i].xsave))
			ret = rrc_fail(err, ENOMEM, "no memory for a delta");
	for (size_t i = 0; i < e->nprocs && !ret; i++)
		ret = add_process(e, &e->procs[i], d, err);
	if (ret)
		return ret;
	bytes = rrc_delta_bytes(d, &len);
	f = (struct rrc_manifest_file){ len, XXH3_64bits(bytes, len) };
	if (rrc_manifest_add(t->manifest, RRC_SECTION_FILE, &f, sizeof(f), RRC_DELTA_NAME,
			     strlen(RRC_DELTA_NAME)))
		return rrc_fail(err, ENOMEM, "no memory for a manifest");
	return 0;
}
