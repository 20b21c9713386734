// SPDX-License-Identifier: MIT
/*
 * Sockets: what goes over the network is emulated, the descriptors are real. A connection's socket
 * stays closed until it is rebuilt in place at go-live; we keep a duplicate of each for that.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "pipes.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"

static int accept_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		      struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)real;
	(void)err;
	/* both ends are in the container, and the connect is made for real as well */
	return rec->ret >= 0 && rec->fdkind == RRC_FD_UNIX ? RRC_HOW_EXECUTE : RRC_HOW_EMULATE;
}

/* The connection's socket: of the listener's family, closed, at the recorded descriptor. */
static int accept_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			   struct rrc_error *err)
{
	rrc_autoclose int listener = -1;
	int domain = 0, flags = 0, r;
	socklen_t len = sizeof(domain);
	long fd;

	if (rec->ret < 0)
		return 0;
	listener = rrc_tracee_getfd(t, (int)rec->args[0]);
	if (listener < 0 || getsockopt(listener, SOL_SOCKET, SO_DOMAIN, &domain, &len))
		return rrc_fail(err, -EBADF, "thread %u: descriptor %d does not listen here",
				t->ns_tid, (int)rec->args[0]);
	if (rec->nr == RRC_NR_accept4)
		flags = (int)rec->args[3] & (SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (rrc_tracee_inject(e, t, RRC_NR_socket, (uint64_t)domain,
			      (uint64_t)(SOCK_STREAM | flags), 0, &fd, err))
		return err->code;
	if (fd < 0)
		return rrc_fail(err, (int)fd, "thread %u: a socket for a connection: %s", t->ns_tid,
				strerror((int)-fd));
	r = rrc_move_fd(e, t, (int)fd, (int)rec->ret, err);
	if (r)
		return r;
	r = rrc_conn_note(e, t->proc, (int)rec->ret, rec->obj);
	return r ? rrc_fail(err, r, "thread %u: descriptor %lld: %s", t->ns_tid,
			    (long long)rec->ret, strerror(-r))
		 : 0;
}

static int accept_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			   struct rrc_error *err)
{
	if (t->result < 0)
		return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld",
				   t->result);
	return rrc_move_fd(e, t, (int)t->result, (int)rec->ret, err);
}

const struct rrc_call_ops rrc_ops_accept = { .how = accept_how,
					     .emulated = accept_emulated,
					     .executed = accept_executed };

static int connect_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		       struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)real;
	(void)err;
	return rec->ret == 0 && rec->fdkind == RRC_FD_UNIX ? RRC_HOW_EXECUTE : RRC_HOW_EMULATE;
}

static int connect_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			    struct rrc_error *err)
{
	const uint8_t *addr;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &addr);
	int fd = (int)rec->args[0], r = 0;

	if (rec->fdkind == RRC_FD_TCP && (rec->ret == 0 || rec->ret == -EINPROGRESS)) {
		r = rrc_conn_note(e, t->proc, fd, rec->obj);
	} else if (rec->ret == 0 && rec->fdkind != RRC_FD_UNIX && seg) {
		/* nothing is sent by it; without a route now it stays unconnected */
		rrc_autoclose int sock = rrc_tracee_getfd(t, fd);

		if (sock >= 0 && connect(sock, (const struct sockaddr *)addr, seg->len))
			rrc_trace_step(e, t, "unrouted");
	}
	return r ? rrc_fail(err, r, "thread %u: descriptor %d: %s", t->ns_tid, fd, strerror(-r))
		 : 0;
}

const struct rrc_call_ops rrc_ops_connect = { .how = connect_how, .emulated = connect_emulated };

static int sockio_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			   struct rrc_error *err)
{
	int r = rec->ret > 0 ? rrc_pipes_note(e, t, rec) : 0;

	return r ? rrc_fail(err, r, "thread %u: descriptor %d: %s", t->ns_tid, (int)rec->args[0],
			    strerror(-r))
		 : 0;
}

const struct rrc_call_ops rrc_ops_sockio = { .emulated = sockio_emulated };

/* A closed socket refuses some options that the connection took: they are set again with it. */
static int sockopt_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			    struct rrc_error *err)
{
	if (t->result == rec->ret || rec->fdkind == RRC_FD_TCP)
		return 0;
	return rrc_diverge(e, t->next_rec, t, err, "made for real, it returns %ld", t->result);
}

const struct rrc_call_ops rrc_ops_sockopt = { .executed = sockopt_executed };

static int shutdown_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)real;
	(void)err;
	return rec->ret == 0 && rec->fdkind == RRC_FD_UNIX ? RRC_HOW_EXECUTE : RRC_HOW_EMULATE;
}

const struct rrc_call_ops rrc_ops_shutdown = { .how = shutdown_how };
