/* SPDX-License-Identifier: MIT */
/* Questions to the table of system calls; the rows are in syscall_rows.c and syscall_commands.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mman.h>

#include "syscall_rows.h"
#include "util.h"

/* A call that nobody thought about. */
static const struct rrc_sysrow unknown_row = {
	.cls = RRC_BARRIER,
	.nargs = 6,
	.fd = RRC_NO_FD,
	.cmpmask = 0x3f,
};

#define RRC_X(nr, name) [nr] = #name,
static const char *const names[RRC_NSYS] = { RRC_SYSCALL_NAMES(RRC_X) };
#undef RRC_X

/* clang-format off */
static const char *const class_names[] = {
	[RRC_BARRIER] = "barrier", [RRC_EMULATE] = "emulate",
	[RRC_EXECUTE] = "execute", [RRC_LOCAL] = "local",
};

static const char *const special_names[RRC_S_SPECIALS] = {
	[RRC_S_NONE] = "", [RRC_S_READ] = "read", [RRC_S_WRITE] = "write",
	[RRC_S_SENDFILE] = "sendfile", [RRC_S_ACCEPT] = "accept", [RRC_S_CONNECT] = "connect",
	[RRC_S_SOCKIO] = "sockio", [RRC_S_OPEN] = "open", [RRC_S_CLOSE] = "close",
	[RRC_S_IOCTL] = "ioctl", [RRC_S_FCNTL] = "fcntl", [RRC_S_MMAP] = "mmap",
	[RRC_S_MREMAP] = "mremap", [RRC_S_BRK] = "brk", [RRC_S_CLONE] = "clone",
	[RRC_S_EXEC] = "exec", [RRC_S_EXIT] = "exit", [RRC_S_WAIT] = "wait",
	[RRC_S_FUTEX] = "futex", [RRC_S_SIGRETURN] = "sigreturn", [RRC_S_RSEQ] = "rseq",
	[RRC_S_SLEEP] = "sleep", [RRC_S_POLL] = "poll", [RRC_S_EPOLL_WAIT] = "epoll_wait",
	[RRC_S_PRCTL] = "prctl", [RRC_S_KILL] = "kill", [RRC_S_SOCKOPT] = "sockopt",
	[RRC_S_GETDENTS] = "getdents", [RRC_S_SIGSUSPEND] = "sigsuspend",
	[RRC_S_RESTART] = "restart", [RRC_S_SHUTDOWN] = "shutdown",
};

static const char *const flag_names[] = {
	"files", "fdtable", "noreturn", "blocks", "output", "maps", "entry-length", "new-fd",
	"result-from-log", "bytes-from-log", "by-command", "optional-args",
};
/* clang-format on */

const struct rrc_sysrow *rrc_sysrow(unsigned int nr)
{
	return nr < RRC_NSYS && names[nr] ? &rrc_syscall_rows[nr] : &unknown_row;
}

const char *rrc_sysname(unsigned int nr)
{
	return nr < RRC_NSYS ? names[nr] : NULL;
}

int rrc_sysnr(const char *name)
{
	for (int nr = 0; nr < RRC_NSYS; nr++)
		if (names[nr] && !strcmp(names[nr], name))
			return nr;
	return -1;
}

const char *rrc_class_name(unsigned int cls)
{
	return cls < RRC_ARRAY_SIZE(class_names) ? class_names[cls] : "?";
}

const char *rrc_special_name(unsigned int special)
{
	return special < RRC_S_SPECIALS ? special_names[special] : "?";
}

const struct rrc_cmdrow *rrc_cmdrows(size_t *n)
{
	*n = rrc_command_count;
	return rrc_command_rows;
}

const struct rrc_cmdrow *rrc_cmdrow(unsigned int nr, __u32 cmd)
{
	for (size_t i = 0; i < rrc_command_count; i++)
		if (rrc_command_rows[i].nr == nr && rrc_command_rows[i].cmd == cmd)
			return &rrc_command_rows[i];
	return NULL;
}

static enum rrc_class command_class(unsigned int nr, unsigned long cmd)
{
	const struct rrc_cmdrow *row = rrc_cmdrow(nr, (__u32)cmd);

	return row ? row->cls : RRC_BARRIER;
}

enum rrc_class rrc_ioctl_class(unsigned long cmd)
{
	return command_class(RRC_NR_ioctl, cmd);
}

enum rrc_class rrc_fcntl_class(unsigned long cmd)
{
	return command_class(RRC_NR_fcntl, cmd);
}

enum rrc_class rrc_prctl_class(unsigned long option)
{
	return command_class(RRC_NR_prctl, option);
}

