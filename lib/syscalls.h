/* SPDX-License-Identifier: MIT */
/*
 * The one table of system calls: what recorder, replayer, `rrc-trace --syscalls` and the tests know
 * about each. The structures are shared with bpf/ (the rows are copied into a map at load), the
 * functions below are for user space.
 */
#ifndef RRC_SYSCALLS_H
#define RRC_SYSCALLS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#include "syscall_names.h"

#define RRC_NSYS     512 /* x86-64 numbers are below; the table covers all of this range */
#define RRC_ROW_SEGS 5
#define RRC_NO_FD    0xff

enum rrc_class {
	RRC_BARRIER = 0, /* everything that nobody thought about */
	RRC_EMULATE, /* result and bytes from the log */
	RRC_EXECUTE, /* run for real, result compared */
	RRC_LOCAL, /* run for real, neither recorded nor matched (futex, rt_sigreturn) */
};

/* Calls that need more than their class says. One function each in recorder and replayer. */
enum rrc_special {
	RRC_S_NONE = 0,
	RRC_S_READ, /* emulate; a regular file's offset moves as well */
	RRC_S_WRITE, /* execute on the container's files, else emulate and compare the bytes */
	RRC_S_SENDFILE, /* emulate to a socket or pipe, the file's bytes are the output */
	RRC_S_ACCEPT, /* emulate, and put a closed socket at the recorded descriptor */
	RRC_S_CONNECT, /* emulate on TCP and UDP, execute on unix sockets */
	RRC_S_SOCKIO, /* send/receive: emulate; unix sockets with descriptors in them are barriers */
	RRC_S_OPEN, /* execute */
	RRC_S_CLOSE, /* execute */
	RRC_S_IOCTL, /* by command */
	RRC_S_FCNTL, /* by command */
	RRC_S_MMAP, /* execute at the recorded address */
	RRC_S_MREMAP,
	RRC_S_BRK,
	RRC_S_CLONE, /* execute, the child gets the recorded id */
	RRC_S_EXEC,
	RRC_S_EXIT,
	RRC_S_WAIT, /* execute for the recorded child */
	RRC_S_FUTEX,
	RRC_S_SIGRETURN,
	RRC_S_RSEQ,
	RRC_S_SLEEP, /* emulate: no real waiting in replay */
	RRC_S_POLL, /* emulate readiness calls */
	RRC_S_EPOLL_WAIT,
	RRC_S_PRCTL, /* by option */
	RRC_S_KILL, /* emulate: the signal is in the log */
	RRC_S_SOCKOPT, /* by level and option: struct rrc_cmdrow */
	RRC_S_GETDENTS, /* emulate; the directory's offset moves as well */
	RRC_S_SIGSUSPEND, /* execute: its mask holds until the signal's handler returns */
	RRC_S_RESTART, /* emulate by the row of the call that returned -516 in this thread */
	RRC_S_SHUTDOWN, /* emulate: a socket that is closed in replay would refuse */
	RRC_S_SPECIALS,
};

/*
 * How long a segment is. For all kinds: a NULL pointer gives no segment; a limit k that cuts an
 * OUT segment sets RRC_F_TRUNC, one that cuts an IN segment is silent (k is then the kernel's own
 * limit); when the call failed with -EFAULT, bytes that cannot be read give no segment.
 * A row that yields several pieces (iovec, msghdr, mmsghdr) is one segment of all of them, end to
 * end; where each belongs follows from the program's own vectors. IN bytes are read at exit, so
 * where an OUT segment of the same call overlaps them (sigprocmask(how, &s, &s)) they are what the
 * kernel wrote: replay compares after the call.
 */
