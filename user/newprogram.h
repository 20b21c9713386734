/* SPDX-License-Identifier: MIT */
/*
 * A program that the container executes and that brings the in-process recorder with it (user/preload/), or
 * a forked child of one: followed call by call until the library has set its lock log up, so that recording
 * begins before its own first line, and the log is ours even if it ends at once.
 */
#ifndef RRC_NEWPROGRAM_H
#define RRC_NEWPROGRAM_H

#include <sys/types.h>

struct rrc_locklog;

/* At its exec event: will the library be loaded? */
int rrc_newprogram_preloads(pid_t pid);

/* At the first stop of a new task: is it a process that was forked by one that records? */
int rrc_newprogram_forked(pid_t tid);

/* Its only thread, seized and patched, is in a syscall stop. 1: this was the library's last call of its set-up;
 * from here on the program records its locks and its clock, and the vDSO is its own again; *ll is the caller's to
 * close. 0: not yet. */
int rrc_newprogram_ready(pid_t pid, struct rrc_locklog *ll);

#endif
