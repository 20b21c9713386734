/* SPDX-License-Identifier: MIT */
/*
 * What the commands of ioctl, fcntl and prctl do, and the socket options that are not like the
 * others: data only. A command of the first three that is not here is a barrier; a socket option
 * that is not here has the class of its call. Sorted by nothing: found by search, or through the
 * recorder's map.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/prctl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "syscall_rows.h"
#include "util.h"

/* clang-format off */
#define GET(call, c, n) { c, RRC_NR_##call, RRC_EMULATE, RRC_SEG_OUT, 1, 0, n }
#define SET(call, c, n) { c, RRC_NR_##call, RRC_EXECUTE, RRC_SEG_IN, 1, 0, n }
/* Without an argument, or with one that is a number. */
#define ASK(call, c) { c, RRC_NR_##call, RRC_EMULATE, RRC_SEG_OUT, 0, 0, 0 }
#define ASKN(call, c) { c, RRC_NR_##call, RRC_EMULATE, RRC_SEG_OUT, 1, 0, 0 }
#define DO(call, c) { c, RRC_NR_##call, RRC_EXECUTE, RRC_SEG_IN, 0, 0, 0 }
#define DON(call, c) { c, RRC_NR_##call, RRC_EXECUTE, RRC_SEG_IN, 1, 0, 0 }
#define BARSET(level, name) { RRC_SOCKOPT_CMD(level, name), RRC_NR_setsockopt, RRC_BARRIER, \
			      RRC_SEG_IN, 1, 0, 0 }
#define BARGET(level, name) { RRC_SOCKOPT_CMD(level, name), RRC_NR_getsockopt, RRC_BARRIER, \
			      RRC_SEG_OUT, 1, 0, 0 }
#define KTERMIOS 36	/* the kernel's struct termios, not libc's */
#define KTERMIOS2 44
#define IFREQ 40

