/* SPDX-License-Identifier: MIT */
/* The events of a protected container: one thread, one epoll, no locks on the packets' path. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "epoch.h"
#include "fault.h"
#include "log.h"
#include "protect_int.h"
#include "util.h"

#define RRC_RETRY_NS  500000000ull /* after a checkpoint failed */
#define RRC_STATUS_NS 500000000ull

#define RRC_MOST_REFUSED 3

int rrc_protect_watch(struct rrc_protect *p, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	if (!epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &e) ||
	    !epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e))
		return 0;
	return -errno;
}

int rrc_protect_open_gate(struct rrc_protect *p, struct rrc_error *err)
{
	if (p->gate || p->o->no_gate)
		return 0;
	p->gate = rrc_gate_open(p->net_fd, err);
	if (!p->gate)
		return err->code;
	return rrc_protect_watch(p, rrc_gate_fd(p->gate), EPOLLIN);
}

/* Takes in what was recorded; a failure to do so must not go unnoticed (rule 4). */
int rrc_protect_drain(struct rrc_protect *p, uint64_t now)
{
	uint64_t before = rrc_collector_stats(p->collector)->frames;
	int ret = rrc_collector_drain(p->collector, now);

	if (rrc_collector_stats(p->collector)->frames != before)
		p->backup.sent = now;
	if (ret == -EPIPE || ret == -ECONNRESET) {
		struct rrc_error why = { 0 };

		rrc_fail(&why, ret, "the link broke: %s", strerror(-ret));
		rrc_protect_lost(p, &why);
		return 0;
	}
	if (ret < 0) {
		rrc_fail(&p->err, ret, "the recording cannot go on: %s", strerror(-ret));
		p->done = 1;
	}
	return ret;
}

/* Rule 1: what may leave is what the backup has, up to the first barrier (rule 4). */
static uint64_t release_limit(const struct rrc_protect *p)
{
	switch (p->state) {
	case RRC_STATE_OPEN:
		return UINT64_MAX;
	case RRC_STATE_PROTECTED:
		if (p->o->mode == RRC_MODE_PASSIVE)
			return p->committed_cut;
		return rrc_min(p->backup.acked, rrc_collector_barrier(p->collector, NULL));
	case RRC_STATE_HELD:
	case RRC_STATE_SILENT:
		break;
	}
	return 0;
}

void rrc_protect_release(struct rrc_protect *p, uint64_t now)
{
	uint32_t id;

	if (p->gate && rrc_hold_pop(p->hold, release_limit(p), now, &id))
		rrc_gate_release(p->gate, id);
}

static void on_packets(struct rrc_protect *p)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);
	uint32_t last;
	int n = rrc_gate_read(p->gate, &last);

	if (n <= 0)
		return;
	/* Rule 1: drained after the packet was seen, so its causes are before this position. */
	if (rrc_protect_drain(p, now) || !p->gate)
		return;
	if (rrc_hold_push(p->hold, last, (unsigned int)n, rrc_collector_pos(p->collector), now)) {
		rrc_fail(&p->err, ENOMEM, "no memory for held packets");
		p->done = 1;
		return;
	}
	rrc_protect_release(p, now);
}

static void on_answer(struct rrc_protect *p)
{
	enum rrc_backup_news news = RRC_BACKUP_NONE;
	struct rrc_error why = { 0 };
	int ret = rrc_backup_read(&p->backup, &news, &why);

	if (news == RRC_BACKUP_TAKEN_OVER) {
		rrc_protect_superseded(p);
		return;
	}
	if (news == RRC_BACKUP_ACK && p->state == RRC_STATE_PROTECTED) {
		/* Rule 7: the lease counts from when we asked, not from when the answer came. */
		rrc_recorder_lease_set(p->recorder, p->backup.answered + p->backup.lease_ns);
		rrc_protect_release(p, rrc_now_ns(CLOCK_MONOTONIC));
	}
	if (ret < 0)
		rrc_protect_lost(p, &why);
}

