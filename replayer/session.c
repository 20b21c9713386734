/* SPDX-License-Identifier: MIT */
/* The backup's log keeping: frames in, acknowledgements out, silence noticed. See session.h. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "root.h"
#include "reborn.h"
#include "session.h"
#include "steer.h"
#include "util.h"

#define RRC_FIRST_SILENCE_NS 10000000000ull
#define RRC_LOG_MEMORY	     (2ull << 30) /* packed log that is kept at most */

struct rrc_session *rrc_session_new(const struct rrc_daemon_opts *o, const struct rrc_hello *h,
				    struct rrc_error *err)
{
	struct rrc_session *s = calloc(1, sizeof(*s));

	if (!s) {
		rrc_fail(err, ENOMEM, "no memory for a session");
		return NULL;
	}
	s->o = o;
	s->id = h->session;
	s->netns = -1;
	s->log.fd = -1;
	snprintf(s->name, sizeof(s->name), "%.79s", h->name);
	s->silence_ns = o->silence_ms * 1000000ull;
	/* Rule 7: a third of the silence is for what we do not see: delays, and clocks that run apart. */
	s->lease_ns = s->silence_ns * 2 / 3;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->commit, NULL);
	pthread_cond_init(&s->warmed, NULL);
	s->conns = rrc_conns_new();
	s->copy = rrc_copy_new();
	if (!s->conns || !s->copy ||
	    snprintf(s->dir, sizeof(s->dir), "%s/%s", o->state, s->name) >= (int)sizeof(s->dir)) {
		rrc_fail(err, ENAMETOOLONG, "%s/%s: name too long", o->state, s->name);
		rrc_session_free(s);
		return NULL;
	}
	rrc_warm_clear(s->dir);
	/* A container that a daemon before this one took over still runs from its files. */
	if (rrc_root_in_use(s->dir)) {
		rrc_fail(err, EBUSY, "%s runs here already, or something is mounted below %s",
			 s->name, s->dir);
		rrc_session_free(s);
		return NULL;
	}
	/* What an earlier session kept belongs to another log. */
	rrc_root_remove(s->dir);
	if (mkdir(s->dir, 0700) && errno != EEXIST) {
		rrc_fail(err, errno, "%s: %s", s->dir, strerror(errno));
		rrc_session_free(s);
		return NULL;
	}
	return s;
}

void rrc_session_free(struct rrc_session *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nkept; i++)
		free(s->kept[i].payload);
	free(s->kept);
	rrc_warm_free(s->warm);
	rrc_copy_free(s->copy);
	rrc_manifest_free(s->base);
	rrc_manifest_free(s->manifest);
	rrc_conns_free(s->conns);
	rrc_link_close(&s->log);
	if (s->net_ready) {
		rrc_announce_close(&s->announcer);
		rrc_reborn_free(s->reborn);
		rrc_netcfg_unmake(s->hostif, NULL);
	}
	if (s->netns >= 0)
		close(s->netns);
	free(s);
}

static int keep(struct rrc_session *s, const struct rrc_frame *f, const uint8_t *payload,
		struct rrc_error *err)
{
	uint8_t *copy;

	if (s->end_pos && f->pos != s->end_pos)
		return rrc_fail(err, EBADMSG, "the log has a gap at position %llu",
				(unsigned long long)s->end_pos);
	if (s->bytes + f->stored > RRC_LOG_MEMORY)
		return rrc_fail(err, ENOSPC, "the log is longer than this backup keeps in memory");
	copy = malloc(f->stored ? f->stored : 1);
	if (!copy)
		return rrc_fail(err, ENOMEM, "no memory for the log");
	memcpy(copy, payload, f->stored);
	pthread_mutex_lock(&s->lock);
	if (s->nkept == s->size) {
		size_t size = s->size ? s->size * 2 : 1024;
		struct rrc_kept *bigger = realloc(s->kept, size * sizeof(*bigger));

		if (!bigger) {
			pthread_mutex_unlock(&s->lock);
			free(copy);
			return rrc_fail(err, ENOMEM, "no memory for the log");
		}
		s->kept = bigger;
		s->size = size;
	}
	s->kept[s->nkept++] = (struct rrc_kept){ *f, copy };
	s->bytes += f->stored;
	s->end_pos = f->pos + f->raw;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* All frames that are there; one acknowledgement for them. 1: good-bye. */
static int take_in(struct rrc_session *s, struct rrc_error *err)
{
	const uint8_t *payload;
	struct rrc_frame f;
	uint64_t stamp = 0;
	int ret, any = 0;

	while ((ret = rrc_link_recv(&s->log, &f, &payload, err)) > 0) {
		any = 1;
		switch (f.type) {
		case RRC_FRAME_LOG:
			ret = keep(s, &f, payload, err);
			if (ret)
				return ret;
			stamp = f.aux;
			break;
		case RRC_FRAME_BEAT:
			stamp = f.aux;
			break;
		case RRC_FRAME_BYE:
			rrc_link_send(&s->log, RRC_FRAME_BYE, NULL, 0, s->end_pos, 0);
			return 1;
		default:
			return rrc_fail(err, EPROTO, "a frame of type %u on the log connection",
					f.type);
		}
	}
	if (any) {
		s->heard = rrc_now_ns(CLOCK_MONOTONIC);
		if (stamp) {
			s->skew_ns = (int64_t)(stamp - s->heard);
			s->answered = s->heard;
			any = rrc_link_send(&s->log, RRC_FRAME_ACK, NULL, 0, s->end_pos, stamp);
			if (any && !ret)
				ret = rrc_fail(err, any, "the primary has gone: %s",
					       strerror(-any));
		}
	}
	return ret;
}

/* Before the first commit nobody could take over, so a slow start is no failure: only a lost link is. */
static uint64_t patience(const struct rrc_session *s)
{
	return __atomic_load_n(&s->committed, __ATOMIC_RELAXED) ? s->silence_ns
								: RRC_FIRST_SILENCE_NS;
}

int rrc_session_serve_log(struct rrc_session *s, struct rrc_error *err)
{
	struct sched_param sp = { .sched_priority = 1 };
	struct rrc_steer steer;
	int ret = 0;

	/* An answer in time is what lets the primary speak. */
	sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &sp);
	rrc_steer_begin(&steer);
	s->heard = rrc_now_ns(CLOCK_MONOTONIC);
	while (!ret) {
		struct pollfd p = { s->log.fd, POLLIN, 0 };
		uint64_t now = rrc_now_ns(CLOCK_MONOTONIC), end = s->heard + patience(s);

		if (now < end) {
			/* No longer than a silence: the first commit may come meanwhile. */
			poll(&p, 1, (int)(rrc_min(end - now, s->silence_ns) / 1000000u) + 1);
			ret = take_in(s, err);
			rrc_steer_follow(&steer, s->log.fd, now);
			continue;
		}
		/* We may have been the ones who slept: look once more before believing in silence. */
		ret = take_in(s, err);
		if (!ret && s->heard + patience(s) <= now)
			ret = rrc_fail(err, ETIMEDOUT, "no word from the primary for %llu ms",
				       (unsigned long long)((now - s->heard) / 1000000u));
	}
	rrc_steer_end(&steer);
	s->ended = 1;
	if (ret == 1)
		return 0;
	/* A checkpoint that is becoming the newest is waited for. */
	pthread_mutex_lock(&s->commit);
	if (s->committed)
		ret = 1;
	pthread_mutex_unlock(&s->commit);
	return ret;
}