int rrc_ioctl_len(unsigned long cmd, int *dir)
{
	const struct rrc_cmdrow *row = rrc_cmdrow(RRC_NR_ioctl, (__u32)cmd);

	if (!row)
		return -ENOENT;
	*dir = row->dir;
	return row->len;
}

enum rrc_class rrc_class_of(unsigned int nr, const __u64 args[6])
{
	const struct rrc_sysrow *row = rrc_sysrow(nr);
	const struct rrc_cmdrow *cmd;

	if (!(row->flags & RRC_ROW_BYCMD))
		return row->cls;
	cmd = rrc_cmdrow(nr, rrc_cmd_of(nr, args));
	if (cmd)
		return cmd->cls;
	return row->special == RRC_S_SOCKOPT ? row->cls : RRC_BARRIER;
}

static __u8 futex_mask(__u64 op)
{
	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
		return 0x0f;
	case FUTEX_WAKE:
		return 0x07;
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return 0x0b;
	case FUTEX_UNLOCK_PI:
	case FUTEX_TRYLOCK_PI:
		return 0x03;
	case FUTEX_WAIT_BITSET:
		return 0x2f;
	case FUTEX_WAKE_BITSET:
		return 0x27;
	default:
		return 0x3f; /* two words, two counts */
	}
}

static __u8 clone_mask(__u64 flags)
{
	__u8 mask = 0;

	if (flags & (CLONE_PARENT_SETTID | CLONE_PIDFD))
		mask |= 1 << 2;
	if (flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID))
		mask |= 1 << 3;
	if (flags & CLONE_SETTLS)
		mask |= 1 << 4;
	return mask;
}

static __u8 command_mask(unsigned int nr, const __u64 args[6])
{
	const struct rrc_cmdrow *cmd = rrc_cmdrow(nr, rrc_cmd_of(nr, args));

	if (!cmd || !cmd->arg)
		return 0;
	return nr == RRC_NR_prctl ? 1 << 1 : 1 << 2;
}

