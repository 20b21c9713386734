/* SPDX-License-Identifier: MIT */
/*
 * The vDSO answers clock readings without a call, so nobody could record them. Its entry points are
 * overwritten in a process by `mov $nr,%eax; syscall; ret` (and __vdso_getrandom by -ENOSYS), and
 * put back when protection ends. Written through /proc/PID/mem, so the pages become the process's own.
 */
#ifndef RRC_VDSO_H
#define RRC_VDSO_H

#include <sys/types.h>

#include "err.h"

/* Patches process pid (from here); it must not be running in the vDSO: stopped, or at an exec event.
 * Idempotent. A process without a vDSO is fine. Returns the number of entry points patched. */
int rrc_vdso_patch(pid_t pid, struct rrc_error *err);

/* Puts this process's own, unpatched bytes back. */
int rrc_vdso_restore(pid_t pid, struct rrc_error *err);

/* 1: patched, 0: not, negative errno. */
int rrc_vdso_patched(pid_t pid);

#endif
