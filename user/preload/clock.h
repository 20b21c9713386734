/* SPDX-License-Identifier: MIT */
/* Clock readings with the vDSO's own signatures and results (a negative errno): libc's pointers to the
 * vDSO are directed to these. */
#ifndef RRC_PRELOAD_CLOCK_H
#define RRC_PRELOAD_CLOCK_H

#include <sys/time.h>
#include <time.h>

int rrc_pl_clock_gettime(clockid_t clock, struct timespec *ts);
int rrc_pl_clock_getres(clockid_t clock, struct timespec *ts);
int rrc_pl_gettimeofday(struct timeval *tv, void *tz);
time_t rrc_pl_time(time_t *out);
int rrc_pl_getcpu(unsigned int *cpu, unsigned int *node, void *cache);

#endif
