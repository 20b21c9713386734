/* SPDX-License-Identifier: MIT */
/* The checkpoint thread, see worker.h. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fault.h"
#include "rundir.h"
#include "util.h"
#include "worker.h"

enum ask {
	ASK_NOTHING,
	ASK_CUT,
	ASK_RESUME,
	ASK_DONE
};

struct rrc_worker {
	struct rrc_checkpointer *k;
	struct rrc_worker_calls calls;
	int fd;
	pthread_t thread;
	cpu_set_t home; /* where its maker might run before it settled on one CPU */
	int busy;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	enum ask ask;
	int answer;
	int delta; /* of ASK_CUT */
	struct rrc_cut cut;
	struct rrc_error err;
	/* the checkpoint in the making */
	uint64_t number;
	enum rrc_checkpoint_kind kind;
	char dir[PATH_MAX];
	struct rrc_backup *backup;
	struct rrc_worker_result res;
};

/* Two halves, so that whoever asks can do something else meanwhile. */
static int ask_begin(struct rrc_worker *w, enum ask ask)
{
	uint64_t one = 1;
	int ret = 0;

	pthread_mutex_lock(&w->lock);
	w->ask = ask;
	if (write(w->fd, &one, sizeof(one)) != sizeof(one)) {
		ret = -errno;
		w->ask = ASK_NOTHING;
	}
	pthread_mutex_unlock(&w->lock);
	return ret;
}

static int ask_end(struct rrc_worker *w, struct rrc_error *err)
{
	int ret;

	pthread_mutex_lock(&w->lock);
	while (w->ask != ASK_NOTHING)
		pthread_cond_wait(&w->answered, &w->lock);
	ret = w->answer;
	if (ret && err)
		*err = w->err;
	pthread_mutex_unlock(&w->lock);
	return ret;
}

static int on_cut_begin(void *ctx, uint64_t number, int delta)
{
	struct rrc_worker *w = ctx;

	w->number = number;
	w->delta = delta;
	return ask_begin(w, ASK_CUT);
}

static int on_cut_end(void *ctx, struct rrc_cut *cut, struct rrc_error *err)
{
	struct rrc_worker *w = ctx;
	int ret = ask_end(w, err);

	*cut = w->cut;
	return ret;
}

static int on_resume(void *ctx, struct rrc_error *err)
{
	int ret = ask_begin(ctx, ASK_RESUME);

	return ret ? rrc_fail(err, ret, "eventfd: %s", strerror(-ret)) : ask_end(ctx, err);
}

static void on_record(void *ctx, int on)
{
	struct rrc_worker *w = ctx;

	w->calls.record(w->calls.ctx, on);
}

struct rrc_worker *rrc_worker_new(struct rrc_checkpointer_opts *ko,
				  const struct rrc_worker_calls *calls, struct rrc_error *err)
{
	struct rrc_worker *w = calloc(1, sizeof(*w));

	if (!w) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	w->calls = *calls;
	if (sched_getaffinity(0, sizeof(w->home), &w->home))
		CPU_ZERO(&w->home);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->answered, NULL);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ko->cut_begin = on_cut_begin;
	ko->cut_end = on_cut_end;
	ko->resume = on_resume;
	ko->record = on_record;
	ko->ctx = w;
	w->k = rrc_checkpointer_new(ko, err);
	if (w->fd < 0 || !w->k) {
		if (w->k)
			rrc_fail(err, errno, "eventfd: %s", strerror(errno));
		rrc_worker_free(w);
		return NULL;
	}
	return w;
}

void rrc_worker_free(struct rrc_worker *w)
{
	if (!w)
		return;
	rrc_worker_finish(w);
	rrc_checkpointer_free(w->k);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

static void send_it(struct rrc_worker *w, struct rrc_checkpoint *c)
{
	struct rrc_worker_result *r = &w->res;

	r->cut_pos = rrc_manifest_info(c->manifest)->cut_pos;
	r->times = c->times;
	r->delta = c->delta != NULL;
	rrc_fault(RRC_FAULT_RESUMED);
	if (w->backup) {
		uint64_t began = rrc_now_ns(CLOCK_MONOTONIC);

		r->ret = rrc_backup_send_checkpoint(w->backup, c, w->dir, &r->bytes, &r->err);
		r->times.commit = rrc_now_ns(CLOCK_MONOTONIC) - began;
	}
	r->refused = r->ret == -ENOTSUP;
	if (r->ret)
		r->again = r->delta ? RRC_AGAIN_WHOLE : RRC_AGAIN_LATER;
	rrc_checkpoint_settled(w->k, !r->ret);
}

static void *take(void *arg)
{
	struct rrc_worker *w = arg;
	struct rrc_worker_result *r = &w->res;
	struct rrc_checkpoint c;

	/* Anywhere but in the way of the thread that packets wait for, whose affinity we have from birth. */
	sched_setaffinity(0, sizeof(w->home), &w->home);
	rrc_fault(RRC_FAULT_BEGIN);
	r->ret = rrc_checkpoint_take(w->k, w->number, w->kind, w->dir, &c, &r->again, &r->err);
	r->refused = r->ret == -ENOSYS;
	if (!r->ret) {
		send_it(w, &c);
		rrc_checkpoint_free(&c);
	}
	if (!r->delta && (w->backup || r->ret))
		rrc_rundir_drop(w->dir);
	ask_begin(w, ASK_DONE);
	return NULL;
}

int rrc_worker_fd(const struct rrc_worker *w)
{
	return w->fd;
}

int rrc_worker_busy(const struct rrc_worker *w)
{
	return w->busy;
}

int rrc_worker_begin(struct rrc_worker *w, uint64_t number, enum rrc_checkpoint_kind kind,
		     const char *dir, struct rrc_backup *b, struct rrc_error *err)
{
	int ret;

	memset(&w->res, 0, sizeof(w->res));
	w->number = w->res.number = number;
	w->kind = kind;
	w->backup = b;
	snprintf(w->dir, sizeof(w->dir), "%s", dir);
	ret = pthread_create(&w->thread, NULL, take, w);
	if (ret)
		return rrc_fail(err, ret, "cannot start the checkpoint thread: %s", strerror(ret));
	w->busy = 1;
	return 0;
}

int rrc_worker_serve(struct rrc_worker *w, struct rrc_worker_result *res)
{
	enum ask ask;
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) != sizeof(n))
		return 0;
	pthread_mutex_lock(&w->lock);
	ask = w->ask;
	memset(&w->err, 0, sizeof(w->err));
	w->answer = 0;
	if (ask == ASK_CUT)
		w->answer = w->calls.cut(w->calls.ctx, w->number, w->delta, &w->cut, &w->err);
	else if (ask == ASK_RESUME)
		w->answer = w->calls.resume(w->calls.ctx, &w->err);
	w->ask = ASK_NOTHING;
	pthread_cond_signal(&w->answered);
	pthread_mutex_unlock(&w->lock);
	if (ask != ASK_DONE)
		return 0;
	pthread_join(w->thread, NULL);
	w->busy = 0;
	*res = w->res;
	return 1;
}

uint64_t rrc_worker_finish(struct rrc_worker *w)
{
	struct rrc_worker_result res;
	uint64_t whole = 0;

	while (w->busy) {
		struct pollfd p = { w->fd, POLLIN, 0 };

		poll(&p, 1, -1);
		if (rrc_worker_serve(w, &res) && !res.ret)
			whole = res.number;
	}
	return whole;
}

void rrc_worker_explain(struct rrc_worker *w, void (*tell)(void *ctx, const char *name), void *ctx)
{
	rrc_checkpointer_explain(w->k, tell, ctx);
}
