// SPDX-License-Identifier: MIT
/*
 * Files: reads come from the log and only move the offset, writes to the container's files are made
 * for real. Where a file is not what it was and that is allowed, the recorded outcome counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#include "pipes.h"
#include "ptrace.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"

/* Moves the file's offset as the call did: our duplicate of the descriptor shares it. */
static int move_offset(const struct tracee *t, int fd, off_t by, int whence)
{
	rrc_autoclose int dup = rrc_tracee_getfd(t, fd);

	if (dup < 0)
		return dup;
	return lseek(dup, by, whence) < 0 && errno != ESPIPE ? -errno : 0;
}

static bool at_own_offset(const struct rrc_rec *rec)
{
	if (rec->nr == RRC_NR_preadv2)
		return rec->args[3] == (uint64_t)-1;
	return true;
}

static int read_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			 struct rrc_error *err)
{
	int r = 0;

	if (rec->fdkind == RRC_FD_REG && rec->ret > 0 && at_own_offset(rec))
		r = move_offset(t, (int)rec->args[0], rec->ret, SEEK_CUR);
	else if (rec->ret > 0)
		r = rrc_pipes_note(e, t, rec);
	return r ? rrc_fail(err, r, "thread %u: descriptor %d: %s", t->ns_tid, (int)rec->args[0],
			    strerror(-r))
		 : 0;
}

const struct rrc_call_ops rrc_ops_read = { .emulated = read_emulated };

static int write_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		     struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)err;
	if (rec->fdkind != RRC_FD_REG || rec->ret <= 0)
		return RRC_HOW_EMULATE;
	/* as much of it as was written then */
	if (rec->nr == RRC_NR_write || rec->nr == RRC_NR_pwrite64)
		real->rdx = (uint64_t)rec->ret;
	return RRC_HOW_EXECUTE;
}

static int write_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			  struct rrc_error *err)
{
	int r = rec->ret > 0 ? rrc_pipes_note(e, t, rec) : 0;

	return r ? rrc_fail(err, r, "thread %u: descriptor %d: %s", t->ns_tid, (int)rec->args[0],
			    strerror(-r))
		 : 0;
}

const struct rrc_call_ops rrc_ops_write = { .how = write_how, .emulated = write_emulated };

/* The bytes of a file that went out: those in the log against those in the file. */
static int compare_file(struct rrc_engine *e, struct tracee *t, int fd, off_t at,
			const struct rrc_seg *seg, const uint8_t *data, struct rrc_error *err)
{
	rrc_autofree uint8_t *buf = malloc(seg->len + 1);
	size_t have = 0;

	if (!buf)
		return rrc_fail(err, -ENOMEM, "out of memory");
	while (have < seg->len) {
		ssize_t n = pread(fd, buf + have, seg->len - have, at + (off_t)have);

		if (n <= 0)
			break;
		have += (size_t)n;
	}
	e->rep.outputs++;
	e->rep.output_bytes += seg->len;
	e->rep.bytes += seg->len;
	if (have == seg->len && !memcmp(buf, data, have))
		return 0;
	return rrc_diverge(e, t->next_rec, t, err,
			   "%u bytes of the file at offset %lld are not those that were sent",
			   seg->len, (long long)at);
}

static int sendfile_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			     struct rrc_error *err)
{
	rrc_autoclose int fd = rrc_tracee_getfd(t, (int)rec->args[1]);
	const uint8_t *data;
	const struct rrc_seg *seg = rrc_rec_input(rec, &data);
	off_t at = 0;
	int r = 0;

	if (rec->ret <= 0)
		return 0;
	if (fd < 0)
		return rrc_fail(err, fd, "thread %u: descriptor %d: %s", t->ns_tid,
				(int)rec->args[1], strerror(-fd));
	if (rec->args[2])
		r = rrc_mem_read(t->tid, rec->args[2], &at, sizeof(at));
	else
		at = lseek(fd, 0, SEEK_CUR);
	if (!r && seg && at >= 0)
		r = compare_file(e, t, fd, at, seg, data, err);
	if (!r && !rec->args[2])
		lseek(fd, rec->ret, SEEK_CUR);
	return r;
}

const struct rrc_call_ops rrc_ops_sendfile = { .emulated = sendfile_emulated };

