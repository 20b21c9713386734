/* SPDX-License-Identifier: MIT */
/* Finds and adds the bytes that a sendfile sent, see sendfile.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "ptrace.h"
#include "sendfile.h"
#include "util.h"

#define RRC_HANDLES 64
#define RRC_PATHS   256

struct handle {
	uint64_t ino;
	uint64_t used;
	int fd;
};

/* A file that was opened a short while ago: the descriptor may be closed before its record is read. */
struct opened {
	uint64_t ino;
	uint32_t pid;
	char path[256];
};

struct rrc_sendfile {
	uint64_t pidns;
	uint64_t clock;
	struct handle handles[RRC_HANDLES];
	struct opened opened[RRC_PATHS];
	size_t next_opened;
	struct {
		uint32_t vpid;
		pid_t pid;
	} who; /* the process seen last, from here */
	uint8_t *buf;
	size_t size;
};

struct rrc_sendfile *rrc_sendfile_new(uint64_t pidns)
{
	struct rrc_sendfile *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pidns = pidns;
	for (size_t i = 0; i < RRC_HANDLES; i++)
		s->handles[i].fd = -1;
	return s;
}

void rrc_sendfile_free(struct rrc_sendfile *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < RRC_HANDLES; i++)
		if (s->handles[i].fd >= 0)
			close(s->handles[i].fd);
	free(s->buf);
	free(s);
}

/* The process with this id in the container, as seen from here; 0 if it is gone. */
static pid_t host_pid(struct rrc_sendfile *s, uint32_t vpid)
{
	rrc_autofree pid_t *pids = NULL;
	int n;

	if (s->who.vpid == vpid && rrc_ns_tid(s->who.pid) == (int)vpid &&
	    rrc_pidns_ino(s->who.pid) == s->pidns)
		return s->who.pid;
	n = rrc_pidns_processes(s->pidns, &pids);
	for (int i = 0; i < n; i++) {
		if (rrc_ns_tid(pids[i]) != (int)vpid)
			continue;
		s->who.vpid = vpid;
		s->who.pid = pids[i];
		return pids[i];
	}
	return 0;
}

/* Inode number as the kernel has it in the file (on overlayfs not what stat says). */
static uint64_t fd_ino(int fd)
{
	char path[64], line[128];
	unsigned long long ino = 0;
	rrc_autofclose FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "ino: %llu", &ino) == 1)
			break;
	return ino;
}

static int open_checked(const char *path, uint64_t ino)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0 && fd_ino(fd) != ino) {
		close(fd);
		return -1;
	}
	return fd;
}

static int find_file(struct rrc_sendfile *s, uint32_t vpid, int fd, uint64_t ino)
{
	struct handle *old = &s->handles[0];
	char path[PATH_MAX];
	pid_t pid;
	int got;

	for (size_t i = 0; i < RRC_HANDLES; i++) {
		struct handle *h = &s->handles[i];

		if (h->fd >= 0 && h->ino == ino) {
			h->used = ++s->clock;
			return h->fd;
		}
		if (h->used < old->used)
			old = h;
	}
	pid = host_pid(s, vpid);
	if (!pid)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	got = open_checked(path, ino);
	for (size_t i = 0; got < 0 && i < RRC_PATHS; i++) {
		if (s->opened[i].ino != ino || s->opened[i].pid != vpid)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/%s%s", pid,
			 s->opened[i].path[0] == '/' ? "root" : "cwd/", s->opened[i].path);
		got = open_checked(path, ino);
	}
	if (got < 0)
		return -1;
	if (old->fd >= 0)
		close(old->fd);
	*old = (struct handle){ .ino = ino, .fd = got, .used = ++s->clock };
	return got;
}

void rrc_sendfile_opened(struct rrc_sendfile *s, const struct rrc_rec *rec)
{
	const struct rrc_seg *seg = (const struct rrc_seg *)(rec + 1);
	const char *path = (const char *)(seg + rec->nseg);
	struct opened *o = &s->opened[s->next_opened];

	if (rec->fdkind != RRC_FD_REG || rec->ret < 0 || !rec->nseg || seg->len < 2 ||
	    seg->len > sizeof(o->path) || path[seg->len - 1] ||
	    sizeof(*rec) + rec->nseg * sizeof(*seg) + seg->len > rec->size)
		return;
	o->ino = rec->obj;
	o->pid = rec->pid;
	memcpy(o->path, path, seg->len);
	s->next_opened = (s->next_opened + 1) % RRC_PATHS;
}

static struct rrc_rec *reserve(struct rrc_sendfile *s, size_t size)
{
	if (s->size < size) {
		uint8_t *bigger = realloc(s->buf, size);

		if (!bigger)
			return NULL;
		s->buf = bigger;
		s->size = size;
	}
	memset(s->buf + size - 8, 0, 8);
	return (struct rrc_rec *)s->buf;
}

const struct rrc_rec *rrc_sendfile_complete(struct rrc_sendfile *s, const struct rrc_rec *rec)
{
	size_t head = sizeof(*rec) + rec->nseg * sizeof(struct rrc_seg), old_data = 0, data, size;
	uint64_t len = (uint64_t)rec->ret, start;
	const struct rrc_seg *segs = (const struct rrc_seg *)(rec + 1);
	struct rrc_rec *out;
	struct rrc_seg *seg;
	int fd;

	for (unsigned int i = 0; i < rec->nseg; i++)
		old_data += segs[i].len;
	if (head + old_data > rec->size || rec->nseg >= RRC_REC_MAX_SEG)
		return rec;
	data = head + sizeof(*seg) + old_data;
	size = RRC_ALIGN8(data + len);
	out = size <= RRC_REC_MAX_SIZE ? reserve(s, size) : NULL;
	if (!out) {
		out = reserve(s, rec->size);
		if (out)
			memcpy(out, rec, rec->size);
		goto barrier;
	}
	memcpy(out, rec, head);
	memcpy((uint8_t *)out + head + sizeof(*seg), (const uint8_t *)rec + head, old_data);
	seg = (struct rrc_seg *)((uint8_t *)out + head);
	*seg = (struct rrc_seg){ .row = rec->nseg ? rec->nseg : 1, .dir = RRC_SEG_IN };
	/* Where it began: the offset that it wrote back, else the file's own position, both at exit. */
	if (rec->args[2] && old_data >= sizeof(start)) {
		memcpy(&start, (const uint8_t *)rec + head, sizeof(start));
		start -= len;
	} else {
		start = rec->args[5] - len;
	}
	fd = find_file(s, rec->pid, (int)rec->args[1], rec->args[4]);
	if (fd >= 0 && pread(fd, (uint8_t *)out + data, len, (off_t)start) == (ssize_t)len) {
		seg->len = (uint32_t)len;
		out->nseg++;
		out->size = (uint32_t)size;
		return out;
	}
	memcpy(out, rec, rec->size);
barrier:
	if (!out)
		return rec;
	out->flags |= RRC_F_BARRIER | RRC_F_TRUNC;
	return out;
}
