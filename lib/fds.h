/* SPDX-License-Identifier: MIT */
/* Descriptors of a process that was forked to outlive us. */
#ifndef RRC_FDS_H
#define RRC_FDS_H

#include <stddef.h>

/* Closes all but these, which become 3, 4, … (and are so in fds then); 0 to 2 lead nowhere. So nobody's connection
 * stays open because of this process, and nobody waits for the end of its output. */
void rrc_fds_keep(int *fds, size_t n);

#endif
