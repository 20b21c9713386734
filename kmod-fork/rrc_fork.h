/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What /dev/rrc_fork offers: a container fork. All threads of all processes of a container are parked,
 * the container is copied (memory on write, threads with their registers), the originals go on; the
 * copy, the shadow, stands still from its first moment and never runs an instruction of its program.
 *
 * One open descriptor is one fork at a time, in this order:
 *
 *	PARK	returns when every thread is parked; -EAGAIN when some thread could not be (then none is)
 *	FORK	makes the shadow's processes; what they share with the originals is copied or taken away
 *	RELEASE	the originals go on
 *	WAIT	returns when the shadow is whole: now it can be looked at, and dumped
 *	DROP	the shadow is killed and reaped; only after it another PARK
 *
 * LIST and STATE can be called from FORK until DROP. The originals go on in any case: when the pause has
 * lasted HOLD_MS, when who opened the device ends or closes it. The shadow goes with the descriptor.
 *
 * The shadow: same ids in a pid namespace of its own when the container's first process takes part (else
 * new ids in the same one), same tree, groups and sessions, credentials, masks; child of the caller.
 * - Regular files and directories are its own openings at the originals' offsets. Anonymous shared memory
 *   and memfds are copies. Sockets, pipes and what stands on anonymous inodes (epoll, eventfd, timerfd,
 *   signalfd, inotify) are closed in it. Character devices are shared.
 * - It has no timers and no pending signals. These, and what was closed, STATE tells.
 * - Shared mappings of files, of named tmpfs and of System V stay shared; STATE lists them.
 *
 * Needs CAP_SYS_ADMIN. Limits: a process whose leader thread ended, processes that share memory without
 * being threads of one, and pid namespaces inside the container are refused (-EOPNOTSUPP). A child that
 * ended and was not waited for yet is not in the shadow. A thread that is stopped, traced and stopped, or
 * sleeps uninterruptibly (a vfork's parent) cannot be parked. A call that a signal ends with EINTR although
 * no handler runs (epoll_wait, semop; signal(7)) does so at a fork too.
 */
#ifndef RRC_FORK_H
#define RRC_FORK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define RRC_FORK_DEVICE	 "/dev/rrc_fork"
#define RRC_FORK_VERSION 2u

#define RRC_FORK_PIDS_MAX    4096u /* processes named by a list */
#define RRC_FORK_HOLD_MS_MAX 60000u /* longest pause that can be asked for */
#define RRC_FORK_TRY_US_MAX  1000000u /* longest try */
#define RRC_FORK_TRIES_MAX   10000u

/* Which processes: rrc_fork_park.by */
#define RRC_FORK_BY_PIDS  1u /* those in pids[], and all their descendants */
#define RRC_FORK_BY_PIDNS 2u /* all of a pid namespace: fd is of a /proc/PID/ns/pid */
#define RRC_FORK_BY_CGROUP \
	3u /* all of a cgroup and those below: fd is of its directory (cgroup v2) */

struct rrc_fork_park {
	__u32 version; /* in: RRC_FORK_VERSION */
	__u32 by; /* in */
	__u64 pids; /* in: address of n_pids times __s32, process ids as the caller sees them */
	__u32 n_pids; /* in */
	__s32 fd; /* in */
	__u32 try_us; /* in: how long threads may wait for the last one; 0: 5000 */
	__u32 tries; /* in: how often; 0: 50 */
	__u32 hold_ms; /* in: longest pause; 0: 1000 */
	__u32 zero; /* in: 0 */
	__u32 processes; /* out */
	__u32 threads; /* out */
	__u32 tried; /* out: tries that it took */
	__s32 blocker; /* out, -EAGAIN: a thread that could not be parked, as the caller sees it */
	__u64 park_ns; /* out: from the first thread that was asked to the last that came */
	__u64 lost_ns; /* out: how long threads stood for tries that failed */
};

/* rrc_fork_fork.flags */
#define RRC_FORK_WANT_STATE   1u /* collect what STATE tells */
#define RRC_FORK_WANT_MEMBERS 2u /* of it only what is not about descriptors */
#define RRC_FORK_NO_FILES     4u /* the shadow has no descriptors at all, so CRIU cannot dump it */

struct rrc_fork_fork {
	__u32 version; /* in: RRC_FORK_VERSION */
	__u32 flags; /* in */
	__s32 init; /* out: the shadow's first process, as the caller sees it */
	__u32 processes; /* out */
	__u64 copy_ns; /* out: until every process was copied */
	__u64 tree_ns; /* out: until the shadow held nothing of the originals */
	__u64 state_bytes; /* out: what STATE needs */
};

struct rrc_fork_release {
	__u64 pause_ns; /* out: from the first thread that was asked until now */
};

struct rrc_fork_wait {
	__u64 build_ns; /* out: from the copy until the shadow was whole */
	__u32 kept_shared; /* out: files that could not be opened anew: offsets move with the originals' */
	__u32 zero;
};

struct rrc_fork_process {
	__s32 pid; /* the original, as the caller sees it */
	__s32 shadow; /* its shadow, as the caller sees it; 0: it ended */
	__s32 vpid; /* both, in the container */
	__u32 threads;
};

struct rrc_fork_list {
	__u64 processes; /* in: address of room times struct rrc_fork_process */
	__u32 room; /* in */
	__u32 n; /* out: how many there are; when more than room, none was stored (-ENOSPC) */
};

struct rrc_fork_state {
	__u64 buf; /* in: address of room bytes */
	__u64 room; /* in */
	__u64 size; /* out: bytes of records; when more than room, none was stored (-ENOSPC) */
};

#define RRC_FORK_PARK	 _IOWR('R', 0xf0, struct rrc_fork_park)
#define RRC_FORK_FORK	 _IOWR('R', 0xf1, struct rrc_fork_fork)
#define RRC_FORK_RELEASE _IOR('R', 0xf2, struct rrc_fork_release) /* -ETIMEDOUT: went on before */
#define RRC_FORK_WAIT	 _IOR('R', 0xf3, struct rrc_fork_wait)
#define RRC_FORK_LIST	 _IOWR('R', 0xf4, struct rrc_fork_list)
#define RRC_FORK_STATE	 _IOWR('R', 0xf5, struct rrc_fork_state)
#define RRC_FORK_DROP	 _IO('R', 0xf6)

/* STATE: records one after the other, each a multiple of 8 bytes. Ids are the container's. All of it is as
 * it was in the pause. */
enum rrc_fork_kind {
	RRC_FORK_THREAD = 1,
	RRC_FORK_SIGNAL = 2,
	RRC_FORK_TIMER = 3,
	RRC_FORK_ITIMER = 4,
	RRC_FORK_FILE = 5,
	RRC_FORK_SOCKET = 6,
	RRC_FORK_MAPPING = 7,
};

struct rrc_fork_rec {
	__u32 kind; /* enum rrc_fork_kind */
	__u32 size; /* with this header */
	__s32 pid;
	__s32 tid; /* 0: the process's */
};

/* rrc_fork_thread.restart: the call that the thread will go on with as restart_syscall */
enum rrc_fork_restart {
	RRC_FORK_RESTART_NONE = 0,
	RRC_FORK_RESTART_SLEEP = 1, /* restart_args: clock, expires ns, address of the rest */
	RRC_FORK_RESTART_FUTEX = 2, /* address, value, flags, bitset, deadline ns */
	RRC_FORK_RESTART_POLL = 3, /* address, count, has a time-out, seconds, nanoseconds */
	RRC_FORK_RESTART_OTHER = 4,
};

struct rrc_fork_thread {
	struct rrc_fork_rec rec;
	__u64 regs[27]; /* as PTRACE_GETREGS, before a broken-off call is set up to be made again */
	__u64 blocked; /* signal mask; what sigsuspend and the like will put back: */
	__u64 saved_mask;
	__u64 pending; /* mask of the thread's own pending signals */
	__u64 altstack, altstack_size;
	__u64 clear_tid, robust_list;
	__u64 rseq;
	__u32 rseq_sig;
	__u32 altstack_flags;
	__u32 restore_mask; /* saved_mask counts */
	__u32 restart; /* enum rrc_fork_restart; stale unless the call's result is -516 */
	__u64 restart_args[5];
	char comm[16];
};

struct rrc_fork_signal { /* one queued signal; tid 0: the process's */
	struct rrc_fork_rec rec;
	__u8 siginfo[128];
};

struct rrc_fork_timer { /* timer_create; tid: whom it signals, 0 the process */
	struct rrc_fork_rec rec;
	__s32 id;
	__s32 clock;
	__s32 notify;
	__s32 signo;
	__u64 value; /* sigev_value */
	__s64 overrun;
	__s64 left_ns; /* 0: not running */
	__s64 period_ns;
};

struct rrc_fork_itimer { /* setitimer, only those that run */
	struct rrc_fork_rec rec;
	__s32 which;
	__u32 zero;
	__s64 left_us;
	__s64 period_us;
};

struct rrc_fork_file { /* any descriptor */
	struct rrc_fork_rec rec;
	__s32 fd;
	__u32 cloexec;
	__u32 flags; /* O_… */
	__u32 mode; /* S_IF… and permissions; 0 in S_IFMT: anonymous inode */
	__s64 pos;
	__u64 ino;
	__u32 dev_major, dev_minor;
	__u32 unread; /* pipe: bytes in it */
	__u32 closed; /* the shadow does not have it */
	__u32 info_len; /* what /proc/PID/fdinfo says of it follows, without flags and position */
	__u32 zero;
	char info[];
};

struct rrc_fork_socket { /* follows the FILE record of the same descriptor */
	struct rrc_fork_rec rec;
	__s32 fd;
	__u16 family, type;
	__u32 protocol;
	__u32 state; /* TCP_… */
	__u64 cookie;
	__u64 peer_ino; /* AF_UNIX: inode of the other end */
	__u32 queued; /* messages in the receive queue; TCP: bytes that were not read */
	/* TCP */
	__u32 snd_una, snd_nxt, write_seq;
	__u32 rcv_nxt, copied_seq;
	__u32 snd_wnd, rcv_wnd;
};

#define RRC_FORK_MAP_SHARED	1u /* still shared with the originals */
#define RRC_FORK_MAP_LOCKED	2u /* mlock: the shadow's is not */
#define RRC_FORK_MAP_DONTFORK	4u /* the shadow has it all the same */
#define RRC_FORK_MAP_WIPEONFORK 8u /* the shadow's is not wiped */

struct rrc_fork_mapping { /* a mapping that a fork treats in a special way */
	struct rrc_fork_rec rec;
	__u64 start, end, offset;
	__u64 ino;
	__u32 dev_major, dev_minor;
	__u32 flags; /* RRC_FORK_MAP_… */
	__u32 zero;
};

#define RRC_FORK_SIZE(type, size) \
	_Static_assert(sizeof(struct type) == (size), "the format is fixed")
RRC_FORK_SIZE(rrc_fork_park, 72);
RRC_FORK_SIZE(rrc_fork_fork, 40);
RRC_FORK_SIZE(rrc_fork_release, 8);
RRC_FORK_SIZE(rrc_fork_wait, 16);
RRC_FORK_SIZE(rrc_fork_process, 16);
RRC_FORK_SIZE(rrc_fork_list, 16);
RRC_FORK_SIZE(rrc_fork_state, 24);
RRC_FORK_SIZE(rrc_fork_rec, 16);
RRC_FORK_SIZE(rrc_fork_thread, 368);
RRC_FORK_SIZE(rrc_fork_signal, 144);
RRC_FORK_SIZE(rrc_fork_timer, 64);
RRC_FORK_SIZE(rrc_fork_itimer, 40);
RRC_FORK_SIZE(rrc_fork_file, 72);
RRC_FORK_SIZE(rrc_fork_socket, 80);
RRC_FORK_SIZE(rrc_fork_mapping, 64);
#undef RRC_FORK_SIZE

#endif
