// SPDX-License-Identifier: MIT
/* Calls of the log made once more in a copy that stands still, see advance.h. What they return is compared:
 * a copy in which one goes another way is not the container. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "advance_int.h"
#include "carry.h"
#include "ptrace.h"
#include "reclog.h"
#include "syscalls.h"
#include "util.h"

#define MAX_SEGS  RRC_REC_MAX_SEG
#define LOOKAHEAD 4096 /* records: of calls that overlapped */

/* The calls of one epoch, and which of them are made. */
struct again {
	struct rrc_advance *a;
	const struct rrc_rec *const *recs;
	size_t n, at;
	uint8_t *done;
};

static struct adv_proc *proc_of(struct again *g, const struct adv_thread *t)
{
	return &g->a->procs[t->proc];
}

static int inject(const struct adv_thread *t, long nr, uint64_t a, uint64_t b, uint64_t c,
		  long *ret, struct rrc_error *err)
{
	uint64_t args[6] = { a, b, c };

	return rrc_inject(t->tid, nr, args, ret, err) ? err->code : 0;
}

static int other(const struct rrc_rec *rec, long got, struct rrc_error *err)
{
	return rrc_fail(err, ESTALE, "the copy of thread %u: %s returns %ld and not %lld", rec->tid,
			rrc_sysname(rec->nr), got, (long long)rec->ret);
}

/* ---- arguments in memory ---- */

/* What was where an argument's bytes are put for the call, or where it puts some. */
struct saved {
	uint64_t addr;
	uint32_t len;
	uint8_t *old;
};

struct placed {
	struct saved s[MAX_SEGS];
	unsigned int n;
};

static int write_mem(const struct adv_proc *p, uint64_t addr, const void *buf, size_t len)
{
	return pwrite(p->mem, buf, len, (off_t)addr) == (ssize_t)len ? 0 : -EFAULT;
}

static int put_back(const struct adv_proc *p, struct placed *pl)
{
	int ret = 0;

	while (pl->n) {
		struct saved *s = &pl->s[--pl->n];

		if (s->old && write_mem(p, s->addr, s->old, s->len))
			ret = -EFAULT;
		free(s->old);
	}
	return ret;
}

/* Memory is not as it was at the call: its inputs come from the record, and what it gives is not to stay, since a
 * delta names only what changed. */
static int place(const struct adv_proc *p, const struct rrc_rec *rec, struct placed *pl,
		 struct rrc_error *err)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *data = rrc_rec_payload(rec);

	for (unsigned int i = 0; i < rec->nseg; data += segs[i].len, i++) {
		struct saved *s = &pl->s[pl->n];

		bool in = segs[i].dir == RRC_SEG_IN;

		if (segs[i].row >= row->nseg)
			continue;
		*s = (struct saved){ .addr = rec->args[row->seg[segs[i].row].ptr % 6],
				     .len = segs[i].len,
				     .old = calloc(1, segs[i].len + 1) };
		pl->n++;
		if (!s->old)
			return rrc_fail(err, ENOMEM, "no memory");
		/* a stack that has not grown yet has nothing where a call puts something */
		if ((rrc_mem_read(p->pid, s->addr, s->old, s->len) && in) ||
		    (in && write_mem(p, s->addr, data, s->len)))
			return rrc_fail(err, EFAULT,
					"the copy has no memory at %#llx, where %s wants it",
					(unsigned long long)s->addr, rrc_sysname(rec->nr));
	}
	return 0;
}

/* ---- descriptors ---- */

/* A call of another thread that freed what this one got, and returned after it. */
static int make_overlapping(struct again *g, const struct rrc_rec *rec,
			    bool (*frees)(const struct rrc_rec *rec, const struct rrc_rec *later),
			    struct rrc_error *err);

static bool frees_fd(const struct rrc_rec *rec, const struct rrc_rec *later)
{
	return later->nr == RRC_NR_close && (int64_t)later->args[0] == rec->ret;
}

