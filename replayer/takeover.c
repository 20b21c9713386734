/* SPDX-License-Identifier: MIT */
/* Failover, see takeover.h. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "connections.h"
#include "engine.h"
#include "fault.h"
#include "log.h"
#include "reclog.h"
#include "recording.h"
#include "restore.h"
#include "root.h"
#include "takeover.h"
#include "util.h"
#include "warming.h"

#define RRC_MARGIN_NS	  5000000ull /* between the end of the lease and our first packet */
#define RRC_ANNOUNCEMENTS 6
#define RRC_COPIES	  3
#define RRC_SETTLED_MS	  60000 /* whoever has not completed a handshake by then has given up */

struct takeover {
	struct rrc_session *s;
	struct rrc_epoch_log log;
	char work[PATH_MAX];
	unsigned int tries;
	struct rrc_nudges nudges;
	struct rrc_engine *engine;
	struct rrc_engine_report report;
	struct rrc_takeover *net;
	pid_t init;
	bool warm; /* it stood ready */
	uint64_t began, restored, replayed, live;
};

static int load_log(struct takeover *t, struct rrc_error *err)
{
	struct rrc_session *s = t->s;
	const struct rrc_rec *rec;
	size_t off = 0, end;
	int ret = s->conns_lost ? rrc_fail(err, ENODATA, "the table of connections was lost") : 0;

	for (size_t i = 0; i < s->nkept && !ret; i++)
		ret = rrc_epoch_log_add(&t->log, &s->kept[i].head, s->kept[i].payload, err);
	end = rrc_log_end(t->log.buf, t->log.len); /* from there on nothing is re-executed */
	while (!ret && (rec = rrc_reclog_next(t->log.buf, t->log.len, &off, err)))
		ret = ((const uint8_t *)rec - t->log.buf < (ptrdiff_t)end
			       ? rrc_conns_apply
			       : rrc_conns_apply_outside)(s->conns, rec, err);
	return ret;
}

static int lookup(void *ctx, uint64_t cookie)
{
	struct takeover *t = ctx;

	return rrc_engine_conn(t->engine, cookie);
}

static int mount_root(struct takeover *t, char *root, size_t size, struct rrc_error *err)
{
	struct rrc_session *s = t->s;
	char layer[PATH_MAX];

	snprintf(layer, sizeof(layer), "%s/layer", s->dir);
	return rrc_root_mount(s->o->rootfs, layer, t->work, root, size, err);
}

/* From the images, and what came after them. */
static int restore_cold(struct takeover *t, struct rrc_error *err)
{
	struct rrc_session *s = t->s;
	char root[PATH_MAX];
	struct rrc_restore_opts ro = {
		.criu = s->o->criu,
		.manifest = s->base,
		.dir = s->ckpt,
		.work = t->work,
		.netns = s->netns,
		.now_ns = t->log.last_ns,
	};
	struct rrc_advance *a;
	int ret = 0, end;

	snprintf(t->work, sizeof(t->work), "%s/attempt-%u", s->dir, t->tries);
	if (mkdir(t->work, 0700) && errno != EEXIST)
		return rrc_fail(err, errno, "%s: %s", t->work, strerror(errno));
	if (rrc_manifest_info(s->base)->flags & RRC_MANIFEST_OWN_ROOT) {
		ret = mount_root(t, root, sizeof(root), err);
		ro.root = root;
	}
	if (ret)
		return ret;
	t->init = rrc_restore(&ro, err);
	if (t->init < 0)
		return t->init;
	if (s->base && rrc_manifest_info(s->base)->number == s->committed)
		return 0;
	a = rrc_advance_begin(t->init, err);
	ret = a ? rrc_copy_apply(s->copy, a, err) : err->code;
	end = a ? rrc_advance_end(a, !ret, ret ? NULL : err) : 0;
	ret = ret ? ret : end;
	if (ret)
		kill(t->init, SIGKILL);
	return ret;
}

/* The copy that stands ready, at the first attempt; else one is restored. */
static int get_container(struct takeover *t, struct rrc_error *err)
{
	struct rrc_warm *w = t->s->warm;

	t->s->warm = NULL;
	if (w && rrc_warm_usable(w, t->log.last_ns)) {
		rrc_warm_taken(w);
		t->init = w->init;
		t->warm = true;
		snprintf(t->work, sizeof(t->work), "%s", w->work);
		return 0;
	}
	if (w)
		rrc_log(RRC_LOG_WARN, "%s: the warm copy cannot be used: %s", t->s->name,
			kill(w->init, 0) ? "it is gone" : "its clock is behind the log's");
	/* It has the container's ports. */
	rrc_warm_free(w);
	t->warm = false;
	return restore_cold(t, err);
}

