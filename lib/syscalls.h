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

#define RRC_NSYS 512		/* x86-64 numbers are below; the table covers all of this range */
#define RRC_ROW_SEGS 5
#define RRC_NO_FD 0xff

enum rrc_class {
	RRC_BARRIER = 0,	/* everything that nobody thought about */
	RRC_EMULATE,		/* result and bytes from the log */
	RRC_EXECUTE,		/* run for real, result compared */
	RRC_LOCAL,		/* run for real, neither recorded nor matched (futex, rt_sigreturn) */
};

/* Calls that need more than their class says. One function each in recorder and replayer. */
enum rrc_special {
	RRC_S_NONE = 0,
	RRC_S_READ,	/* emulate; a regular file's offset moves as well */
	RRC_S_WRITE,	/* execute on the container's files, else emulate and compare the bytes */
	RRC_S_SENDFILE,	/* emulate to a socket or pipe, the file's bytes are the output */
	RRC_S_ACCEPT,	/* emulate, and put a closed socket at the recorded descriptor */
	RRC_S_CONNECT,	/* emulate on TCP and UDP, execute on unix sockets */
	RRC_S_SOCKIO,	/* send/receive: emulate; unix sockets with descriptors in them are barriers */
	RRC_S_OPEN,	/* execute */
	RRC_S_CLOSE,	/* execute */
	RRC_S_IOCTL,	/* by command */
	RRC_S_FCNTL,	/* by command */
	RRC_S_MMAP,	/* execute at the recorded address */
	RRC_S_MREMAP,
	RRC_S_BRK,
	RRC_S_CLONE,	/* execute, the child gets the recorded id */
	RRC_S_EXEC,
	RRC_S_EXIT,
	RRC_S_WAIT,	/* execute for the recorded child */
	RRC_S_FUTEX,
	RRC_S_SIGRETURN,
	RRC_S_RSEQ,
	RRC_S_SLEEP,	/* emulate: no real waiting in replay */
	RRC_S_POLL,	/* emulate readiness calls */
	RRC_S_EPOLL_WAIT,
	RRC_S_PRCTL,	/* by option */
	RRC_S_KILL,	/* emulate: the signal is in the log */
	RRC_S_SOCKOPT,
	RRC_S_SPECIALS,
};

/* How long a segment is. */
enum rrc_len {
	RRC_LEN_NONE = 0,
	RRC_LEN_RET,		/* the result */
	RRC_LEN_RETMUL,		/* result * k */
	RRC_LEN_CONST,		/* k */
	RRC_LEN_ARG,		/* args[arg], at most k if k */
	RRC_LEN_ARGMUL,		/* args[arg] * k */
	RRC_LEN_VALRES,		/* the u32 that args[arg] points to, at most k */
	RRC_LEN_STR,		/* a string, at most k with its NUL */
	RRC_LEN_IOVEC,		/* the pointer is a struct iovec[args[arg]]; the result bytes of it */
	RRC_LEN_MSGHDR,		/* the pointer is a struct msghdr; the result bytes of its iovec */
	RRC_LEN_MSGNAME,	/* the name in the struct msghdr */
	RRC_LEN_MSGCTL,		/* the control data in the struct msghdr */
	RRC_LEN_MMSGHDR,	/* the pointer is a struct mmsghdr[]; result elements, data of each */
	RRC_LEN_FDSET,		/* bitmap of args[arg] descriptors, in whole u64 */
	RRC_LEN_IOCTL,		/* by the command in args[1] */
	RRC_LENS,
};

enum rrc_when {
	RRC_WHEN_OK = 0,	/* recorded only when ret >= 0 */
	RRC_WHEN_ALWAYS,	/* on errors as well */
};

struct rrc_segrow {
	__u8 ptr;	/* which argument points to the bytes */
	__u8 len;	/* enum rrc_len */
	__u8 arg;	/* argument that the length is taken from */
	__u8 dir;	/* enum rrc_seg_dir */
	__u8 when;	/* enum rrc_when */
	__u8 pad[3];
	__u32 k;
};

enum rrc_row_flags {
	RRC_ROW_FILES = 1 << 0,		/* may change the container's files */
	RRC_ROW_FDTABLE = 1 << 1,	/* changes the descriptor table */
	RRC_ROW_NORETURN = 1 << 2,	/* recorded at entry */
	RRC_ROW_BLOCKS = 1 << 3,	/* can block */
	RRC_ROW_OUTPUT = 1 << 4,	/* its IN segment leaves the program: rule 5 compares it */
	RRC_ROW_MAPS = 1 << 5,		/* changes mappings */
	RRC_ROW_ENTRY_VALRES = 1 << 6,	/* the length is read at entry too: the smaller one counts */
	RRC_ROW_FDRET = 1 << 7,		/* the result is a new descriptor; obj and fdkind are its */
};

struct rrc_sysrow {
	__u8 cls;		/* enum rrc_class */
	__u8 special;		/* enum rrc_special */
	__u8 nargs;
	__u8 fd;		/* which argument is the descriptor, or RRC_NO_FD */
	__u16 flags;		/* enum rrc_row_flags */
	__u8 cmpmask;		/* bit i: args[i] is compared in replay */
	__u8 nseg;
	struct rrc_segrow seg[RRC_ROW_SEGS];
};
_Static_assert(sizeof(struct rrc_segrow) == 12, "segment row");
_Static_assert(sizeof(struct rrc_sysrow) == 68, "row");

#ifndef __VMLINUX_H__
#include <stdio.h>

/* The row of a call, never NULL; a number that the table does not know gives a barrier row. */
const struct rrc_sysrow *rrc_sysrow(unsigned int nr);

/* Its name ("read"), or NULL. */
const char *rrc_sysname(unsigned int nr);

/* Number of a name, or -1. */
int rrc_sysnr(const char *name);

/* Bytes that an ioctl command reads or writes through its argument, by table and _IOC bits;
 * negative: unknown command (a barrier). *dir gets enum rrc_seg_dir. */
int rrc_ioctl_len(unsigned long cmd, int *dir);

/* Class of an ioctl, fcntl or prctl command. */
enum rrc_class rrc_ioctl_class(unsigned long cmd);
enum rrc_class rrc_fcntl_class(unsigned long cmd);
enum rrc_class rrc_prctl_class(unsigned long option);

/* Prints the table as text or JSON. */
int rrc_syscalls_print(FILE *out, int json);
#endif

#endif
