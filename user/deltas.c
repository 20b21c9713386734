/* SPDX-License-Identifier: MIT */
/* What the engines that make deltas have in common, see deltas.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>

#include "deltas.h"
#include "locklog.h"
#include "ptrace.h"
#include "util.h"

#define MOST_LINES 48 /* a page that changed more is sent whole */

static void forget_sockets(struct rrc_deltas *k)
{
	rrc_sockets_free(&k->sockets);
	k->have_sockets = 0;
}

void rrc_deltas_forget(struct rrc_deltas *k)
{
	forget_sockets(k);
	rrc_deltas_drop_restarts(k);
}

int rrc_deltas_sockets(struct rrc_deltas *k, struct rrc_error *err)
{
	uint64_t now = rrc_changes_descriptors(k->o->changes);

	if (k->have_sockets && now == k->sockets_at)
		return 0;
	forget_sockets(k);
	if (rrc_sockets_collect(&k->sockets, k->o->container->pidns, 0, err))
		return err->code;
	k->have_sockets = 1;
	k->sockets_at = now;
	return 0;
}

int rrc_deltas_restarts(struct rrc_deltas *k, const struct rrc_cut *cut, struct rrc_error *err)
{
	k->restarts = calloc(cut->nrestarts + 1, sizeof(*k->restarts));
	for (size_t i = 0; i < cut->nrestarts && k->restarts; i++) {
		struct rrc_rec *copy = malloc(cut->restarts[i]->size);

		if (!copy)
			return rrc_fail(err, ENOMEM, "no memory");
		k->restarts[k->nrestarts++] =
			memcpy(copy, cut->restarts[i], cut->restarts[i]->size);
	}
	return k->restarts ? 0 : rrc_fail(err, ENOMEM, "no memory");
}

void rrc_deltas_drop_restarts(struct rrc_deltas *k)
{
	for (size_t i = 0; i < k->nrestarts; i++)
		free(k->restarts[i]);
	free(k->restarts);
	k->restarts = NULL;
	k->nrestarts = 0;
}

int rrc_deltas_locklog(pid_t pid, uint64_t at, uint64_t *len, struct rrc_error *err)
{
	uint32_t slots = 0;
	int ret =
		rrc_mem_read(pid, at + offsetof(struct rrc_ll_area, slots), &slots, sizeof(slots));

	if (ret)
		return rrc_fail(err, ret, "the lock log of process %d", pid);
	slots = rrc_min(slots, (uint32_t)RRC_LL_SLOTS);
	*len = offsetof(struct rrc_ll_area, slot) + slots * sizeof(struct rrc_ll_slot);
	return 0;
}

int rrc_deltas_begin(struct rrc_deltas *k, struct rrc_taking *t, struct rrc_error *err)
{
	int ret;

	t->delta = rrc_delta_new(t->number, t->after);
	if (!t->delta)
		return rrc_fail(err, ENOMEM, "no memory for a delta");
	t->cut.restarts = (const struct rrc_rec *const *)k->restarts;
	t->sockets = k->sockets;
	ret = rrc_taking_manifest(t, RRC_MANIFEST_DELTA, err);
	t->sockets = (struct rrc_sockets){ 0 };
	t->cut.restarts = NULL;
	return ret;
}

int rrc_deltas_thread(struct rrc_taking *t, const struct rrc_delta_thread *state,
		      const uint8_t *xsave, struct rrc_error *err)
{
	int ret = rrc_delta_add_thread(t->delta, state, xsave);

	return ret ? rrc_fail(err, ret, "no memory for a delta") : 0;
}

/* Pages of a process, told apart: those that the receiver has nearly as they are, and the others. */
struct parts {
	struct rrc_delta_changed *changed;
	const uint8_t **changed_data, **whole_data;
	uint64_t *whole;
	size_t nchanged, nwhole;
};