int rrc_protect_begin_checkpoint(struct rrc_protect *p, struct rrc_error *err)
{
	enum rrc_checkpoint_kind kind = p->first		     ? RRC_CHECKPOINT_FIRST
					: p->whole_due || !p->deltas ? RRC_CHECKPOINT_WHOLE
								     : RRC_CHECKPOINT_ANY;
	char dir[PATH_MAX];

	p->number++;
	p->began = rrc_now_ns(CLOCK_MONOTONIC);
	if (p->out)
		snprintf(dir, sizeof(dir), "%s", rrc_outdir_checkpoint(p->out, p->number));
	else if (snprintf(dir, sizeof(dir), "%s/ckpt-%llu", p->run_dir,
			  (unsigned long long)p->number) >= (int)sizeof(dir))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", p->run_dir);
	rrc_event("checkpoint-begin", "\"epoch\":%llu", (unsigned long long)p->number);
	return rrc_worker_begin(p->worker, p->number, kind, dir, p->out ? NULL : &p->backup, err);
}

static void became_protected(struct rrc_protect *p, uint64_t now)
{
	p->state = RRC_STATE_PROTECTED;
	if (p->o->backup && p->backup.answered && !p->o->no_gate)
		rrc_recorder_lease_set(p->recorder, p->backup.answered + p->backup.lease_ns);
	rrc_event("protected", "\"epoch\":%llu,\"at_ns\":%llu", (unsigned long long)p->committed,
		  (unsigned long long)now);
}

/* A delta that failed harms nobody: a whole checkpoint is taken instead. Where that happens again and again
 * nothing is won by trying. */
static void delta_failed(struct rrc_protect *p, const struct rrc_worker_result *r)
{
	rrc_log(p->refused || r->again == RRC_AGAIN_SOON ? RRC_LOG_DEBUG : RRC_LOG_INFO, "%s",
		r->err.msg);
	p->whole_due = r->again == RRC_AGAIN_WHOLE;
	if (r->again == RRC_AGAIN_SOON)
		p->began = 0; /* due at the next tick */
	if (!r->refused || ++p->refused < RRC_MOST_REFUSED)
		return;
	p->deltas = 0;
	p->epoch_ns = p->whole_ns;
	rrc_log(RRC_LOG_WARN, "%s: from here on all checkpoints are whole ones: %s", p->name,
		r->err.msg);
}

static void checkpoint_failed(struct rrc_protect *p, const struct rrc_worker_result *r)
{
	if (r->again != RRC_AGAIN_LATER) {
		delta_failed(p, r);
		return;
	}
	p->retry_at = rrc_now_ns(CLOCK_MONOTONIC) + RRC_RETRY_NS;
	if (!p->committed && r->err.code == -EAGAIN) {
		rrc_log(RRC_LOG_DEBUG, "%s", r->err.msg);
		return;
	}
	/* Without the first one there is nothing to go on with. */
	if (!p->committed &&
	    (p->out || r->err.exit == RRC_EXIT_HOST || r->err.exit == RRC_EXIT_FAILED)) {
		p->err = r->err;
		p->done = 1;
	} else {
		rrc_log(RRC_LOG_WARN, "%s", r->err.msg);
	}
}

static void tell_checkpoint(struct rrc_protect *p, const struct rrc_worker_result *r, uint64_t now)
{
	const struct rrc_checkpoint_times *t = &r->times;

	rrc_event(
		"checkpoint",
		"\"epoch\":%llu,\"pause_ms\":%.3f,\"whole_ms\":%.3f,\"bytes\":%llu,\"engine\":\"%s\","
		"\"delta\":%s,\"pages\":%llu,\"live_pages\":%llu,\"rounds\":%llu,\"park_ms\":%.3f,"
		"\"scan_ms\":%.3f,\"copy_ms\":%.3f,\"registers_ms\":%.3f,\"drain_ms\":%.3f,"
		"\"rest_ms\":%.3f,\"last_pages\":%llu,\"looked\":%s,\"whole_pages\":%llu,"
		"\"commit_ms\":%.3f,\"next_ms\":%.1f",
		(unsigned long long)r->number, (double)t->pause / 1e6, (double)t->whole / 1e6,
		(unsigned long long)r->bytes, p->engine->name, r->delta ? "true" : "false",
		(unsigned long long)t->pages, (unsigned long long)t->live_pages,
		(unsigned long long)t->rounds, (double)t->park / 1e6, (double)t->scan / 1e6,
		(double)t->copy / 1e6, (double)t->registers / 1e6, (double)t->drain / 1e6,
		(double)t->rest / 1e6, (unsigned long long)t->last_pages,
		t->looked ? "true" : "false", (unsigned long long)t->whole_pages,
		(double)t->commit / 1e6, (double)p->epoch_ns / 1e6);
	if (!r->delta || p->lengthened || p->o->recovery_ns || now - p->began <= p->epoch_ns)
		return;
	p->lengthened = 1;
	rrc_log(RRC_LOG_WARN,
		"%s: a checkpoint took %llu ms: epochs get longer than asked for, the container runs on",
		p->name, (unsigned long long)(now - p->began) / 1000000u);
}

