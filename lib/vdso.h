/* SPDX-License-Identifier: MIT */
/*
 * The vDSO answers clock readings without a call, so nobody could record them. Its entry points are
 * overwritten in a process by `mov $nr,%eax; syscall; ret` (and __vdso_getrandom by -ENOSYS), and
 * put back when protection ends. Written through /proc/PID/mem, so the pages become the process's own.
 */
#ifndef RRC_VDSO_H
#define RRC_VDSO_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"

/* Patches process pid (from here); no thread of it may be running in the vDSO (rrc_vdso_range tells):
 * stopped elsewhere, or at an exec event. Idempotent. A process without a vDSO is fine. The bytes
 * that were there are kept in the zeros at the end of the vDSO's last page, so that whoever comes
 * later, or a forked child, can be restored without our memory of it. Returns the number of entry
 * points that are patched now, or a negative errno. */
int rrc_vdso_patch(pid_t pid, struct rrc_error *err);

/* Puts this process's own, unpatched bytes back. Returns how many entry points, or negative errno. */
int rrc_vdso_restore(pid_t pid, struct rrc_error *err);

/* Sends the entry point that stands for call nr on to code at `target` instead, in a patched process. 1: done,
 * 0: there is no such entry point or no room, or negative errno. */
int rrc_vdso_divert(pid_t pid, long nr, uint64_t target);

/* 1: patched, 0: not (or there is no vDSO), negative errno. */
int rrc_vdso_patched(pid_t pid);

/* Where the vDSO's code is in this process. 0, or -ENOENT if it has none. */
int rrc_vdso_range(pid_t pid, uint64_t *start, uint64_t *end);

/* A value of the process's auxiliary vector (AT_RANDOM …): 0 or negative errno. */
int rrc_auxv(pid_t pid, unsigned long type, uint64_t *value);

#endif