/* One attempt: a stopped container whose threads stand at the end of the log. */
static int attempt(struct takeover *t, struct rrc_error *err)
{
	struct rrc_session *s = t->s;
	int passive = !!(rrc_manifest_info(s->manifest)->flags & RRC_MANIFEST_PASSIVE);
	struct rrc_engine_opts eo = { .fs_exact = true,
				      .cpu = -1,
				      .nudges = &t->nudges,
				      .no_pacing = s->o->no_pacing,
				      .patience_ns = RRC_PATIENCE_NS };
	rrc_autofree struct rrc_engine_held *held = NULL;
	rrc_autofree const struct rrc_rec **restarts = NULL;
	int ret = rrc_restore_engine_opts(s->manifest, &eo, &held, &restarts, err);

	if (!ret)
		ret = get_container(t, err);
	if (ret)
		return ret;
	t->restored = rrc_now_ns(CLOCK_MONOTONIC);
	t->engine = rrc_engine_new(t->init, t->log.buf, passive ? 0 : t->log.len, &eo, err);
	if (!t->engine) {
		kill(t->init, SIGKILL);
		rrc_root_unmount(t->work);
		return err->code;
	}
	ret = rrc_engine_run(t->engine, err);
	if (!ret && rrc_fault_fails(RRC_FAULT_DIVERGED))
		ret = rrc_fail(err, EILSEQ, "a test wants another attempt");
	t->report = *rrc_engine_report(t->engine);
	t->replayed = rrc_now_ns(CLOCK_MONOTONIC);
	if (ret) {
		rrc_engine_kill(t->engine);
		t->engine = NULL;
		rrc_root_unmount(t->work);
	}
	return ret;
}

/* What goes wrong with one copy (it died, say) need not go wrong with the next. */
static int attempt_with_copies(struct takeover *t, struct rrc_error *err)
{
	for (int copy = 1;; copy++) {
		int ret;

		memset(err, 0, sizeof(*err));
		ret = attempt(t, err);
		if (!ret || ret == -EILSEQ || copy == RRC_COPIES)
			return ret;
		t->tries++;
		rrc_log(RRC_LOG_WARN, "%s: once more, with another copy: %s", t->s->name, err->msg);
	}
}

static int recover(struct takeover *t, struct rrc_error *err)
{
	int ret;

	do {
		ret = attempt_with_copies(t, err);
		if (ret == -EILSEQ)
			rrc_log(RRC_LOG_WARN, "%s: replay diverged: %s", t->s->name,
				t->report.first);
	} while (ret == -EILSEQ && ++t->tries < t->s->o->attempts * RRC_PLACES &&
		 rrc_nudges_learn(&t->nudges, &t->report.where, t->s->o->attempts));
	if (ret == -EILSEQ)
		return rrc_fail_exit(err, RRC_EXIT_DIVERGED, EILSEQ,
				     "replay diverged in %u attempts: %s", t->tries,
				     t->report.first);
	return ret;
}

static void tell_connections(const struct takeover *t, const struct rrc_takeover_report *r)
{
	for (uint32_t i = 0; i < r->nentries; i++)
		rrc_log(RRC_LOG_INFO, "%s: connection %s: %s (%s)", t->s->name, r->entries[i].name,
			rrc_takeover_what_name(r->entries[i].what),
			rrc_takeover_why_name(r->entries[i].why));
	if (r->failure.code)
		rrc_log(RRC_LOG_WARN, "%s: %s", t->s->name, r->failure.msg);
}

/* Rule 7: restore and replay happen where nobody sees them; the first packet waits until whatever the old
 * primary heard of us last allows it no more. */
