/* SPDX-License-Identifier: MIT */
/* Runs tar: what changed in a container's files travels as an archive that other tools can open. */
#ifndef RRC_TAR_H
#define RRC_TAR_H

#include "err.h"

/* Writes the archive `tar` of the names in the file `list` (each ended by a NUL), relative to dir. */
int rrc_tar_make(const char *tar, const char *dir, const char *list, struct rrc_error *err);

/* Unpacks over what is in dir: files there already are replaced, directories stay with what is in them.
 * Nothing gets outside of dir. */
int rrc_tar_unpack(const char *tar, const char *dir, struct rrc_error *err);

#endif
