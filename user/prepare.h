/* SPDX-License-Identifier: MIT */
/* Getting the in-process recorder (user/preload/) into programs that are started from now on. */
#ifndef RRC_PREPARE_H
#define RRC_PREPARE_H

#include <stddef.h>

#include "err.h"

#define RRC_PRELOAD_NAME "librrc-preload.so"

/* Where the library is on this host: beside this program, or installed. 0 or -ENOENT. */
int rrc_preload_path(char *buf, size_t size, struct rrc_error *err);

/* Changes an OCI bundle so that its programs record the order of their locks: the library goes into the
 * root file system, and LD_PRELOAD into config.json. Idempotent; containers that run already are as
 * they were. */
int rrc_prepare(const char *bundle, struct rrc_error *err);

#endif