static void wait_for_lease(const struct rrc_session *s)
{
	uint64_t safe = s->answered + s->lease_ns + RRC_MARGIN_NS;
	struct timespec ts = { (time_t)(safe / 1000000000u), (long)(safe % 1000000000u) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static int go_live(struct takeover *t, struct rrc_error *err)
{
	struct rrc_session *s = t->s;
	struct rrc_takeover_report report = { 0 };
	struct rrc_takeover_opts to = {
		.netns = s->netns,
		.cfg = &s->cfg,
		.hostif = s->hostif,
		.skew_ns = s->skew_ns,
		.reborn = s->reborn,
		.lookup = lookup,
		.ctx = t,
	};
	uint64_t begun, rebuilt;
	char text[100];
	int ret;

	t->net = rrc_takeover_prepare(&to, err);
	if (!t->net)
		return err->code;
	wait_for_lease(s);
	ret = s->o->bridge ? rrc_netcfg_connect(s->hostif, s->o->bridge, err) : 0;
	if (!ret)
		ret = rrc_announce_now(&s->announcer, RRC_ANNOUNCEMENTS, err);
	begun = rrc_now_ns(CLOCK_MONOTONIC);
	if (!ret)
		ret = rrc_takeover_connections(t->net, s->conns, &report, err);
	rebuilt = rrc_now_ns(CLOCK_MONOTONIC);
	if (!ret)
		ret = rrc_engine_golive(t->engine, err);
	t->live = rrc_now_ns(CLOCK_MONOTONIC);
	if (ret)
		return ret;
	rrc_event(
		"live",
		"\"container\":%s,\"pid\":%d,\"warm\":%s,\"records\":%llu,\"restore_ms\":%.1f,\"replay_ms\":%.1f,"
		"\"connections_ms\":%.1f,\"takeover_ms\":%.1f,\"attempts\":%u,\"connections\":%u,\"rebuilt\":%u,\"to_accept\":%u,"
		"\"handshakes\":%u,\"datagrams\":%u,\"finishing\":%u,\"reset\":%u,"
		"\"barrier_at\":%llu",
		rrc_json_string(text, sizeof(text), s->name), t->init, t->warm ? "true" : "false",
		(unsigned long long)t->report.passed, (double)(t->restored - t->began) / 1e6,
		(double)(t->replayed - t->restored) / 1e6, (double)(rebuilt - begun) / 1e6,
		(double)(t->live - t->began) / 1e6, t->tries + 1, report.total,
		report.what[RRC_TAKEN_REBUILT], report.what[RRC_TAKEN_REBORN], report.handshakes,
		report.datagrams, report.what[RRC_TAKEN_FINISHING], report.what[RRC_TAKEN_RESET],
		(unsigned long long)t->report.barrier_at);
	tell_connections(t, &report);
	rrc_takeover_report_free(&report);
	return 0;
}

/* Stays for the container's life: repeats the announcement, holds what connections that the
 * application had closed still need. */
static void keep(struct takeover *t)
{
	int pidfd = (int)syscall(SYS_pidfd_open, t->init, 0), announcing = 1;

	while (pidfd >= 0) {
		struct pollfd p[2] = { { pidfd, POLLIN, 0 },
				       { announcing ? t->s->announcer.timer : -1, POLLIN, 0 } };

		int n = poll(p, 2, t->net ? RRC_SETTLED_MS : -1);

		if (p[0].revents || (n < 0 && errno != EINTR))
			break;
		if (!n) {
			rrc_takeover_free(t->net);
			t->net = NULL;
		}
		if (n <= 0 || !p[1].revents)
			continue;
		if (rrc_announce_again(&t->s->announcer, NULL) <= 0)
			announcing = 0;
		if (t->net)
			rrc_takeover_again(t->net, t->s->conns);
	}
	rrc_event("stopped", "\"pid\":%d", t->init);
	rrc_takeover_free(t->net);
	rrc_root_unmount(t->work);
	rrc_netcfg_unmake(t->s->hostif, NULL);
}

static int in_child(struct rrc_session *s, struct rrc_error *err)
{
	struct takeover t = { .s = s, .began = rrc_now_ns(CLOCK_MONOTONIC) };
	struct sched_param sp = { 0 };
	char text[1400];
	int ret;

	setsid();
	sched_setscheduler(0, SCHED_OTHER, &sp);
	ret = load_log(&t, err);
	if (!ret)
		ret = recover(&t, err);
	if (!ret)
		ret = go_live(&t, err);
	if (ret) {
		rrc_log(RRC_LOG_ERROR, "%s: takeover failed: %s", s->name, err->msg);
		rrc_event("failed", "\"reason\":%s", rrc_json_string(text, sizeof(text), err->msg));
		if (t.engine)
			rrc_engine_kill(t.engine);
		if (t.work[0])
			rrc_root_unmount(t.work);
		return ret;
	}
	rrc_engine_free(t.engine);
	keep(&t);
	return 0;
}

int rrc_takeover(struct rrc_session *s, struct rrc_error *err)
{
	int st = 0;
	pid_t pid;

	rrc_event("silence", "\"epoch\":%llu,\"frames\":%zu,\"bytes\":%llu",
		  (unsigned long long)s->committed, s->nkept, (unsigned long long)s->bytes);
	/* Rule 7: we acknowledge no more; whoever still hears us must never speak again. */
	rrc_link_send(&s->log, RRC_FRAME_TAKEOVER, NULL, 0, s->end_pos, 0);
	pthread_mutex_lock(&s->commit);
	/* What we would have to do is being done. */
	rrc_warming_wait(s);
	pid = fork();
	if (!pid)
		_exit(in_child(s, err) ? 1 : 0);
	pthread_mutex_unlock(&s->commit);
	if (pid < 0)
		return rrc_fail(err, errno, "fork: %s", strerror(errno));
	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			break;
	return WIFEXITED(st) && !WEXITSTATUS(st) ? 0 : rrc_fail(err, EIO, "the takeover failed");
}