static int move_fd(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		   long from, struct rrc_error *err)
{
	long flags, taken, ret;
	uint64_t to = (uint64_t)rec->ret;

	if (from == rec->ret)
		return 0;
	if (from < 0)
		return other(rec, from, err);
	if (inject(t, SYS_fcntl, (uint64_t)from, F_GETFD, 0, &flags, err) ||
	    inject(t, SYS_fcntl, to, F_GETFD, 0, &taken, err))
		return err->code;
	if (taken >= 0 && make_overlapping(g, rec, frees_fd, err) <= 0)
		return err->code ? err->code : other(rec, from, err);
	if (inject(t, SYS_dup3, (uint64_t)from, to, flags > 0 ? O_CLOEXEC : 0, &ret, err))
		return err->code;
	if (ret != rec->ret)
		return other(rec, ret, err);
	return inject(t, SYS_close, (uint64_t)from, 0, 0, &ret, err);
}

static int fd_of(struct again *g, const struct adv_thread *t, uint64_t fd)
{
	int ret = (int)syscall(SYS_pidfd_getfd, proc_of(g, t)->pidfd, (int)fd, 0);

	return ret < 0 ? -errno : ret;
}

/* pipe and socketpair: both descriptors where they were. */
static int pair(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		struct rrc_error *err)
{
	uint64_t at = rec->args[rec->nr == RRC_NR_socketpair ? 3 : 0];
	struct rrc_rec want = *rec;
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &data);
	int got[2], fds[2], ret = 0;

	if (!seg || seg->len < sizeof(fds))
		return rrc_fail(err, EBADMSG, "a pair of descriptors that the log does not name");
	memcpy(fds, data, sizeof(fds));
	if (rrc_mem_read(proc_of(g, t)->pid, at, got, sizeof(got)))
		return rrc_fail(err, EFAULT, "a pair of descriptors: %s", strerror(EFAULT));
	/* The kernel gives the lowest first, so a pair that is elsewhere lies below. */
	for (int i = 1; i >= 0 && !ret; i--) {
		want.ret = fds[i];
		ret = move_fd(g, t, &want, got[i], err);
	}
	return ret;
}

/* ---- calls ---- */

static bool frees_memory(const struct rrc_rec *rec, const struct rrc_rec *later)
{
	uint64_t start = (uint64_t)rec->ret, end = start + rec->args[1];

	return later->nr == RRC_NR_munmap && later->args[0] < end &&
	       later->args[0] + later->args[1] > start;
}

/* The arguments of the real call: what the kernel chose then is asked for now. */
static int prepare(struct again *g, const struct rrc_rec *rec, uint64_t args[6],
		   struct rrc_error *err)
{
	memcpy(args, rec->args, 6 * sizeof(*args));
	if (rec->nr == RRC_NR_mmap) {
		int ret = make_overlapping(g, rec, frees_memory, err);

		if (ret < 0)
			return ret;
		args[0] = (uint64_t)rec->ret;
		args[3] |= MAP_FIXED;
	} else if (rec->nr == RRC_NR_mremap && (uint64_t)rec->ret != rec->args[0]) {
		args[3] |= MREMAP_MAYMOVE | MREMAP_FIXED;
		args[4] = (uint64_t)rec->ret;
	}
	return 0;
}

/* A closed socket refuses some options that the connection took: they are set again with it. */
static bool may_differ(const struct rrc_rec *rec)
{
	return rec->nr == RRC_NR_setsockopt || rrc_sysrow(rec->nr)->flags & RRC_ROW_RETLOG;
}

static bool makes_fd(const struct rrc_rec *rec)
{
	if (rec->nr == RRC_NR_fcntl)
		return rec->args[1] == F_DUPFD || rec->args[1] == F_DUPFD_CLOEXEC;
	return rrc_sysrow(rec->nr)->flags & RRC_ROW_FDRET;
}

