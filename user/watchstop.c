/* SPDX-License-Identifier: MIT */
/* The exec watcher stops all threads at once: to let go of them, or to look at them and have them go on. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "execwatch_int.h"
#include "util.h"

#define RRC_RELEASE_MS 2000 /* a vfork parent cannot be stopped before its child has executed */
#define RRC_FREEZE_MS  5
#define RRC_FREEZE_EACH \
	16 /* threads that may take a millisecond more: each has to come to its stop on some CPU */

static int all_stopped(const struct rrc_execwatch *w)
{
	for (size_t i = 0; i < w->count; i++)
		if (!w->tracees[i].stopped)
			return 0;
	return 1;
}

/* 0, or -EBUSY when one has not come after that time. Who has ended meanwhile is waited for, too: it will be reaped. */
static int stop_all(struct rrc_execwatch *w, enum rrc_watch_way way, unsigned int ms)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + ms * 1000000ull;

	for (size_t i = 0; i < w->count; i++) {
		w->tracees[i].stopped = w->tracees[i].group = 0;
		ptrace(PTRACE_INTERRUPT, w->tracees[i].tid, NULL, NULL);
	}
	for (;;) {
		struct pollfd p = { w->sigchld_fd, POLLIN, 0 };
		uint64_t now;

		rrc_watch_reap(w, way);
		if (all_stopped(w))
			return 0;
		now = rrc_now_ns(CLOCK_MONOTONIC);
		if (now >= end)
			return rrc_fail(&w->err, EBUSY,
					"a thread of the container cannot be stopped");
		poll(&p, 1, (int)((end - now) / 1000000u) + 1);
		rrc_watch_drain_fd(w->sigchld_fd);
	}
}

int rrc_watch_release(struct rrc_execwatch *w)
{
	int ret = stop_all(w, WATCH_RELEASE, RRC_RELEASE_MS);

	for (size_t i = 0; i < w->count; i++) {
		struct rrc_tracee *t = &w->tracees[i];

		if (t->stopped && !ret)
			ptrace(PTRACE_DETACH, t->tid, NULL, (void *)(long)t->sig);
		else if (t->stopped)
			ptrace(PTRACE_CONT, t->tid, NULL, (void *)(long)t->sig);
		t->stopped = 0;
	}
	if (!ret)
		w->count = 0;
	if (!ret && w->calls.watched)
		w->calls.watched(w->calls.ctx, 0);
	return ret;
}

/* Nobody who has nothing to do with the container may keep it standing: while it does, we come first. */
static void hurry(int on)
{
	struct sched_param sp = { .sched_priority = on ? 1 : 0 };

	pthread_setschedparam(pthread_self(), on ? SCHED_RR : SCHED_OTHER, &sp);
}

static void go_on(struct rrc_execwatch *w)
{
	for (size_t i = 0; i < w->count; i++) {
		struct rrc_tracee *t = &w->tracees[i];

		if (t->stopped && t->group)
			ptrace(PTRACE_LISTEN, t->tid, NULL, NULL);
		else if (t->stopped)
			ptrace(t->starting ? PTRACE_SYSCALL : PTRACE_CONT, t->tid, NULL, NULL);
		t->stopped = 0;
	}
}

/* Threads that a checkpoint cannot have as they are; in a moment it can. */
int rrc_watch_unfit(struct rrc_execwatch *w)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->tracees[i].group || w->tracees[i].starting)
			return rrc_fail(&w->err, EBUSY,
					w->tracees[i].group
						? "the container is stopped by a signal of its own"
						: "a new program is starting");
	return 0;
}

int rrc_watch_freeze(struct rrc_execwatch *w)
{
	struct rrc_freeze *f = w->freeze;
	rrc_autofree pid_t *tids = NULL;
	int ret;

	memset(&w->err, 0, sizeof(w->err));
	hurry(1);
	f->asked_ns = rrc_now_ns(CLOCK_MONOTONIC);
	ret = stop_all(w, WATCH_FREEZE, RRC_FREEZE_MS + (unsigned int)w->count / RRC_FREEZE_EACH);
	f->frozen_ns = rrc_now_ns(CLOCK_MONOTONIC);
	if (!ret)
		ret = rrc_watch_unfit(w);
	if (!ret) {
		tids = malloc((w->count + 1) * sizeof(*tids));
		ret = tids ? 0 : rrc_fail(&w->err, ENOMEM, "no memory");
	}
	for (size_t i = 0; i < w->count && !ret; i++)
		tids[i] = w->tracees[i].tid;
	if (!ret)
		ret = f->frozen(f->ctx, tids, w->count, &w->err);
	go_on(w);
	f->resumed_ns = rrc_now_ns(CLOCK_MONOTONIC);
	hurry(0);
	return ret;
}