static int parts_new(struct parts *p, size_t n)
{
	p->changed = malloc((n + 1) * sizeof(*p->changed));
	p->changed_data = malloc((n + 1) * sizeof(*p->changed_data));
	p->whole = malloc((n + 1) * sizeof(*p->whole));
	p->whole_data = malloc((n + 1) * sizeof(*p->whole_data));
	return p->changed && p->changed_data && p->whole && p->whole_data ? 0 : -ENOMEM;
}

static void parts_free(struct parts *p)
{
	free(p->changed);
	free(p->changed_data);
	free(p->whole);
	free(p->whole_data);
}

static void tell_apart(struct rrc_sent *sent, struct parts *p, uint64_t addr, const uint8_t *page)
{
	uint8_t *before = sent ? rrc_sent_at(sent, addr) : NULL;
	uint64_t lines = before ? rrc_delta_differ(before, page) : 0;

	if (before && !lines)
		return; /* written, and as it was */
	if (before && __builtin_popcountll(lines) <= MOST_LINES) {
		for (uint64_t left = lines; left; left &= left - 1) {
			size_t at = (size_t)__builtin_ctzll(left) * RRC_DELTA_LINE;

			memcpy(before + at, page + at, RRC_DELTA_LINE);
		}
		p->changed[p->nchanged] = (struct rrc_delta_changed){ addr, lines };
		p->changed_data[p->nchanged++] = page;
		return;
	}
	if (sent)
		rrc_sent_add(sent, addr, page);
	p->whole[p->nwhole] = addr;
	p->whole_data[p->nwhole++] = page;
}

static int add_pages(struct rrc_taking *t, uint32_t ns_pid, struct rrc_pages *pages,
		     struct rrc_sent *sent)
{
	const uint8_t *const *data;
	const uint64_t *addr;
	struct parts parts = { 0 };
	size_t n = rrc_pages_all(pages, &addr, &data);
	int ret = parts_new(&parts, n);

	for (size_t i = 0; i < n && !ret; i++)
		tell_apart(sent, &parts, addr[i], data[i]);
	if (!ret)
		ret = rrc_delta_add_pages(t->delta, ns_pid, parts.whole, parts.whole_data,
					  parts.nwhole);
	if (!ret)
		ret = rrc_delta_add_lines(t->delta, ns_pid, parts.changed, parts.changed_data,
					  parts.nchanged);
	t->times.pages += parts.nwhole + parts.nchanged;
	t->times.whole_pages += parts.nwhole;
	parts_free(&parts);
	rrc_pages_clear(pages);
	return ret;
}

int rrc_deltas_process(struct rrc_taking *t, uint32_t ns_pid, struct rrc_pages *pages,
		       struct rrc_sent *sent, struct rrc_deltas_stack *has,
		       const struct rrc_deltas_stack *now, struct rrc_error *err)
{
	int ret = 0;

	if (now->start && now->start < has->start) {
		/* As far as it ever came: it never gets smaller. */
		struct rrc_delta_stack s = { .pid = ns_pid, .start = now->start, .end = now->end };

		ret = rrc_delta_add_stack(t->delta, &s);
	}
	*has = *now;
	if (!ret)
		ret = add_pages(t, ns_pid, pages, sent);
	return ret ? rrc_fail(err, ret, "no memory for a delta") : 0;
}

int rrc_deltas_end(struct rrc_taking *t, struct rrc_error *err)
{
	struct rrc_manifest_file f;
	size_t len;
	const void *bytes = rrc_delta_bytes(t->delta, &len);

	f = (struct rrc_manifest_file){ len, XXH3_64bits(bytes, len) };
	if (rrc_manifest_add(t->manifest, RRC_SECTION_FILE, &f, sizeof(f), RRC_DELTA_NAME,
			     strlen(RRC_DELTA_NAME)))
		return rrc_fail(err, ENOMEM, "no memory for a manifest");
	return 0;
}

void rrc_deltas_step_back(int on)
{
	setpriority(PRIO_PROCESS, (id_t)gettid(), on ? 10 : 0);
}
