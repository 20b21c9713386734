/* SPDX-License-Identifier: MIT */
/* What a process's clocks are ahead of the host's: its time namespace (time_namespaces(7)). */
#ifndef RRC_TIMENS_H
#define RRC_TIMENS_H

#include <stdint.h>
#include <sys/types.h>

/* clock: "monotonic" or "boottime". ns; 0 where there is no such namespace. */
int64_t rrc_timens_offset(pid_t pid, const char *clock);

#endif
