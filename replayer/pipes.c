// SPDX-License-Identifier: MIT
/* Contents of pipes, unix stream sockets and eventfds put right at go-live, see pipes.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "pipes.h"
#include "reclog.h"
#include "unixpeer.h"
#include "util.h"

#define MOST	  (1u << 20) /* more than this no pipe holds; of a socket it is plenty */
#define PIPE_HASH 256

struct object {
	uint64_t obj; /* on the primary, as in the log */
	uint8_t kind; /* enum rrc_fdkind */
	ino_t ino; /* here; of pipes and sockets */
	bool filled; /* a pipe that was not empty at the checkpoint */
	int fd; /* our duplicate, of eventfds, which have no inode of their own */
	uint64_t put, got; /* bytes, or for an eventfd sums of values */
	uint8_t *tail; /* the last bytes of what was put */
	size_t len, cap;
	struct object *chain;
};

struct rrc_pipes {
	struct object *hash[PIPE_HASH];
};

static bool is_event(int fd)
{
	char path[64], to[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, to, sizeof(to) - 1) < 0)
		return false;
	return !strncmp(to, "anon_inode:[eventfd]", 20);
}

static int identify(struct object *o, const struct tracee *t, int fd)
{
	char path[64];
	struct stat st;

	if (o->kind == RRC_FD_ANON) {
		o->fd = rrc_tracee_getfd(t, fd);
		if (o->fd >= 0 && !is_event(o->fd)) {
			/* timers, signals: what was read from them is gone with the log */
			close(o->fd);
			o->fd = -1;
		}
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", t->proc->pid, fd);
	if (stat(path, &st))
		return -errno;
	o->ino = st.st_ino;
	if (o->kind == RRC_FD_FIFO) {
		/* nothing was moved in the kernel yet, so that is what the checkpoint had */
		rrc_autoclose int dup = rrc_tracee_getfd(t, fd);
		int n = 1;

		o->filled = dup < 0 || ioctl(dup, FIONREAD, &n) || n;
	}
	return 0;
}

static struct object *object_of(struct rrc_engine *e, const struct tracee *t,
				const struct rrc_rec *rec, int *r)
{
	struct object **at, *o;

	*r = -ENOMEM;
	if (!e->pipes)
		e->pipes = calloc(1, sizeof(*e->pipes));
	if (!e->pipes)
		return NULL;
	at = &e->pipes->hash[rec->obj % PIPE_HASH];
	for (o = *at; o; o = o->chain)
		if (o->obj == rec->obj && o->kind == rec->fdkind)
			return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->obj = rec->obj;
	o->kind = rec->fdkind;
	o->fd = -1;
	*r = identify(o, t, (int)rec->args[0]);
	if (*r) {
		free(o);
		return NULL;
	}
	o->chain = *at;
	*at = o;
	return o;
}

/* Keeps what can still be in the kernel at the end: the last bytes. */
static int append(struct object *o, const uint8_t *data, size_t len)
{
	o->put += len;
	if (len > MOST) {
		data += len - MOST;
		len = MOST;
	}
	if (o->len + len > o->cap) {
		size_t cap = rrc_max(o->cap * 2, (size_t)4096);
		uint8_t *more;

		while (cap < o->len + len)
			cap *= 2;
		more = realloc(o->tail, cap);
		if (!more)
			return -ENOMEM;
		o->tail = more;
		o->cap = cap;
	}
	memcpy(o->tail + o->len, data, len);
	o->len += len;
	if (o->len > 4 * MOST) {
		memmove(o->tail, o->tail + o->len - MOST, MOST);
		o->len = MOST;
	}
	return 0;
}

/* All that was ever put is taken again: no need to keep it. */
static void forget(struct object *o)
{
	if (!o->filled && o->put == o->got)
		o->len = 0;
}

static int note_event(struct object *o, const struct rrc_rec *rec, const struct rrc_seg *seg,
		      const uint8_t *data)
{
	uint64_t value;

	if (o->fd < 0 || seg->len < sizeof(value))
		return 0;
	memcpy(&value, data, sizeof(value));
	if (rrc_sysrow(rec->nr)->special == RRC_S_READ)
		o->got += value;
	else
		o->put += value;
	return 0;
}

/* Is it a look that leaves the bytes where they are? */
static bool peeks(const struct rrc_rec *rec)
{
	if (rec->nr == RRC_NR_recvfrom)
		return rec->args[3] & MSG_PEEK;
	return rec->nr == RRC_NR_recvmsg && rec->args[2] & MSG_PEEK;
}

int rrc_pipes_note(struct rrc_engine *e, const struct tracee *t, const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_sysrow(rec->nr);
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const uint8_t *data = rrc_rec_payload(rec);
	struct object *o;
	int r = 0;

	if ((rec->fdkind != RRC_FD_FIFO && rec->fdkind != RRC_FD_UNIX &&
	     rec->fdkind != RRC_FD_ANON) ||
	    peeks(rec))
		return 0;
	o = object_of(e, t, rec, &r);
	if (!o)
		return r;
	r = 0;
	for (unsigned int i = 0; i < rec->nseg; data += segs[i].len, i++) {
		const struct rrc_segrow *sr = &row->seg[segs[i].row];

		if (segs[i].row >= row->nseg || sr->len == RRC_LEN_MSGNAME ||
		    sr->len == RRC_LEN_MSGCTL || sr->len == RRC_LEN_CONST ||
		    sr->len == RRC_LEN_VALRES || sr->len == RRC_LEN_ARG)
			continue;
		if (o->kind == RRC_FD_ANON)
			return note_event(o, rec, &segs[i], data);
		if (segs[i].dir == RRC_SEG_IN)
			r = append(o, data, segs[i].len);
		else
			o->got += segs[i].len;
		if (r)
			return r;
	}
	if (o->kind == RRC_FD_FIFO)
		forget(o);
	return 0;
}

/* A way to the pipe: through any process that has an end of it open. */
static int reach(const struct rrc_engine *e, ino_t ino, mode_t type, char *path, size_t size)
{
	for (const struct tproc *p = e->procs; p; p = p->next) {
		struct dirent *d;
		struct stat st;
		bool found = false;
		char dir[64];
		DIR *fds;

		if (!p->threads)
			continue;
		snprintf(dir, sizeof(dir), "/proc/%d/fd", p->pid);
		fds = opendir(dir);
		while (fds && !found && (d = readdir(fds))) {
			snprintf(path, size, "%s/%s", dir, d->d_name);
			found = d->d_name[0] != '.' && !stat(path, &st) && st.st_ino == ino &&
				(st.st_mode & S_IFMT) == type;
		}
		if (fds)
			closedir(fds);
		if (found)
			return 0;
	}
	return -ENOENT;
}

/* What is to be in it: of what was there and what was put, all that was not taken. */
static int left_in(const struct object *from, const struct object *to, uint8_t *buf, size_t had,
		   size_t *len)
{
	uint64_t put = from ? from->put : 0, got = to ? to->got : 0;
	size_t kept = from ? from->len : 0;
	uint64_t left = had + put - got;

	if (had + put < got || left > had + kept || left > 2 * MOST)
		return -EPROTO;
	if (kept)
		memcpy(buf + had, from->tail, kept);
	memmove(buf, buf + had + kept - left, left);
	*len = left;
	return 0;
}

static int settle_pipe(struct rrc_engine *e, const struct object *o, struct rrc_error *err)
{
	rrc_autofree uint8_t *buf = malloc(MOST + o->len + 1);
	rrc_autoclose int fd = -1;
	char path[PATH_MAX];
	size_t had = 0, len;
	ssize_t n;

	if (!buf)
		return rrc_fail(err, -ENOMEM, "out of memory");
	if (reach(e, o->ino, S_IFIFO, path, sizeof(path)))
		return 0; /* nobody has it any more */
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return rrc_fail(err, -errno, "pipe %llu: %s", (unsigned long long)o->obj,
				strerror(errno));
	while (had < MOST && (n = read(fd, buf + had, MOST - had)) > 0)
		had += (size_t)n;
	if (left_in(o, o, buf, had, &len))
		return rrc_fail(err, -EPROTO,
				"pipe %llu: %zu bytes were in it, %llu put, %llu taken",
				(unsigned long long)o->obj, had, (unsigned long long)o->put,
				(unsigned long long)o->got);
	n = len ? write(fd, buf, len) : 0;
	if (n != (ssize_t)len)
		return rrc_fail(err, n < 0 ? -errno : -ENOSPC, "pipe %llu: %zu bytes do not fit",
				(unsigned long long)o->obj, len);
	return 0;
}

static int settle_event(const struct object *o, struct rrc_error *err)
{
	uint64_t had = 0, value = 0;
	int flags = fcntl(o->fd, F_GETFL);

	/* the flag is the program's own: its file, not a copy */
	fcntl(o->fd, F_SETFL, flags | O_NONBLOCK);
	while (read(o->fd, &value, sizeof(value)) == sizeof(value))
		had += value; /* one at a time, if it is a semaphore */
	value = had + o->put - o->got;
	if (had + o->put < o->got)
		value = 0;
	if (value && write(o->fd, &value, sizeof(value)) != sizeof(value))
		return rrc_fail(err, -errno, "eventfd: %s", strerror(errno));
	fcntl(o->fd, F_SETFL, flags);
	return 0;
}

static struct object *by_ino(const struct rrc_pipes *pipes, ino_t ino)
{
	for (size_t i = 0; i < PIPE_HASH; i++)
		for (struct object *o = pipes->hash[i]; o; o = o->chain)
			if (o->kind == RRC_FD_UNIX && o->ino == ino)
				return o;
	return NULL;
}

/* One direction of a pair of unix sockets: what the one end put and the other has not taken. */
static int settle_direction(struct rrc_engine *e, ino_t from, ino_t to, struct rrc_error *err)
{
	const struct object *in = by_ino(e->pipes, from), *out = by_ino(e->pipes, to);
	rrc_autofree uint8_t *buf = malloc(2 * MOST + (in ? in->len : 0));
	rrc_autoclose int a = -1, b = -1;
	size_t had = 0, len;
	ssize_t n;

	if (!buf)
		return rrc_fail(err, -ENOMEM, "out of memory");
	a = rrc_unix_dup(e, from);
	b = rrc_unix_dup(e, to);
	if (a < 0 || b < 0)
		return 0; /* nobody is there to write or to read */
	while (had < MOST && (n = recv(b, buf + had, MOST - had, MSG_DONTWAIT)) > 0)
		had += (size_t)n;
	if (left_in(in, out, buf, had, &len))
		return rrc_fail(err, -EPROTO, "a unix socket: more was read than written");
	for (size_t done = 0; done < len; done += (size_t)n) {
		n = send(a, buf + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			return rrc_fail(err, -errno, "a unix socket: %zu bytes do not fit: %s",
					len - done, strerror(errno));
	}
	return 0;
}

static int settle_unix(struct rrc_engine *e, const struct object *o, struct rrc_error *err)
{
	ino_t peer = rrc_unix_peer(e, o->ino);
	const struct object *other = peer ? by_ino(e->pipes, peer) : NULL;
	int r;

	if (!peer || (other && other < o))
		return 0; /* alone, or done with the other end */
	r = settle_direction(e, o->ino, peer, err);
	return r ? r : settle_direction(e, peer, o->ino, err);
}

int rrc_pipes_settle(struct rrc_engine *e, struct rrc_error *err)
{
	int r = 0;

	if (!e->pipes)
		return 0;
	for (size_t i = 0; i < PIPE_HASH; i++) {
		for (struct object *o = e->pipes->hash[i]; o && !r; o = o->chain) {
			if (o->kind == RRC_FD_FIFO && (o->put || o->got))
				r = settle_pipe(e, o, err);
			else if (o->kind == RRC_FD_UNIX)
				r = settle_unix(e, o, err);
			else if (o->kind == RRC_FD_ANON && o->fd >= 0)
				r = settle_event(o, err);
		}
	}
	return r;
}

void rrc_pipes_free(struct rrc_engine *e)
{
	for (size_t i = 0; e->pipes && i < PIPE_HASH; i++) {
		while (e->pipes->hash[i]) {
			struct object *o = e->pipes->hash[i];

			e->pipes->hash[i] = o->chain;
			rrc_closep(&o->fd);
			free(o->tail);
			free(o);
		}
	}
	free(e->pipes);
	e->pipes = NULL;
}
