/* SPDX-License-Identifier: MIT */
/* What records leave in the kernel, see carry.h. Whatever nobody thought about needs a whole checkpoint. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "carry.h"
#include "syscalls.h"
#include "util.h"

/* How a call is carried over, by what is behind its descriptor. */
enum way {
	BY_CLASS = 0, /* an executed call needs a whole checkpoint, others leave nothing */
	NOTHING, /* though executed: of the thread's registers, of memory, or the host's affair */
	AGAIN,
	READ,
	WRITE,
	OFFSET, /* of the file that its descriptor is */
	SENDFILE,
	ACCEPT,
	CONNECT,
	MESSAGE, /* send and receive */
	COMMAND, /* as its command's class says */
	WHOLE, /* though emulated */
};

static const uint8_t ways[RRC_NSYS] = {
	[RRC_NR_read] = READ,
	[RRC_NR_readv] = READ,
	[RRC_NR_preadv2] = READ,
	[RRC_NR_write] = WRITE,
	[RRC_NR_writev] = WRITE,
	[RRC_NR_pwrite64] = WRITE,
	[RRC_NR_pwritev] = WRITE,
	[RRC_NR_pwritev2] = WRITE,
	[RRC_NR_sendfile] = SENDFILE,
	[RRC_NR_lseek] = AGAIN,
	[RRC_NR_getdents] = OFFSET,
	[RRC_NR_getdents64] = OFFSET,
	[RRC_NR_fsync] = NOTHING,
	[RRC_NR_fdatasync] = NOTHING,
	[RRC_NR_sync_file_range] = NOTHING,
	[RRC_NR_sync] = NOTHING,
	[RRC_NR_syncfs] = NOTHING,
	[RRC_NR_readahead] = NOTHING,
	[RRC_NR_fadvise64] = NOTHING,
	[RRC_NR_msync] = NOTHING,

	[RRC_NR_open] = AGAIN,
	[RRC_NR_openat] = AGAIN,
	[RRC_NR_openat2] = AGAIN,
	[RRC_NR_creat] = AGAIN,
	[RRC_NR_close] = AGAIN,
	[RRC_NR_close_range] = AGAIN,
	[RRC_NR_dup] = AGAIN,
	[RRC_NR_dup2] = AGAIN,
	[RRC_NR_dup3] = AGAIN,
	[RRC_NR_fcntl] = COMMAND,
	[RRC_NR_ioctl] = COMMAND,
	[RRC_NR_pipe] = AGAIN,
	[RRC_NR_pipe2] = AGAIN,
	[RRC_NR_eventfd] = AGAIN,
	[RRC_NR_eventfd2] = AGAIN,
	[RRC_NR_signalfd] = AGAIN,
	[RRC_NR_signalfd4] = AGAIN,
	[RRC_NR_timerfd_create] = AGAIN,
	[RRC_NR_timerfd_settime] = AGAIN,
	[RRC_NR_epoll_create] = AGAIN,
	[RRC_NR_epoll_create1] = AGAIN,
	[RRC_NR_epoll_ctl] = AGAIN,
	[RRC_NR_memfd_create] = AGAIN,

	[RRC_NR_socket] = AGAIN,
	[RRC_NR_socketpair] = AGAIN,
	[RRC_NR_bind] = AGAIN,
	[RRC_NR_listen] = AGAIN,
	[RRC_NR_accept] = ACCEPT,
	[RRC_NR_accept4] = ACCEPT,
	[RRC_NR_connect] = CONNECT,
	[RRC_NR_shutdown] = CONNECT,
	[RRC_NR_setsockopt] = AGAIN,
	[RRC_NR_sendto] = MESSAGE,
	[RRC_NR_recvfrom] = MESSAGE,
	[RRC_NR_sendmsg] = MESSAGE,
	[RRC_NR_recvmsg] = MESSAGE,
	[RRC_NR_sendmmsg] = MESSAGE,
	[RRC_NR_recvmmsg] = MESSAGE,

	[RRC_NR_chdir] = AGAIN,
	[RRC_NR_fchdir] = AGAIN,
	[RRC_NR_umask] = AGAIN,
	[RRC_NR_rename] = AGAIN,
	[RRC_NR_renameat] = AGAIN,
	[RRC_NR_renameat2] = AGAIN,
	[RRC_NR_mkdir] = AGAIN,
	[RRC_NR_mkdirat] = AGAIN,
	[RRC_NR_rmdir] = AGAIN,
	[RRC_NR_link] = AGAIN,
	[RRC_NR_linkat] = AGAIN,
	[RRC_NR_unlink] = AGAIN,
	[RRC_NR_unlinkat] = AGAIN,
	[RRC_NR_symlink] = AGAIN,
	[RRC_NR_symlinkat] = AGAIN,
	[RRC_NR_chmod] = AGAIN,
	[RRC_NR_fchmod] = AGAIN,
	[RRC_NR_fchmodat] = AGAIN,
	[RRC_NR_chown] = AGAIN,
	[RRC_NR_lchown] = AGAIN,
	[RRC_NR_fchown] = AGAIN,
	[RRC_NR_fchownat] = AGAIN,
	[RRC_NR_truncate] = AGAIN,
	[RRC_NR_ftruncate] = AGAIN,
	[RRC_NR_fallocate] = AGAIN,
	[RRC_NR_utime] = AGAIN,
	[RRC_NR_utimes] = AGAIN,
	[RRC_NR_futimesat] = AGAIN,
	[RRC_NR_utimensat] = AGAIN,

	[RRC_NR_mmap] = AGAIN,
	[RRC_NR_mremap] = AGAIN,
	[RRC_NR_brk] = AGAIN,
	[RRC_NR_munmap] = AGAIN,
	[RRC_NR_mprotect] = AGAIN,
	[RRC_NR_madvise] = AGAIN,
	[RRC_NR_mlock] = NOTHING,
	[RRC_NR_mlock2] = NOTHING,
	[RRC_NR_munlock] = NOTHING,
	[RRC_NR_mlockall] = NOTHING,
	[RRC_NR_munlockall] = NOTHING,
	[RRC_NR_membarrier] = NOTHING,
	[RRC_NR_mbind] = NOTHING,
	[RRC_NR_set_mempolicy] = NOTHING,

	[RRC_NR_rt_sigaction] = AGAIN,
	[RRC_NR_sigaltstack] = AGAIN,
	[RRC_NR_rt_sigprocmask] = NOTHING,
	[RRC_NR_rt_sigsuspend] = NOTHING,
	[RRC_NR_sched_setaffinity] = NOTHING,
	[RRC_NR_sched_setparam] = NOTHING,
	[RRC_NR_sched_setscheduler] = NOTHING,
	[RRC_NR_sched_setattr] = NOTHING,
	[RRC_NR_setpriority] = NOTHING,
	[RRC_NR_ioprio_set] = NOTHING,
	/* nobody else changes what another call returns */
	[RRC_NR_capget] = NOTHING,
};

