// SPDX-License-Identifier: MIT
/*
 * A file without a name that gets one: linkat(2) of an O_TMPFILE. One that was open at the checkpoint
 * comes back as a deleted file, which the kernel links no more. Its name gets a copy instead, which
 * takes the place of the program's descriptor too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "ptrace.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"

/* The program's descriptor that the call names, or -1. */
static int named_fd(const struct tracee *t, const struct rrc_rec *rec)
{
	char path[40] = "";
	int fd, end = 0;

	for (size_t n = 0; n + 1 < sizeof(path); n++)
		if (rrc_mem_read(t->tid, rec->args[1] + n, path + n, 1) || !path[n])
			break;
	if (rec->args[4] & AT_EMPTY_PATH && !path[0])
		return (int)rec->args[0];
	if (rec->args[4] & AT_SYMLINK_FOLLOW &&
	    sscanf(path, "/proc/self/fd/%d%n", &fd, &end) == 1 && !path[end])
		return fd;
	return -1;
}

/* Another description of the file behind our descriptor. */
static int reopen(int fd, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static int copy_file(int from, int to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	rrc_autoclose int in = reopen(from, O_RDONLY), out = reopen(to, O_WRONLY);

	if (in < 0 || out < 0)
		return -errno;
	for (off_t done = 0; done < st->st_size;) {
		ssize_t n = sendfile(out, in, NULL, (size_t)(st->st_size - done));

		if (n <= 0)
			return n ? -errno : -EIO;
		done += n;
	}
	if (fchown(out, st->st_uid, st->st_gid) || fchmod(out, st->st_mode & 07777) ||
	    futimens(out, times) || lseek(to, lseek(from, 0, SEEK_CUR), SEEK_SET) < 0)
		return -errno;
	return 0;
}

static int name_copy(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec, int fd,
		     int file, const struct stat *st, struct rrc_error *err)
{
	uint64_t args[6] = { rec->args[2], rec->args[3], O_CREAT | O_EXCL, 0600 };
	long own, made;
	int r = rrc_tracee_inject(e, t, RRC_NR_fcntl, (uint64_t)fd, F_GETFD, 0, &own, err);

	if (r)
		return r;
	args[2] |= (uint64_t)fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC);
	args[2] |= own & FD_CLOEXEC ? O_CLOEXEC : 0;
	r = rrc_inject(t->tid, RRC_NR_openat, args, &made, err);
	if (r)
		return r;
	if (made >= 0) {
		rrc_autoclose int copy = rrc_tracee_getfd(t, (int)made);

		r = copy < 0 ? copy : copy_file(file, copy, st);
		if (!r)
			return rrc_tracee_inject(e, t, RRC_NR_close, (uint64_t)fd, 0, 0, &own, err)
				       ?: rrc_move_fd(e, t, (int)made, fd, err);
		made = r;
	}
	return rrc_fail(err, (int)made, "thread %u: a name for descriptor %d: %s", t->ns_tid, fd,
			strerror((int)-made));
}

static int linkat_executed(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			   struct rrc_error *err)
{
	rrc_autoclose int file = -1;
	struct stat st;
	int fd;

	if (t->result == rec->ret)
		return 0;
	fd = t->result == -ENOENT && rec->ret == 0 ? named_fd(t, rec) : -1;
	file = fd < 0 ? -1 : rrc_tracee_getfd(t, fd);
	if (file < 0 || fstat(file, &st) || !S_ISREG(st.st_mode) || st.st_nlink)
		return rrc_fs_fixup(e, t, rec, err);
	return name_copy(e, t, rec, fd, file, &st, err);
}

const struct rrc_call_ops rrc_ops_linkat = { .executed = linkat_executed };
