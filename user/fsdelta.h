/* SPDX-License-Identifier: MIT */
/*
 * What changed in the container's writable layer since the last checkpoint: changed files as a tar,
 * deleted ones as a list. Read while the container is frozen, so it fits the cut.
 */
#ifndef RRC_FSDELTA_H
#define RRC_FSDELTA_H

#include "err.h"

#define RRC_FS_TAR     "fs.tar"
#define RRC_FS_DELETED "fs.deleted" /* names, each ended by a NUL */

struct rrc_fsdelta;

/* layer: directory as seen from here; the writable layer of an overlay, or a whole root. */
struct rrc_fsdelta *rrc_fsdelta_new(const char *layer);
void rrc_fsdelta_free(struct rrc_fsdelta *d);

/* Writes RRC_FS_TAR and RRC_FS_DELETED into dir. Returns the number of changes; 0: no files written. */
int rrc_fsdelta_take(struct rrc_fsdelta *d, const char *dir, struct rrc_error *err);

/* The next delta is whole again (another backup). */
void rrc_fsdelta_reset(struct rrc_fsdelta *d);

#endif