static struct rrc_epoch_seen seen(const struct rrc_protect *p, uint64_t now)
{
	uint64_t records = rrc_collector_stats(p->collector)->records;

	return (struct rrc_epoch_seen){ .epoch_ns = p->epoch_ns,
					.took_ns = p->took_ns,
					.records = records - p->counted,
					.over_ns = now - p->counted_at };
}

/* By what the last epoch had (--epoch auto). Whole checkpoints keep their own. */
static void choose_epoch(struct rrc_protect *p, const struct rrc_worker_result *r, uint64_t now)
{
	struct rrc_epoch_seen s;

	p->took_ns = now - p->began;
	s = seen(p, now);
	if (p->o->recovery_ns && r->delta && p->counted_at)
		p->epoch_ns = rrc_epoch_choose(p->o->recovery_ns, p->backup.silence_ns, &s);
	p->counted = rrc_collector_stats(p->collector)->records;
	p->counted_at = now;
}

static int epoch_over(const struct rrc_protect *p, uint64_t now)
{
	struct rrc_epoch_seen s = seen(p, now);

	return p->o->recovery_ns && p->deltas &&
	       rrc_epoch_over(p->o->recovery_ns, p->backup.silence_ns, &s);
}

static void on_checkpoint(struct rrc_protect *p, const struct rrc_worker_result *r)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);

	if (r->ret) {
		checkpoint_failed(p, r);
		return;
	}
	rrc_fault(RRC_FAULT_HEARD);
	p->first = 0;
	p->committed = r->number;
	p->committed_cut = r->cut_pos;
	if (r->delta)
		p->refused = 0;
	else
		p->whole_due = 0;
	if (!r->delta)
		p->whole_began = p->began;
	rrc_collector_committed(p->collector, r->cut_pos);
	choose_epoch(p, r, now);
	tell_checkpoint(p, r, now);
	if (p->state != RRC_STATE_PROTECTED && (p->have_backup || p->out))
		became_protected(p, now);
	rrc_protect_release(p, now);
	if (p->spawned == 1) {
		p->spawned = 2;
		if (rrc_spawn_start(&p->spawn, &p->err))
			p->done = 1;
	}
}

static int checkpoint_due(const struct rrc_protect *p, uint64_t now)
{
	uint64_t barrier = rrc_collector_barrier(p->collector, NULL);

	if (rrc_worker_busy(p->worker) || now < p->retry_at || p->ended ||
	    p->state == RRC_STATE_SILENT || (!p->have_backup && !p->out))
		return 0;
	if (p->first || p->whole_due || barrier != UINT64_MAX)
		return 1;
	/* Where no delta can be made, the container is stopped for long: not as often. */
	if (p->deltas && rrc_changes_whole(p->changes, NULL, NULL) &&
	    now - p->whole_began < p->whole_ns)
		return 0;
	return (p->epoch_ns && now - p->began >= p->epoch_ns) || epoch_over(p, now);
}

