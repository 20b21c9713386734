// SPDX-License-Identifier: MIT
/* Descriptors: made for real, and put at the recorded number where the kernel chose another. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "ptrace.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"

int rrc_move_fd(struct rrc_engine *e, struct tracee *t, int from, int to, struct rrc_error *err)
{
	long flags, taken, ret;

	if (from == to)
		return 0;
	if (rrc_tracee_inject(e, t, RRC_NR_fcntl, (uint64_t)from, F_GETFD, 0, &flags, err) ||
	    rrc_tracee_inject(e, t, RRC_NR_fcntl, (uint64_t)to, F_GETFD, 0, &taken, err))
		return err->code;
	if (taken >= 0)
		return rrc_diverge(e, t->next_rec, t, err,
				   "the new descriptor is %d, and %d is taken", from, to);
	if (rrc_tracee_inject(e, t, RRC_NR_dup3, (uint64_t)from, (uint64_t)to,
			      flags > 0 && flags & FD_CLOEXEC ? O_CLOEXEC : 0, &ret, err))
		return err->code;
	if (ret != to)
		return rrc_fail(err, (int)ret, "thread %u: descriptor %d cannot become %d: %s",
				t->ns_tid, from, to, strerror((int)-ret));
	return rrc_tracee_inject(e, t, RRC_NR_close, (uint64_t)from, 0, 0, &ret, err);
}

/* fcntl makes descriptors by two of its commands only. */
static int fcntl_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			  struct rrc_error *err)
{
	bool makes = rec->args[1] == F_DUPFD || rec->args[1] == F_DUPFD_CLOEXEC;

	if (t->result == rec->ret)
		return 0;
	if (makes && t->result >= 0)
		return rrc_move_fd(e, t, (int)t->result, (int)rec->ret, err);
	return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld", t->result);
}

const struct rrc_call_ops rrc_ops_fcntl = { .executed = fcntl_executed };

/* Frees a number that one descriptor of a pair has and the other is to get. */
static int step_aside(struct rrc_engine *e, struct tracee *t, int *fd, struct rrc_error *err)
{
	long flags, other, ret;

	if (rrc_tracee_inject(e, t, RRC_NR_fcntl, (uint64_t)*fd, F_GETFD, 0, &flags, err) ||
	    rrc_tracee_inject(e, t, RRC_NR_fcntl, (uint64_t)*fd,
			      flags > 0 ? F_DUPFD_CLOEXEC : F_DUPFD, (uint64_t)*fd + 2, &other,
			      err))
		return err->code;
	if (other < 0)
		return rrc_fail(err, (int)other, "thread %u: descriptors: %s", t->ns_tid,
				strerror((int)-other));
	if (rrc_tracee_inject(e, t, RRC_NR_close, (uint64_t)*fd, 0, 0, &ret, err))
		return err->code;
	*fd = (int)other;
	return 0;
}

/* pipe and socketpair. */
static int pair_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			 struct rrc_error *err)
{
	uint64_t at = rec->args[rec->nr == RRC_NR_socketpair ? 3 : 0];
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &data);
	int got[2], want[2], r;

	if (t->result != rec->ret)
		return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld",
				   t->result);
	if (rec->ret < 0 || !seg || seg->len < sizeof(want))
		return 0;
	memcpy(want, data, sizeof(want));
	r = rrc_mem_read(t->tid, at, got, sizeof(got));
	if (r)
		return rrc_fail(err, r, "thread %u: a pair of descriptors: %s", t->ns_tid,
				strerror(-r));
	if (got[0] == want[0] && got[1] == want[1])
		return 0;
	if (want[0] == got[1]) {
		r = step_aside(e, t, &got[1], err);
		if (r)
			return r;
	}
	r = rrc_move_fd(e, t, got[0], want[0], err);
	return r ? r : rrc_move_fd(e, t, got[1], want[1], err);
}

const struct rrc_call_ops rrc_ops_pair = { .executed = pair_executed };

static int close_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			  struct rrc_error *err)
{
	if (t->result != rec->ret)
		return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld",
				   t->result);
	if (rec->fdkind == RRC_FD_TCP)
		rrc_conn_closed(e, rec->obj);
	return 0;
}

const struct rrc_call_ops rrc_ops_close = { .executed = close_executed };
