/* SPDX-License-Identifier: MIT */
/* The directory of a protected container below /run: the control socket, what CRIU asks and says, a checkpoint until it
 * is sent. */
#ifndef RRC_RUNDIR_H
#define RRC_RUNDIR_H

#include <stddef.h>

#include "err.h"

#define RRC_RUN_DIR "/run/rrc"

/* Makes it, and gives its path. */
int rrc_rundir_make(char *path, size_t size, const char *name, struct rrc_error *err);

/* What an rrc-trace that was killed has left there. With the control socket ours: nobody else uses it. */
void rrc_rundir_clear(const char *path);

/* All of it; CRIU's last words stay only if somebody is to read them. */
void rrc_rundir_end(const char *path, int failed);

/* A checkpoint's directory, with all that is in it. */
void rrc_rundir_drop(const char *dir);

#endif