static int takes_mode(__u64 flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

__u8 rrc_cmpmask(unsigned int nr, const __u64 args[6])
{
	const struct rrc_sysrow *row = rrc_sysrow(nr);

	if (!(row->flags & RRC_ROW_OPTARGS))
		return row->cmpmask;
	switch (nr) {
	case RRC_NR_open:
		return row->cmpmask | (takes_mode(args[1]) ? 1 << 2 : 0);
	case RRC_NR_openat:
		return row->cmpmask | (takes_mode(args[2]) ? 1 << 3 : 0);
	case RRC_NR_mremap:
		return row->cmpmask | (args[3] & (MREMAP_FIXED | MREMAP_DONTUNMAP) ? 1 << 4 : 0);
	case RRC_NR_clone:
		return row->cmpmask | clone_mask(args[0]);
	case RRC_NR_futex:
		return row->cmpmask | futex_mask(args[1]);
	default:
		return row->cmpmask | command_mask(nr, args);
	}
}

/* The length of a segment in words: the text, then which argument, then times how many. */
static const struct {
	const char *text;
	int arg, times;
} len_words[RRC_LENS] = {
	[RRC_LEN_NONE] = { "nothing", 0, 0 },
	[RRC_LEN_RET] = { "result", 0, 0 },
	[RRC_LEN_RETMUL] = { "result", 0, 1 },
	[RRC_LEN_CONST] = { "bytes", 0, 1 },
	[RRC_LEN_ARG] = { "", 1, 0 },
	[RRC_LEN_ARGMUL] = { "", 1, 1 },
	[RRC_LEN_VALRES] = { "length at ", 1, 0 },
	[RRC_LEN_STR] = { "string", 0, 0 },
	[RRC_LEN_IOVEC] = { "iovec[]", 1, 0 },
	[RRC_LEN_MSGHDR] = { "msghdr: data", 0, 0 },
	[RRC_LEN_MSGNAME] = { "msghdr: name", 0, 0 },
	[RRC_LEN_MSGCTL] = { "msghdr: control", 0, 0 },
	[RRC_LEN_MMSGHDR] = { "mmsghdr[]: data", 0, 0 },
	[RRC_LEN_FDSET] = { "bits of ", 1, 0 },
	[RRC_LEN_IOCTL] = { "by command in ", 1, 0 },
	[RRC_LEN_RETCAP] = { "result, at most ", 1, 0 },
	[RRC_LEN_PAGES] = { "pages of ", 1, 0 },
	[RRC_LEN_MMSGNAME] = { "mmsghdr[]: names", 0, 0 },
	[RRC_LEN_MMSGCTL] = { "mmsghdr[]: control", 0, 0 },
};

static void print_seg(FILE *out, const struct rrc_segrow *seg)
{
	unsigned int kind = seg->len < RRC_LENS ? seg->len : RRC_LEN_NONE;

	fprintf(out, "%s%u ", seg->dir == RRC_SEG_IN ? "in" : "out", seg->ptr);
	if (kind == RRC_LEN_CONST) {
		fprintf(out, "%u", seg->k);
		return;
	}
	fputs(len_words[kind].text, out);
	if (len_words[kind].arg)
		fprintf(out, "arg%u", seg->arg);
	if (len_words[kind].times)
		fprintf(out, "×%u", seg->k);
	if (seg->when == RRC_WHEN_ALWAYS && seg->dir == RRC_SEG_OUT)
		fputs(" (always)", out);
}

static void print_segs(FILE *out, const struct rrc_sysrow *row)
{
	for (unsigned int i = 0; i < row->nseg; i++) {
		fputs(i ? "; " : "", out);
		print_seg(out, &row->seg[i]);
	}
}

static void print_flags(FILE *out, const struct rrc_sysrow *row, const char *quote)
{
	const char *comma = "";

	for (unsigned int i = 0; i < RRC_ARRAY_SIZE(flag_names); i++) {
		if (!(row->flags & 1u << i))
			continue;
		fprintf(out, "%s%s%s%s", comma, quote, flag_names[i], quote);
		comma = *quote ? ", " : ",";
	}
}

static void print_text(FILE *out, unsigned int nr, const struct rrc_sysrow *row)
{
	fprintf(out, "%3u %-24s %-8s %-10s %u ", nr, names[nr], rrc_class_name(row->cls),
		rrc_special_name(row->special), row->nargs);
	print_segs(out, row);
	if (row->flags) {
		fputs(row->nseg ? "  [" : "[", out);
		print_flags(out, row, "");
		fputc(']', out);
	}
	fputc('\n', out);
}

static void print_json(FILE *out, unsigned int nr, const struct rrc_sysrow *row)
{
	fprintf(out,
		"{\"nr\": %u, \"name\": \"%s\", \"class\": \"%s\", \"special\": \"%s\", "
		"\"nargs\": %u, \"fd\": %d, \"compared\": %u, \"flags\": [",
		nr, names[nr], rrc_class_name(row->cls), rrc_special_name(row->special), row->nargs,
		row->fd == RRC_NO_FD ? -1 : row->fd, row->cmpmask);
	print_flags(out, row, "\"");
	fputs("], \"segments\": [", out);
	for (unsigned int i = 0; i < row->nseg; i++) {
		fputs(i ? ", \"" : "\"", out);
		print_seg(out, &row->seg[i]);
		fputc('"', out);
	}
	fputs("]}", out);
}

static void print_markdown(FILE *out, unsigned int nr, const struct rrc_sysrow *row)
{
	fprintf(out, "| %u | `%s` | %s | %s | ", nr, names[nr], rrc_class_name(row->cls),
		rrc_special_name(row->special));
	print_segs(out, row);
	fputs(" | ", out);
	print_flags(out, row, "");
	fputs(" |\n", out);
}

static const char markdown_head[] =
	"# System calls\n\n"
	"Generated from the table (`lib/syscall_rows.c`) by `make docs/syscalls.md`.\n\n"
	"What each class means, and what a program pays for it: *emulate*: result and bytes\n"
	"come from the log in replay; *execute*: run for real, result compared; *local*: run\n"
	"for real, neither recorded nor matched; *barrier*: cannot be replayed, so outputs wait\n"
	"for the next checkpoint (unless the call was refused). `out1 result` reads: the kernel\n"
	"writes as many bytes as the result says where argument 1 points; `in` is what the\n"
	"program gave, compared in replay.\n\n"
	"| nr | call | class | special | bytes | notes |\n"
	"|---|---|---|---|---|---|\n";

static void print_head(FILE *out, int format)
{
	if (format == RRC_PRINT_JSON)
		fputs("[\n", out);
	else if (format == RRC_PRINT_MARKDOWN)
		fputs(markdown_head, out);
	else
		fputs(" nr call                     class    special    args and bytes\n", out);
}

int rrc_syscalls_print(FILE *out, int format)
{
	int first = 1;

	print_head(out, format);
	for (unsigned int nr = 0; nr < RRC_NSYS; nr++) {
		if (!names[nr])
			continue;
		if (format == RRC_PRINT_JSON) {
			fputs(first ? "" : ",\n", out);
			print_json(out, nr, rrc_sysrow(nr));
		} else if (format == RRC_PRINT_MARKDOWN) {
			print_markdown(out, nr, rrc_sysrow(nr));
		} else {
			print_text(out, nr, rrc_sysrow(nr));
		}
		first = 0;
	}
	if (format == RRC_PRINT_JSON)
		fputs("\n]\n", out);
	return ferror(out) ? -EIO : 0;
}