enum rrc_len {
	RRC_LEN_NONE = 0,
	RRC_LEN_RET, /* the result */
	RRC_LEN_RETMUL, /* result * k */
	RRC_LEN_CONST, /* k */
	RRC_LEN_ARG, /* args[arg], at most k if k */
	RRC_LEN_ARGMUL, /* args[arg] * k */
	RRC_LEN_VALRES, /* the u32 that args[arg] points to, at most k */
	RRC_LEN_STR, /* a string, at most k with its NUL */
	RRC_LEN_IOVEC, /* the pointer is a struct iovec[args[arg]]; the result bytes of it */
	RRC_LEN_MSGHDR, /* the pointer is a struct msghdr; the result bytes of its iovec */
	RRC_LEN_MSGNAME, /* the name in the struct msghdr */
	RRC_LEN_MSGCTL, /* the control data in the struct msghdr */
	RRC_LEN_MMSGHDR, /* the pointer is a struct mmsghdr[]; result elements, data of each */
	RRC_LEN_FDSET, /* bitmap of args[arg] descriptors, in whole u64 */
	RRC_LEN_IOCTL, /* by the command in args[arg]: length and direction of rrc_cmdrow */
	RRC_LEN_RETCAP, /* the smaller of result and args[arg], times k if k */
	RRC_LEN_PAGES, /* one byte for each page of args[arg] bytes (mincore) */
	RRC_LEN_MMSGNAME, /* result elements of mmsghdr[]: the name of each */
	RRC_LEN_MMSGCTL, /* … the control data of each */
	RRC_LENS,
};

enum rrc_when {
	RRC_WHEN_OK = 0, /* recorded only when ret >= 0 */
	RRC_WHEN_ALWAYS, /* on errors as well */
};

/*
 * OUT segments of an executed call: most must come out of the kernel equal again. Where they are
 * times or the host's (RRC_ROW_OUTLOG), the log's bytes replace what the kernel wrote.
 */

struct rrc_segrow {
	__u8 ptr; /* which argument points to the bytes */
	__u8 len; /* enum rrc_len */
	__u8 arg; /* argument that the length is taken from */
	__u8 dir; /* enum rrc_seg_dir */
	__u8 when; /* enum rrc_when */
	__u8 pad[3];
	__u32 k;
};

enum rrc_row_flags {
	RRC_ROW_FILES = 1 << 0, /* may change the container's files */
	RRC_ROW_FDTABLE = 1 << 1, /* changes the descriptor table */
	RRC_ROW_NORETURN = 1 << 2, /* recorded at entry */
	RRC_ROW_BLOCKS = 1 << 3, /* can block */
	RRC_ROW_OUTPUT = 1 << 4, /* its IN segment leaves the program: rule 5 compares it */
	RRC_ROW_MAPS = 1 << 5, /* changes mappings */
	RRC_ROW_ENTRY_VALRES = 1 << 6, /* the length is read at entry too: the smaller one counts */
	RRC_ROW_FDRET = 1 << 7, /* the result is a new descriptor; obj and fdkind are its */
	RRC_ROW_RETLOG = 1 << 8, /* executed, but the log's result counts: it is a time or the
					 * host's (CPUs, memory nodes, limits), so not compared */
	RRC_ROW_OUTLOG = 1 << 9, /* executed, but the log's OUT bytes count */
	RRC_ROW_BYCMD = 1 << 10, /* class by command: struct rrc_cmdrow */
	RRC_ROW_OPTARGS = 1 << 11, /* cmpmask has only what always is an argument; more of them
					 * depend on flags or command: rrc_cmpmask() */
};

struct rrc_sysrow {
	__u8 cls; /* enum rrc_class */
	__u8 special; /* enum rrc_special */
	__u8 nargs;
	__u8 fd; /* which argument is the descriptor, or RRC_NO_FD */
	__u16 flags; /* enum rrc_row_flags */
	__u8 cmpmask; /* bit i: args[i] is compared in replay */
	__u8 nseg;
	struct rrc_segrow seg[RRC_ROW_SEGS];
};
_Static_assert(sizeof(struct rrc_segrow) == 12, "segment row");
_Static_assert(sizeof(struct rrc_sysrow) == 68, "row");

/*
 * What a command of ioctl, fcntl, prctl, or an option of getsockopt and setsockopt does. A command
 * without such a row is a barrier for ioctl, fcntl and prctl; a socket option without one has the
 * class of its call.
 */
