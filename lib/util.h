/* SPDX-License-Identifier: MIT */
/* Cleanup attributes and the few helpers that every file uses. */
#ifndef RRC_UTIL_H
#define RRC_UTIL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RRC_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define RRC_ALIGN8(n)	  (((n) + 7) & ~(__typeof__(n))7)
#define rrc_min(a, b)                   \
	({                              \
		__typeof__(a) _a = (a); \
		__typeof__(b) _b = (b); \
		_a < _b ? _a : _b;      \
	})
#define rrc_max(a, b)                   \
	({                              \
		__typeof__(a) _a = (a); \
		__typeof__(b) _b = (b); \
		_a > _b ? _a : _b;      \
	})

#define RRC_CLEANUP(fn) __attribute__((cleanup(fn)))
#define rrc_autofree	RRC_CLEANUP(rrc_freep)
#define rrc_autoclose	RRC_CLEANUP(rrc_closep)
#define rrc_autofclose	RRC_CLEANUP(rrc_fclosep)

static inline void rrc_freep(void *p)
{
	free(*(void **)p);
}

static inline void rrc_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void rrc_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline uint64_t rrc_now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

#endif
