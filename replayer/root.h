/* SPDX-License-Identifier: MIT */
/*
 * The root file system of a restored container: what the checkpoint says, below a scratch layer of the
 * attempt's own. What a replay writes is written once, and thrown away with an attempt that failed.
 */
#ifndef RRC_ROOT_H
#define RRC_ROOT_H

#include <sys/types.h>

#include "err.h"
#include "manifest.h"

/* Applies a checkpoint's fs.tar and fs.deleted, if it has them, to directory layer (made if needed). */
int rrc_root_apply(const char *ckpt_dir, const char *layer, struct rrc_error *err);

/* Mounts at work/root: an overlay of `layer` (may be missing) and `base` (NULL: layer is the whole root), with
 * changes in work/upper. `path` gets the mount point. */
int rrc_root_mount(const char *base, const char *layer, const char *work, char *path, size_t size,
		   struct rrc_error *err);
void rrc_root_unmount(const char *work);

/* Is something mounted below dir? 1, 0, or negative errno. */
int rrc_root_in_use(const char *dir);

/* For a recording that shared its host's mounts: puts this process into a mount namespace of its own where
 * every file system that can be written is below a scratch layer in memory. owner: the process that will say
 * when it is over. */
int rrc_root_isolate(pid_t owner, struct rrc_error *err);

/* From outside of that namespace, when nobody is in it any more: takes the mount point away. */
void rrc_root_isolated_end(pid_t owner);

/* rm -r, without leaving the file system. */
void rrc_root_remove(const char *dir);

#endif
