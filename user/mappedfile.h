/* SPDX-License-Identifier: MIT */
/* Content of a file that a process has mapped, read past the mapping: pages that are not in the process's tables, too,
 * and without giving the file any where it has holes. */
#ifndef RRC_MAPPEDFILE_H
#define RRC_MAPPEDFILE_H

#include "err.h"
#include "mappings.h"
#include "pages.h"

/* All of the mapping into p. -ENOTSUP: the file ends before the mapping does. */
int rrc_mappedfile_copy(pid_t pid, const struct rrc_mapping *m, struct rrc_pages *p,
			struct rrc_error *err);

#endif
