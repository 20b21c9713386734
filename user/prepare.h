/* SPDX-License-Identifier: MIT */
/* Getting the in-process recorder (user/preload/) into programs that are started from now on. */
#ifndef RRC_PREPARE_H
#define RRC_PREPARE_H

#include <stdio.h>

#include "err.h"

/* Changes an OCI bundle so that its programs record the order of their locks: the library goes into the
 * root file system, and LD_PRELOAD into config.json. Idempotent; containers that run already are as
 * they were. */
int rrc_prepare(const char *bundle, struct rrc_error *err);

/* The same as a hook of an OCI runtime at a container's birth (stages prestart, createRuntime or createContainer: its
 * root is mounted and nothing of it runs). A hook cannot change the environment, so the loader is told by
 * /etc/ld.so.preload. Reads the state that the runtime gives from `in`. 0 or a negative errno. */
int rrc_hook(FILE *in, struct rrc_error *err);

#endif