/* Directory entries are the log's; the directory goes on behind the last of them. */
static int getdents_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			     struct rrc_error *err)
{
	int64_t off = rrc_rec_dents_end(rec);

	(void)e;
	(void)err;
	/* places in a directory are the file system's own: one that refuses ours starts anew */
	if (off >= 0)
		move_offset(t, (int)rec->args[0], off, SEEK_SET);
	return 0;
}

const struct rrc_call_ops rrc_ops_getdents = { .emulated = getdents_emulated };

static int open_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct user_regs_struct *real, struct rrc_error *err)
{
	(void)t;
	(void)real;
	(void)err;
	return rec->ret < 0 && !e->opts.fs_exact ? RRC_HOW_EMULATE : RRC_HOW_EXECUTE;
}

/* Once more without O_EXCL: the file that was made then is there already. */
static long open_existing(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			  struct rrc_error *err)
{
	uint64_t args[6];
	int at = rec->nr == RRC_NR_open ? 1 : rec->nr == RRC_NR_openat ? 2 : -1;
	long ret = -EINVAL;

	(void)e;
	memcpy(args, rec->args, sizeof(args));
	if (at < 0 || !(args[at] & O_EXCL))
		return -ENOENT;
	args[at] &= ~(uint64_t)O_EXCL;
	return rrc_inject(t->tid, rec->nr, args, &ret, err) ? err->code : ret;
}

/* A descriptor for a file that is no longer there: what it held comes from the log anyway. */
static long open_nothing(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			 struct rrc_error *err)
{
	uint64_t path = rec->args[rec->nr == RRC_NR_openat || rec->nr == RRC_NR_openat2];
	char buf[256];
	size_t n = 0;
	long ret;

	/* the name that memfd_create wants: the empty end of the path */
	while (n < 4096 && !rrc_mem_read(t->tid, path + n, buf, 1) && buf[0])
		n++;
	if (rrc_tracee_inject(e, t, RRC_NR_memfd_create, path + n, 0, 0, &ret, err))
		return err->code;
	return ret;
}

static int open_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			 struct rrc_error *err)
{
	long got = t->result, ignored;

	if (got >= 0 && rec->ret >= 0)
		return got == rec->ret ? 0 : rrc_move_fd(e, t, (int)got, (int)rec->ret, err);
	if (got == rec->ret)
		return 0;
	if (rrc_fs_fixup(e, t, rec, err))
		return err->code;
	if (got >= 0)
		return rrc_tracee_inject(e, t, RRC_NR_close, (uint64_t)got, 0, 0, &ignored, err);
	if (rec->ret < 0)
		return 0;
	got = open_existing(e, t, rec, err);
	if (got < 0)
		got = open_nothing(e, t, rec, err);
	if (got < 0)
		return rrc_fail(err, (int)got, "thread %u: no file for descriptor %lld: %s",
				t->ns_tid, (long long)rec->ret, strerror((int)-got));
	t->result = got;
	return got == rec->ret ? 0 : rrc_move_fd(e, t, (int)got, (int)rec->ret, err);
}

const struct rrc_call_ops rrc_ops_open = { .how = open_how, .executed = open_executed };

/* Waiting for a disk at each of them would be most of the replay: once at go-live is enough. */
static int sync_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct user_regs_struct *real, struct rrc_error *err)
{
	(void)e;
	(void)t;
	(void)rec;
	(void)real;
	(void)err;
	return RRC_HOW_EMULATE;
}

static int sync_emulated(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			 struct rrc_error *err)
{
	struct stat st, other;
	int fd, *more;

	if (rec->ret < 0 || rec->nr == RRC_NR_sync)
		return 0;
	fd = rrc_tracee_getfd(t, (int)rec->args[0]);
	if (fd < 0 || fstat(fd, &st)) {
		rrc_closep(&fd);
		return 0;
	}
	for (size_t i = 0; i < e->nsynced; i++) {
		if (!fstat(e->synced[i], &other) && other.st_dev == st.st_dev) {
			close(fd);
			return 0;
		}
	}
	more = realloc(e->synced, (e->nsynced + 1) * sizeof(*more));
	if (!more) {
		close(fd);
		return rrc_fail(err, -ENOMEM, "out of memory");
	}
	e->synced = more;
	more[e->nsynced++] = fd;
	return 0;
}

const struct rrc_call_ops rrc_ops_sync = { .how = sync_how, .emulated = sync_emulated };