/* Bytes that stay inside of the kernel: what is emulated in replay is not there at a copy. */
static bool inside(const struct rrc_rec *rec)
{
	return rec->fdkind == RRC_FD_FIFO || rec->fdkind == RRC_FD_UNIX ||
	       rec->fdkind == RRC_FD_ANON;
}

static bool has_offset(const struct rrc_rec *rec)
{
	return rec->fdkind == RRC_FD_REG || rec->fdkind == RRC_FD_DIR || rec->fdkind == RRC_FD_PROC;
}

static enum rrc_carry message(const struct rrc_rec *rec)
{
	bool one = rec->nr == RRC_NR_sendto || rec->nr == RRC_NR_recvfrom;

	if (rec->fdkind != RRC_FD_UNIX)
		return rec->fdkind == RRC_FD_SOCK_OTHER ? RRC_CARRY_WHOLE : RRC_CARRY_NOTHING;
	if (!one || rec->args[3] & ~(uint64_t)(MSG_DONTWAIT | MSG_NOSIGNAL) || rec->args[4])
		return RRC_CARRY_WHOLE;
	return rec->nr == RRC_NR_sendto ? RRC_CARRY_WRITE : RRC_CARRY_READ;
}

static enum rrc_carry command(const struct rrc_rec *rec)
{
	const struct rrc_cmdrow *row = rrc_cmdrow(rec->nr, rrc_cmd_of(rec->nr, rec->args));

	if (rrc_class_of(rec->nr, rec->args) == RRC_EMULATE)
		return RRC_CARRY_NOTHING;
	/* its bytes are in the record if the program gave them */
	return row && row->cls == RRC_EXECUTE && (!row->len || row->dir == RRC_SEG_IN)
		       ? RRC_CARRY_CALL
		       : RRC_CARRY_WHOLE;
}

static enum rrc_carry connecting(const struct rrc_rec *rec)
{
	return rec->fdkind == RRC_FD_TCP ? RRC_CARRY_NOTHING : RRC_CARRY_WHOLE;
}

static enum rrc_carry by_class(const struct rrc_rec *rec)
{
	enum rrc_class cls = rrc_class_of(rec->nr, rec->args);