void rrc_protect_status(struct rrc_protect *p, uint64_t now)
{
	const struct rrc_collector_stats *c = rrc_collector_stats(p->collector);
	const struct rrc_hold_stats *h = rrc_hold_stats(p->hold);
	double mean = h->packets ? (double)h->total_ns / (double)h->packets / 1e3 : 0;
	struct rrc_lease lease;

	rrc_recorder_lease_get(p->recorder, &lease);
	if (p->o->json) {
		rrc_event(
			"status",
			"\"epoch\":%llu,\"records\":%llu,\"log_bytes\":%llu,\"raw_bytes\":%llu,"
			"\"held\":%zu,\"added_us\":%.1f,\"added_p99_us\":%.1f,\"acked\":%llu,\"pos\":%llu,"
			"\"barriers\":%llu,\"lost_records\":%llu,\"lease_drops\":%llu",
			(unsigned long long)p->committed, (unsigned long long)c->records,
			(unsigned long long)c->frame_bytes, (unsigned long long)c->raw_bytes,
			rrc_hold_count(p->hold), mean,
			(double)rrc_hold_percentile(p->hold, 0.99) / 1e3,
			(unsigned long long)p->backup.acked,
			(unsigned long long)rrc_collector_pos(p->collector),
			(unsigned long long)c->barriers, (unsigned long long)c->lost,
			(unsigned long long)lease.dropped);
	} else if (isatty(STDERR_FILENO)) {
		fprintf(stderr,
			"\r\033[Kepoch %llu  log %.1f MB  held %zu  added %.0f us  acknowledged %llu",
			(unsigned long long)p->committed, (double)c->frame_bytes / 1e6,
			rrc_hold_count(p->hold), mean, (unsigned long long)p->backup.acked);
	}
	p->status_at = now + RRC_STATUS_NS;
}

static void on_tick(struct rrc_protect *p)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC), n;

	if (read(p->timer, &n, sizeof(n)) != sizeof(n))
		return;
	if (rrc_protect_drain(p, now))
		return;
	if (p->have_backup && now - p->backup.sent >= RRC_TICK_NS &&
	    rrc_backup_beat(&p->backup, now)) {
		struct rrc_error why = { 0 };

		rrc_fail(&why, EPIPE, "the link broke");
		rrc_protect_lost(p, &why);
	}
	if (!p->have_backup && p->o->backup && p->state != RRC_STATE_SILENT &&
	    !rrc_worker_busy(p->worker) && now >= p->reconnect_at)
		rrc_protect_rejoin(p, now);
	if (checkpoint_due(p, now) && rrc_protect_begin_checkpoint(p, &p->err))
		p->done = 1;
	if (now >= p->status_at)
		rrc_protect_status(p, now);
}

static void on_event(struct rrc_protect *p, int fd, uint32_t events)
{
	struct rrc_worker_result res;

	if (p->gate && fd == rrc_gate_fd(p->gate)) {
		on_packets(p);
	} else if (p->have_backup && fd == p->backup.log.fd) {
		if (events & EPOLLOUT)
			rrc_link_flush(&p->backup.log);
		on_answer(p);
	} else if (fd == p->timer) {
		on_tick(p);
	} else if (fd == rrc_worker_fd(p->worker)) {
		if (rrc_worker_serve(p->worker, &res))
			on_checkpoint(p, &res);
	} else if (fd == p->signals || (p->control && fd == rrc_control_fd(p->control))) {
		if (fd == p->signals || rrc_control_read(p->control))
			p->done = 1;
	} else if (fd == p->init_fd) {
		p->ended = p->done = 1;
	} else {
		rrc_protect_drain(p, rrc_now_ns(CLOCK_MONOTONIC)); /* the ring is filling up */
	}
	/* What could not be sent at once goes when the link takes it. */
	if (p->have_backup && rrc_link_wants_write(&p->backup.log) != p->wants_write) {
		p->wants_write = !p->wants_write;
		rrc_protect_watch(p, p->backup.log.fd,
				  p->wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN);
	}
}

/* The thread that packets wait for stays where it is: its caches are warm there, and whom it talks to may
 * follow it (lib/steer.h). Only now, so that what was started before runs anywhere. */
static void stay(void)
{
	int cpu = sched_getcpu();
	cpu_set_t one;

	CPU_ZERO(&one);
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		rrc_log(RRC_LOG_DEBUG, "may run on any CPU: %s", strerror(errno));
}

int rrc_protect_loop(struct rrc_protect *p, struct rrc_error *err)
{
	struct epoll_event ev[16];

	stay();

	while (!p->done) {
		int n = epoll_wait(p->epoll, ev, RRC_ARRAY_SIZE(ev), -1);

		if (n < 0 && errno != EINTR)
			return rrc_fail(err, errno, "epoll: %s", strerror(errno));
		for (int i = 0; i < n && !p->done; i++)
			on_event(p, ev[i].data.fd, ev[i].events);
	}
	if (p->err.code) {
		*err = p->err;
		return err->code;
	}
	return 0;
}