static int call(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		struct rrc_error *err)
{
	struct adv_proc *p = proc_of(g, t);
	struct placed pl = { .n = 0 };
	bool two =
		rec->nr == RRC_NR_pipe || rec->nr == RRC_NR_pipe2 || rec->nr == RRC_NR_socketpair;
	uint64_t args[6];
	long got = 0;
	int ret = prepare(g, rec, args, err);

	ret = ret ? ret : place(p, rec, &pl, err);
	if (!ret && rrc_inject(t->tid, rec->nr, args, &got, err))
		ret = err->code;
	if (!ret && two)
		ret = got == rec->ret ? pair(g, t, rec, err) : other(rec, got, err);
	if (!ret && rec->nr == RRC_NR_munmap)
		for (unsigned int i = 0; i < pl.n; i++)
			pl.s[i].len = 0;
	if (put_back(p, &pl) && !ret)
		ret = rrc_fail(err, EFAULT, "an argument of %s in the copy: %s",
			       rrc_sysname(rec->nr), strerror(EFAULT));
	if (ret || two)
		return ret;
	if (makes_fd(rec))
		return move_fd(g, t, rec, got, err);
	return got == rec->ret || may_differ(rec) ? 0 : other(rec, got, err);
}

static int accepted(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		    struct rrc_error *err)
{
	rrc_autoclose int listener = fd_of(g, t, rec->args[0]);
	int domain = 0, flags = 0;
	socklen_t len = sizeof(domain);
	long fd;

	if (listener < 0 || getsockopt(listener, SOL_SOCKET, SO_DOMAIN, &domain, &len))
		return rrc_fail(err, EBADF, "descriptor %d of the copy does not listen",
				(int)rec->args[0]);
	if (rec->nr == RRC_NR_accept4)
		flags = (int)rec->args[3] & (SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (inject(t, SYS_socket, (uint64_t)domain, (uint64_t)(SOCK_STREAM | flags), 0, &fd, err))
		return err->code;
	return move_fd(g, t, rec, fd, err);
}

/* ---- bytes ---- */

enum holds {
	HOLDS_NOTHING, /* that is changed by reading it, or cannot be read without waiting */
	HOLDS_BYTES,
	HOLDS_COUNT, /* an eventfd */
};

static enum holds what_holds(int fd)
{
	char path[64], what[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, what, sizeof(what) - 1);
	if (n < 0)
		return HOLDS_NOTHING;
	what[n] = 0;
	if (!strcmp(what, "anon_inode:[eventfd]"))
		return HOLDS_COUNT;
	return !strncmp(what, "pipe:", 5) || !strncmp(what, "socket:", 7) || what[0] == '/'
		       ? HOLDS_BYTES
		       : HOLDS_NOTHING;
}

static ssize_t read_now(int fd, void *buf, size_t len)
{
	struct iovec v = { buf, len };
	ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);

	return n < 0 && errno == ENOTSOCK ? preadv2(fd, &v, 1, -1, RWF_NOWAIT) : n;
}

static ssize_t write_now(int fd, const void *buf, size_t len)
{
	struct iovec v = { (void *)(uintptr_t)buf, len };
	ssize_t n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 && errno == ENOTSOCK ? pwritev2(fd, &v, 1, -1, RWF_NOWAIT) : n;
}

/* A count has no order: what the reader got is taken off, who brought it may be recorded behind. Writing one
 * waits only where it would not fit, which the log's writers did not see. */
static int add_count(int fd, uint64_t n)
{
	struct pollfd p = { fd, POLLOUT, 0 };

	if (!n)
		return 0;
	return poll(&p, 1, 0) == 1 && write(fd, &n, sizeof(n)) == sizeof(n) ? 0 : -EAGAIN;
}

