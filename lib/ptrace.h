/* SPDX-License-Identifier: MIT */
/* ptrace(2): seize, stop, inject a call, registers and memory of another process. x86-64 only. */
#ifndef RRC_PTRACE_H
#define RRC_PTRACE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "err.h"

/* All thread ids of process pid as seen from here; *tids is the caller's to free. Returns their
 * number or a negative errno. */
int rrc_threads(pid_t pid, pid_t **tids);

/* All processes (thread group ids, from here) whose own pid namespace has this inode number, the
 * namespace's init first. Returns their number or a negative errno. */
int rrc_pidns_processes(uint64_t pidns_ino, pid_t **pids);

/* Id of a task inside its own pid namespace (last number of NSpid), or negative errno. */
int rrc_ns_tid(pid_t tid);

/* Inode number of the pid namespace of process pid; 0: no such process. */
uint64_t rrc_pidns_ino(pid_t pid);

/* Seizes every thread of process pid with these PTRACE_O_* options and stops them all (threads that
 * are born meanwhile too). Signals that arrive meanwhile stay pending. Returns how many; *tids is the
 * caller's to free. On failure everything is let go again. -ESRCH: the process is gone. */
int rrc_seize_process(pid_t pid, unsigned long options, pid_t **tids, struct rrc_error *err);

/* A process that was told to stop (SIGSTOP): returns once every thread of it stands, and lets it stand. A stop is
 * sent to one thread and takes the others with it, so that one of them may still be about to run. Nobody must be
 * tracing it. 0 or a negative errno. */
int rrc_await_stop(pid_t pid, struct rrc_error *err);

/* Runs call nr in stopped, seized thread tid and gives its result in *ret; registers are as before
 * afterwards. The instruction `syscall` is looked for in the vDSO or at the current call. Signals
 * are blocked meanwhile, and a SIGSTOP that comes is for afterwards. -ESRCH: the thread died. */
int rrc_inject(pid_t tid, long nr, const uint64_t args[6], long *ret, struct rrc_error *err);

/* Whole transfers or -EFAULT. Pages that the process itself may not read or write are reached all the
 * same, as a debugger does. */
int rrc_mem_read(pid_t pid, uint64_t addr, void *buf, size_t len);
int rrc_mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len);

#endif