struct rrc_cmdrow {
	__u32 cmd; /* for socket options RRC_SOCKOPT_CMD(level, name) */
	__u16 nr; /* of the call */
	__u8 cls; /* enum rrc_class */
	__u8 dir; /* enum rrc_seg_dir of the bytes */
	__u8 arg; /* 1: the argument after the command means something (compared) */
	__u8 pad;
	__u16 len; /* bytes that the argument after the command points to; 0: not a pointer */
};
_Static_assert(sizeof(struct rrc_cmdrow) == 12, "command row");

#define RRC_SOCKOPT_CMD(level, name) ((__u32)(level) << 16 | ((__u32)(name)&0xffff))

/* The command of a call that has RRC_ROW_BYCMD. */
static inline __u32 rrc_cmd_of(unsigned int nr, const __u64 *args)
{
	if (nr == RRC_NR_prctl)
		return (__u32)args[0];
	if (nr == RRC_NR_setsockopt || nr == RRC_NR_getsockopt)
		return RRC_SOCKOPT_CMD(args[1], args[2]);
	return (__u32)args[1];
}

/*
 * A refused call changed nothing: even one that is a barrier can be replayed by its result alone.
 * So a container whose seccomp filter refuses io_uring raises no barrier by trying.
 */
static inline int rrc_no_effect(unsigned int nr, __s64 ret)
{
	return ret == -38 /* ENOSYS */ || ret == -1 /* EPERM */ ||
	       (nr == RRC_NR_ioctl && ret == -25 /* ENOTTY */);
}

/*
 * Waits that the kernel ends with -EINTR after a stop, though no handler runs (signal(7)). The exec watcher has
 * them made again (user/again.c): those whose time-out is a number, or that have none.
 */
static inline int rrc_made_again(unsigned int nr, const __u64 *args)
{
	return nr == RRC_NR_epoll_wait || nr == RRC_NR_epoll_pwait || nr == RRC_NR_epoll_pwait2 ||
	       nr == RRC_NR_semop || (nr == RRC_NR_semtimedop && !args[3]) ||
	       (nr == RRC_NR_rt_sigtimedwait && !args[2]);
}

#ifndef __VMLINUX_H__
#include <stdio.h>

/* The row of a call, never NULL; a number that the table does not know gives a barrier row. */
const struct rrc_sysrow *rrc_sysrow(unsigned int nr);

/* Its name ("read"), or NULL. */
const char *rrc_sysname(unsigned int nr);

/* Number of a name, or -1. */
int rrc_sysnr(const char *name);

/* Bytes that an ioctl command reads or writes through its argument, by the table; negative:
 * unknown command (a barrier). *dir gets enum rrc_seg_dir. */
int rrc_ioctl_len(unsigned long cmd, int *dir);

/* Class of an ioctl, fcntl or prctl command. */
enum rrc_class rrc_ioctl_class(unsigned long cmd);
enum rrc_class rrc_fcntl_class(unsigned long cmd);
enum rrc_class rrc_prctl_class(unsigned long option);

/* The row of a command (for socket options RRC_SOCKOPT_CMD), or NULL if the table has none. */
const struct rrc_cmdrow *rrc_cmdrow(unsigned int nr, __u32 cmd);

/* All of them, for the recorder's map; *n gets their number. */
const struct rrc_cmdrow *rrc_cmdrows(size_t *n);

/* Class of a call with these arguments: the row's, or by command. */
enum rrc_class rrc_class_of(unsigned int nr, const __u64 args[6]);

/* Which of these arguments replay compares: the row's cmpmask, and what flags or command add. */
__u8 rrc_cmpmask(unsigned int nr, const __u64 args[6]);

enum rrc_print_format {
	RRC_PRINT_TEXT,
	RRC_PRINT_JSON,
	RRC_PRINT_MARKDOWN
};

/* Prints the table in a format of enum rrc_print_format (0 text, 1 JSON). Returns 0 or -EIO. */
int rrc_syscalls_print(FILE *out, int format);

/* Words for the enumerations, for tables and records in clear text; "?" if unknown. */
const char *rrc_class_name(unsigned int cls);
const char *rrc_special_name(unsigned int special);
#endif

#endif