static int take_count(int fd, const struct rrc_rec *rec, struct rrc_error *err)
{
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_seg(rec, 0, &data);
	uint64_t want, have;
	int ret = -EAGAIN;

	if (!seg || seg->len != sizeof(want))
		return rrc_fail(err, EBADMSG, "a read of an eventfd without its count");
	memcpy(&want, data, sizeof(want));
	if (read_now(fd, &have, sizeof(have)) != sizeof(have))
		return -EAGAIN;
	if (have >= want) {
		have -= want;
		ret = 0;
	}
	return add_count(fd, have) ? rrc_fail(err, EIO, "an eventfd of the copy is full") : ret;
}

static int taken_out(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		     struct rrc_error *err)
{
	rrc_autoclose int fd = fd_of(g, t, rec->args[0]);
	size_t left = (size_t)rec->ret;
	enum holds holds = what_holds(fd);
	uint8_t buf[4096];
	int there;

	if (fd < 0)
		return other(rec, fd, err);
	/* A timer counts here as there; what is read of it is in the log. */
	if (holds == HOLDS_NOTHING)
		return 0;
	if (holds == HOLDS_COUNT)
		return take_count(fd, rec, err);
	/* All of it or nothing: what is not there yet is asked for again, from its beginning. */
	if (!ioctl(fd, FIONREAD, &there) && (size_t)there < left)
		return -EAGAIN;
	while (left) {
		ssize_t n = read_now(fd, buf, rrc_min(left, sizeof(buf)));

		if (n <= 0)
			return other(rec, n < 0 ? -errno : n, err);
		left -= (size_t)n;
	}
	return 0;
}