	return cls == RRC_EMULATE || cls == RRC_LOCAL ? RRC_CARRY_NOTHING : RRC_CARRY_WHOLE;
}

/* Nobody is there who would end its wait in a copy. */
static bool may_wait(const struct rrc_rec *rec)
{
	if (rec->nr == RRC_NR_fcntl)
		return rec->args[1] == F_SETLKW || rec->args[1] == F_OFD_SETLKW;
	return rrc_sysrow(rec->nr)->special == RRC_S_OPEN && rec->fdkind == RRC_FD_FIFO;
}

static enum rrc_carry of_call(const struct rrc_rec *rec)
{
	enum way way = rec->nr < RRC_NSYS ? ways[rec->nr] : WHOLE;

	/* A close that fails may have closed it all the same. */
	if (rec->nr == RRC_NR_close && rec->ret < 0 && rec->ret != -EBADF)
		return RRC_CARRY_WHOLE;
	/* A call that failed, or has not ended, left nothing; a connection under way is in the log. */
	if (rec->ret < 0)
		return RRC_CARRY_NOTHING;
	if (may_wait(rec))
		return RRC_CARRY_WHOLE;
	switch (way) {
	case NOTHING:
		return RRC_CARRY_NOTHING;
	case AGAIN:
		return RRC_CARRY_CALL;
	case READ:
		return inside(rec)	 ? RRC_CARRY_READ
		       : has_offset(rec) ? RRC_CARRY_OFFSET
					 : RRC_CARRY_NOTHING;
	case WRITE:
		return inside(rec) || has_offset(rec) ? RRC_CARRY_WRITE : RRC_CARRY_NOTHING;
	case OFFSET:
		return RRC_CARRY_OFFSET;
	case SENDFILE:
		/* with an offset of the program's own the file's stays; what it is sent to is a network */
		return !rec->args[2] || inside(rec) ? RRC_CARRY_WHOLE : RRC_CARRY_NOTHING;
	case ACCEPT:
		return rec->fdkind == RRC_FD_UNIX ? RRC_CARRY_WHOLE : RRC_CARRY_ACCEPT;
	case CONNECT:
		return connecting(rec);
	case MESSAGE:
		return message(rec);
	case COMMAND:
		return command(rec);
	case WHOLE:
		return RRC_CARRY_WHOLE;
	case BY_CLASS:
		break;
	}
	return by_class(rec);
}

enum rrc_carry rrc_carry_of(const struct rrc_rec *rec)
{
	if (rec->flags &
	    (RRC_F_BARRIER | RRC_F_FAULT | RRC_F_TRUNC | RRC_F_UNPATCHED | RRC_F_COMPAT))
		return RRC_CARRY_WHOLE;
	switch (rec->kind) {
	case RRC_REC_SYSCALL:
		return of_call(rec);
	case RRC_REC_ENTER: /* an end */
	case RRC_REC_BIRTH:
	case RRC_REC_DEATH:
	case RRC_REC_EXEC:
	case RRC_REC_LOST:
		return RRC_CARRY_WHOLE;
	default:
		return RRC_CARRY_NOTHING;
	}
}

const char *rrc_carry_name(enum rrc_carry c)
{
	static const char *const names[RRC_CARRIES] = {
		[RRC_CARRY_NOTHING] = "nothing", [RRC_CARRY_CALL] = "call",
		[RRC_CARRY_READ] = "read",	 [RRC_CARRY_WRITE] = "write",
		[RRC_CARRY_OFFSET] = "offset",	 [RRC_CARRY_ACCEPT] = "accept",
		[RRC_CARRY_WHOLE] = "whole",
	};

	return c < RRC_CARRIES ? names[c] : "?";
}

int rrc_carry_connections(const struct rrc_rec *rec)
{
	if (rec->kind != RRC_REC_SYSCALL || rec->ret < 0)
		return 0;
	switch (rec->nr) {
	case RRC_NR_accept:
	case RRC_NR_accept4:
	case RRC_NR_connect:
	case RRC_NR_socket:
	/* what these put an end to is not known */
	case RRC_NR_dup2:
	case RRC_NR_dup3:
	case RRC_NR_close_range:
		return 1;
	default:
		return rrc_sysrow(rec->nr)->flags & RRC_ROW_FDTABLE && rec->fdkind == RRC_FD_TCP;
	}
}

int rrc_carry_mappings(const struct rrc_rec *rec)
{
	return rec->kind == RRC_REC_SYSCALL && rec->ret >= 0 &&
	       rrc_sysrow(rec->nr)->flags & RRC_ROW_MAPS;
}