const struct rrc_cmdrow rrc_command_rows[] = {
	/* Any descriptor. */
	GET(ioctl, FIONREAD, 4),
	SET(ioctl, FIONBIO, 4),
	SET(ioctl, FIOASYNC, 4),
	DO(ioctl, FIOCLEX),
	DO(ioctl, FIONCLEX),
	GET(ioctl, FIOQSIZE, 8),
	GET(ioctl, FIGETBSZ, 4),
	/* Files. The kernel moves an int for these two, whatever their number says. */
	GET(ioctl, FS_IOC_GETFLAGS, 4),
	SET(ioctl, FS_IOC_SETFLAGS, 4),
	GET(ioctl, FS_IOC_GETVERSION, 4),
	GET(ioctl, FS_IOC_FSGETXATTR, sizeof(struct fsxattr)),
	SET(ioctl, FS_IOC_FSSETXATTR, sizeof(struct fsxattr)),
	DON(ioctl, FICLONE),
	SET(ioctl, FICLONERANGE, sizeof(struct file_clone_range)),
	GET(ioctl, BLKGETSIZE64, 8),
	GET(ioctl, BLKGETSIZE, 8),
	GET(ioctl, BLKSSZGET, 4),
	GET(ioctl, BLKBSZGET, 4),
	GET(ioctl, BLKPBSZGET, 4),
	GET(ioctl, BLKROGET, 4),
	/* Terminals. */
	GET(ioctl, TCGETS, KTERMIOS),
	SET(ioctl, TCSETS, KTERMIOS),
	SET(ioctl, TCSETSW, KTERMIOS),
	SET(ioctl, TCSETSF, KTERMIOS),
	GET(ioctl, 0x802c542a /* TCGETS2 */, KTERMIOS2),
	SET(ioctl, 0x402c542b /* TCSETS2 */, KTERMIOS2),
	SET(ioctl, 0x402c542c /* TCSETSW2 */, KTERMIOS2),
	SET(ioctl, 0x402c542d /* TCSETSF2 */, KTERMIOS2),
	GET(ioctl, TIOCGWINSZ, 8),
	SET(ioctl, TIOCSWINSZ, 8),
	GET(ioctl, TIOCGPGRP, 4),
	SET(ioctl, TIOCSPGRP, 4),
	GET(ioctl, TIOCGSID, 4),
	GET(ioctl, TIOCOUTQ, 4),
	GET(ioctl, TIOCMGET, 4),
	GET(ioctl, TIOCGPTN, 4),
	SET(ioctl, TIOCSPTLCK, 4),
	GET(ioctl, TIOCGPTLCK, 4),
	GET(ioctl, TIOCGETD, 4),
	GET(ioctl, TIOCGEXCL, 4),
	DO(ioctl, TIOCEXCL),
	DO(ioctl, TIOCNXCL),
	DON(ioctl, TIOCSCTTY),
	DO(ioctl, TIOCNOTTY),
	DON(ioctl, TCSBRK),
	DON(ioctl, TCSBRKP),
	DON(ioctl, TCXONC),
	DON(ioctl, TCFLSH),
	GET(ioctl, 0x4b33 /* KDGKBTYPE */, 1),
	/* Sockets and the namespace's links; TIOCOUTQ and FIONREAD are SIOCOUTQ and SIOCINQ. */
	GET(ioctl, SIOCATMARK, 4),
	GET(ioctl, SIOCOUTQNSD, 4),
	GET(ioctl, SIOCGPGRP, 4),
	SET(ioctl, SIOCSPGRP, 4),
	GET(ioctl, FIOGETOWN, 4),
	SET(ioctl, FIOSETOWN, 4),
	GET(ioctl, SIOCGSTAMP_OLD, 16),
	GET(ioctl, SIOCGSTAMPNS_OLD, 16),
	GET(ioctl, SIOCGSTAMP_NEW, 16),
	GET(ioctl, SIOCGSTAMPNS_NEW, 16),
	GET(ioctl, SIOCGIFNAME, IFREQ),
	GET(ioctl, SIOCGIFINDEX, IFREQ),
	GET(ioctl, SIOCGIFFLAGS, IFREQ),
	GET(ioctl, SIOCGIFADDR, IFREQ),
	GET(ioctl, SIOCGIFDSTADDR, IFREQ),
	GET(ioctl, SIOCGIFBRDADDR, IFREQ),
	GET(ioctl, SIOCGIFNETMASK, IFREQ),
	GET(ioctl, SIOCGIFMETRIC, IFREQ),
	GET(ioctl, SIOCGIFMTU, IFREQ),
	GET(ioctl, SIOCGIFHWADDR, IFREQ),
	GET(ioctl, SIOCGIFTXQLEN, IFREQ),
	GET(ioctl, SIOCGIFMAP, IFREQ),

	DON(fcntl, F_DUPFD),
	DON(fcntl, F_DUPFD_CLOEXEC),
	ASK(fcntl, F_GETFD),
	DON(fcntl, F_SETFD),
	ASK(fcntl, F_GETFL),
	DON(fcntl, F_SETFL),
	GET(fcntl, F_GETLK, sizeof(struct flock)),
	SET(fcntl, F_SETLK, sizeof(struct flock)),
	SET(fcntl, F_SETLKW, sizeof(struct flock)),
	GET(fcntl, F_OFD_GETLK, sizeof(struct flock)),
	SET(fcntl, F_OFD_SETLK, sizeof(struct flock)),
	SET(fcntl, F_OFD_SETLKW, sizeof(struct flock)),
	ASK(fcntl, F_GETOWN),
	DON(fcntl, F_SETOWN),
	GET(fcntl, F_GETOWN_EX, 8),
	SET(fcntl, F_SETOWN_EX, 8),
	ASK(fcntl, F_GETSIG),
	DON(fcntl, F_SETSIG),
	ASK(fcntl, F_GETLEASE),
	DON(fcntl, F_SETPIPE_SZ),
	ASK(fcntl, F_GETPIPE_SZ),
	DON(fcntl, F_ADD_SEALS),
	ASK(fcntl, F_GET_SEALS),
	GET(fcntl, F_GET_RW_HINT, 8),
	SET(fcntl, F_SET_RW_HINT, 8),
	GET(fcntl, F_GET_FILE_RW_HINT, 8),
	SET(fcntl, F_SET_FILE_RW_HINT, 8),
	ASKN(fcntl, 1027 /* F_DUPFD_QUERY */),
	ASK(fcntl, 1028 /* F_CREATED_QUERY */),

	SET(prctl, PR_SET_NAME, 16),
	GET(prctl, PR_GET_NAME, 16),
	DON(prctl, PR_SET_PDEATHSIG),
	GET(prctl, PR_GET_PDEATHSIG, 4),
	DON(prctl, PR_SET_DUMPABLE),
	ASK(prctl, PR_GET_DUMPABLE),
	DON(prctl, PR_SET_KEEPCAPS),
	ASK(prctl, PR_GET_KEEPCAPS),
	DON(prctl, PR_SET_TIMING),
	ASK(prctl, PR_GET_TIMING),
	DON(prctl, PR_SET_TSC),
	GET(prctl, PR_GET_TSC, 4),
	DON(prctl, PR_SET_SECUREBITS),
	ASK(prctl, PR_GET_SECUREBITS),
	DON(prctl, PR_SET_TIMERSLACK),
	ASK(prctl, PR_GET_TIMERSLACK),
	DO(prctl, PR_TASK_PERF_EVENTS_DISABLE),
	DO(prctl, PR_TASK_PERF_EVENTS_ENABLE),
	DON(prctl, PR_MCE_KILL),
	ASK(prctl, PR_MCE_KILL_GET),
	ASKN(prctl, PR_CAPBSET_READ),
	DON(prctl, PR_CAPBSET_DROP),
	DON(prctl, PR_CAP_AMBIENT),
	DON(prctl, PR_SET_PTRACER),
	DON(prctl, PR_SET_CHILD_SUBREAPER),
	GET(prctl, PR_GET_CHILD_SUBREAPER, 4),
	DON(prctl, PR_SET_NO_NEW_PRIVS),
	ASK(prctl, PR_GET_NO_NEW_PRIVS),
	GET(prctl, PR_GET_TID_ADDRESS, 8),
	DON(prctl, PR_SET_THP_DISABLE),
	ASK(prctl, PR_GET_THP_DISABLE),
	ASKN(prctl, PR_GET_SPECULATION_CTRL),
	DON(prctl, PR_SET_SPECULATION_CTRL),
	DON(prctl, PR_SET_IO_FLUSHER),
	ASK(prctl, PR_GET_IO_FLUSHER),
	ASK(prctl, PR_GET_SECCOMP),
	DON(prctl, 65 /* PR_SET_MDWE */),
	ASK(prctl, 66 /* PR_GET_MDWE */),
	DON(prctl, 67 /* PR_SET_MEMORY_MERGE */),
	ASK(prctl, 68 /* PR_GET_MEMORY_MERGE */),
	DON(prctl, 0x53564d41 /* PR_SET_VMA: names a mapping */),

	/* What travels is not what was written (TLS in the kernel, signatures). */
	BARSET(6, 31 /* TCP_ULP */),
	BARSET(6, 14 /* TCP_MD5SIG */),
	BARSET(6, 32 /* TCP_MD5SIG_EXT */),
	BARSET(6, 38 /* TCP_AO_ADD_KEY */),
	BARSET(6, 39 /* TCP_AO_DEL_KEY */),
	BARSET(6, 40 /* TCP_AO_INFO */),
	/* The connection's state is changed under us. */
	BARSET(6, 19 /* TCP_REPAIR */),
	BARSET(6, 42 /* TCP_AO_REPAIR */),
	BARGET(6, 35 /* TCP_ZEROCOPY_RECEIVE: maps received pages */),
	/* Foreign programs decide, or descriptors come out. */
	BARSET(1, 50 /* SO_ATTACH_BPF */),
	BARSET(1, 52 /* SO_ATTACH_REUSEPORT_EBPF */),
	BARGET(1, 26 /* SO_GET_FILTER: its length counts instructions */),
	BARGET(1, 77 /* SO_PEERPIDFD */),
	/* Packet filter tables, keys of the kernel's ciphers. */
	BARSET(0, 64 /* IPT_SO_SET_REPLACE */),
	BARSET(0, 65 /* IPT_SO_SET_ADD_COUNTERS */),
	BARSET(41, 64 /* IP6T_SO_SET_REPLACE */),
	BARSET(41, 65 /* IP6T_SO_SET_ADD_COUNTERS */),
	BARSET(279, 1 /* ALG_SET_KEY */),
	BARSET(279, 5 /* ALG_SET_AEAD_AUTHSIZE */),
};
/* clang-format on */

const size_t rrc_command_count = RRC_ARRAY_SIZE(rrc_command_rows);
