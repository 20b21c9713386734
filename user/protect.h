/* SPDX-License-Identifier: MIT */
/* Protects or records one container until it ends or somebody says stop: the main loop of rrc-trace. */
#ifndef RRC_PROTECT_H
#define RRC_PROTECT_H

#include "err.h"
#include "options.h"

/* Returns the exit code of the tool (that of the command, if one was started), or negative with *err. */
int rrc_protect(const struct rrc_options *o, struct rrc_error *err);

/* Ends the protection that another rrc-trace gives (or gave, before it was killed) to a container, and
 * undoes what it did. */
int rrc_unprotect(const char *container, struct rrc_error *err);

#endif
