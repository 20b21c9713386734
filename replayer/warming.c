// SPDX-License-Identifier: MIT
/* The restore of the warm copy in a thread of its own, see warming.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "session.h"
#include "util.h"
#include "warming.h"

#define RRC_CLOCK_LEAD_NS 60000000ull /* what a restore takes until the copy's clock runs */

static int note_heap(void *ctx, uint32_t pid, uint64_t end)
{
	return rrc_copy_heap(ctx, pid, end);
}

/* Its clock must not be behind the primary's, and starts somewhere in the middle of the restore. */
static struct rrc_warm *restore_warm(const struct rrc_session *s, struct rrc_restore_opts *ro,
				     const char *layer, struct rrc_error *err)
{
	uint64_t lead = RRC_CLOCK_LEAD_NS;
	struct rrc_warm *w = NULL;

	for (int try = 0; try < 2; try++) {
		int64_t behind;

		ro->now_ns = rrc_now_ns(CLOCK_MONOTONIC) + (uint64_t)s->skew_ns + lead;
		w = rrc_warm_new(ro, s->o->rootfs, layer, err);
		behind = w ? rrc_warm_behind(w, s->skew_ns) : 0;
		if (behind <= 0 || try)
			break;
		/* This host is that slow today. */
		rrc_warm_free(w);
		lead += 2 * (uint64_t)behind;
	}
	return w;
}

/* By what was committed while it was restored. */
static int catch_up(struct rrc_session *s, struct rrc_warm *w, struct rrc_error *err)
{
	struct rrc_advance *a;
	int ret, end;

	if (rrc_manifest_info(s->base)->number == s->committed)
		return 0;
	a = rrc_advance_begin(w->init, err);
	if (!a)
		return err->code;
	ret = rrc_copy_apply(s->copy, a, err);
	end = rrc_advance_end(a, !ret, ret ? NULL : err);
	return ret ? ret : end;
}

static void *warm_up(void *arg)
{
	struct rrc_session *s = arg;
	const struct rrc_manifest_info *info = rrc_manifest_info(s->base);
	char work[PATH_MAX], layer[PATH_MAX];
	struct rrc_restore_opts ro = {
		.criu = s->o->criu,
		.manifest = s->base,
		.dir = s->ckpt,
		.work = work,
		.netns = s->netns,
	};
	struct rrc_error err = { 0 };
	struct rrc_warm *w;

	snprintf(work, sizeof(work), "%s/warm-%llu", s->dir, (unsigned long long)info->number);
	snprintf(layer, sizeof(layer), "%s/layer", s->dir);
	w = restore_warm(s, &ro, layer, &err);
	pthread_mutex_lock(&s->commit);
	if (w) {
		rrc_warm_heaps(w, note_heap, s->copy);
		if (catch_up(s, w, &err)) {
			rrc_warm_free(w);
			w = NULL;
		}
	}
	s->warm = w;
	s->warming = 0;
	pthread_cond_broadcast(&s->warmed);
	pthread_mutex_unlock(&s->commit);
	if (err.code)
		rrc_log(RRC_LOG_WARN, "%s: a failover will have to restore: %s", s->name, err.msg);
	return NULL;
}

void rrc_warming_start(struct rrc_session *s)
{
	pthread_t thread;
	int ret = 0;

	pthread_mutex_lock(&s->commit);
	if (!s->warming && !s->warm && !s->o->cold && s->net_ready && !s->ended &&
	    !(rrc_manifest_info(s->base)->flags & RRC_MANIFEST_PASSIVE)) {
		s->warming = 1;
		ret = pthread_create(&thread, NULL, warm_up, s);
		if (!ret)
			pthread_detach(thread);
		else
			s->warming = 0;
	}
	pthread_mutex_unlock(&s->commit);
	if (ret)
		rrc_log(RRC_LOG_WARN, "%s: a failover will have to restore: %s", s->name,
			strerror(ret));
}

void rrc_warming_wait(struct rrc_session *s)
{
	while (s->warming)
		pthread_cond_wait(&s->warmed, &s->commit);
}