static int to_file(int fd, const struct rrc_rec *rec, const uint8_t *data, size_t len)
{
	bool placed = rec->nr == RRC_NR_pwrite64 || rec->nr == RRC_NR_pwritev ||
		      (rec->nr == RRC_NR_pwritev2 && rec->args[3] != (uint64_t)-1);
	off_t at = (off_t)rec->args[3];

	while (len) {
		ssize_t n = placed ? pwrite(fd, data, len, at) : write(fd, data, len);

		if (n <= 0)
			return n ? -errno : -EIO;
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int put_in(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		  struct rrc_error *err)
{
	rrc_autoclose int fd = fd_of(g, t, rec->args[0]);
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_input(rec, &data);
	int ret = 0;

	if (fd < 0)
		return other(rec, fd, err);
	if (!rec->ret || rec->fdkind == RRC_FD_PROC)
		return 0; /* the host's affair */
	if (!seg || seg->len != (uint64_t)rec->ret)
		return rrc_fail(err, EBADMSG, "a write whose bytes the log has not");
	if (rec->fdkind == RRC_FD_REG) {
		ret = to_file(fd, rec, data, seg->len);
		return ret ? rrc_fail(err, ret, "a file of the copy: %s", strerror(-ret)) : 0;
	}
	if (what_holds(fd) == HOLDS_COUNT) {
		uint64_t n;

		if (seg->len != sizeof(n))
			return rrc_fail(err, EBADMSG, "a write to an eventfd that is no count");
		memcpy(&n, data, sizeof(n));
		return add_count(fd, n);
	}
	while (seg->len - (uint32_t)ret) {
		ssize_t n = write_now(fd, data + ret, seg->len - (uint32_t)ret);

		if (n < 0 && errno == EAGAIN && !ret)
			return -EAGAIN;
		if (n <= 0 && ret)
			return other(rec, ret, err); /* rule 4: a part of it is not it */
		if (n <= 0)
			return 0; /* what leads outside leads nowhere here */
		ret += (int)n;
	}
	return 0;
}

static int moved(struct again *g, const struct adv_thread *t, const struct rrc_rec *rec,
		 struct rrc_error *err)
{
	rrc_autoclose int fd = fd_of(g, t, rec->args[0]);
	int64_t off;

	if (fd < 0)
		return other(rec, fd, err);
	if (rec->nr == RRC_NR_preadv2 && rec->args[3] != (uint64_t)-1)
		return 0;
	if (rec->nr != RRC_NR_getdents && rec->nr != RRC_NR_getdents64)
		return lseek(fd, rec->ret, SEEK_CUR) < 0 && errno != ESPIPE
			       ? rrc_fail(err, errno, "a file of the copy: %s", strerror(errno))
			       : 0;
	off = rrc_rec_dents_end(rec);
	/* places in a directory are the file system's own: one that refuses ours starts anew */
	if (off >= 0)
		lseek(fd, off, SEEK_SET);
	return 0;
}

/* ---- all of them ---- */

static int (*const makers[RRC_CARRIES])(struct again *g, const struct adv_thread *t,
					const struct rrc_rec *rec, struct rrc_error *err) = {
	[RRC_CARRY_CALL] = call,    [RRC_CARRY_READ] = taken_out,  [RRC_CARRY_WRITE] = put_in,
	[RRC_CARRY_OFFSET] = moved, [RRC_CARRY_ACCEPT] = accepted,
};

/* -EAGAIN: not yet. */
static int make(struct again *g, size_t i, struct rrc_error *err)
{
	const struct rrc_rec *rec = g->recs[i];
	enum rrc_carry c = rrc_carry_of(rec);
	const struct adv_thread *t = rrc_advance_find(g->a, rec->tid);
	int ret;

	if (g->done[i] || c == RRC_CARRY_NOTHING)
		return 0;
	if (!makers[c])
		return rrc_fail(err, EOPNOTSUPP, "%s cannot be made again in the copy",
				rec->kind == RRC_REC_SYSCALL ? rrc_sysname(rec->nr) : "a record");
	if (!t)
		return rrc_fail(err, EBADMSG, "a call of thread %u, which the copy has not",
				rec->tid);
	ret = makers[c](g, t, rec, err);
	g->done[i] = ret != -EAGAIN;
	return ret;
}

static int make_overlapping(struct again *g, const struct rrc_rec *rec,
			    bool (*frees)(const struct rrc_rec *rec, const struct rrc_rec *later),
			    struct rrc_error *err)
{
	size_t at = g->at, end = rrc_min(g->n, at + LOOKAHEAD);
	int made = 0;

	for (size_t i = at + 1; i < end; i++) {
		const struct rrc_rec *later = g->recs[i];
		int ret;

		if (g->done[i] || later->pid != rec->pid || later->tid == rec->tid ||
		    !later->entry_ns || later->entry_ns >= rec->exit_ns || !frees(rec, later))
			continue;
		ret = make(g, i, err);
		if (ret)
			return ret;
		made = 1;
	}
	return made;
}

int rrc_advance_calls(struct rrc_advance *a, const struct rrc_rec *const *recs, size_t n,
		      struct rrc_error *err)
{
	struct again g = { .a = a, .recs = recs, .n = n, .done = calloc(n + 1, 1) };
	rrc_autofree uint8_t *done = g.done;
	size_t waiting = 0;
	int ret = 0;

	if (!done)
		return rrc_fail(err, ENOMEM, "no memory");
	for (g.at = 0; g.at < n && ret >= 0; g.at++) {
		ret = make(&g, g.at, err);
		/* A reader can be recorded before the writer whose bytes it got. */
		waiting += ret == -EAGAIN;
		ret = ret == -EAGAIN ? 0 : ret;
	}
	for (size_t before = waiting + 1; !ret && waiting && waiting < before;) {
		before = waiting;
		waiting = 0;
		for (g.at = 0; g.at < n && !ret; g.at++) {
			ret = make(&g, g.at, err);
			waiting += ret == -EAGAIN;
			ret = ret == -EAGAIN ? 0 : ret;
		}
	}
	if (!ret && waiting)
		ret = rrc_fail(err, ESTALE,
			       "the copy's pipes have not what the log takes out of them");
	return ret;
}
