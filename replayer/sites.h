/* SPDX-License-Identifier: MIT */
/*
 * Places in a program where libc makes the calls of a server's hot path, and which can be made to lead elsewhere: an
 * instruction before `syscall` is known and long enough to be overwritten by a jump. The call itself stays, so that a thread that makes the call for real stands where it always does.
 */
#ifndef RRC_SITES_H
#define RRC_SITES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RRC_SITES      128
#define RRC_SITE_MAX   7
#define RRC_SITE_THUNK 64 /* bytes of code for each */
#define RRC_SITE_REAL  24 /* its offset for a call made for real, … */
#define RRC_SITE_DONE  48 /* … and for one that is answered */

struct rrc_site {
	uint64_t addr; /* what is overwritten, … */
	uint64_t call; /* … and its `syscall` */
	uint8_t len;
	uint8_t bytes[RRC_SITE_MAX]; /* as they were */
};

/* Those in len bytes of code that stand at addr. Returns their number, at most max. */
size_t rrc_sites_in(const uint8_t *code, size_t len, uint64_t addr, struct rrc_site *sites,
		    size_t max);

/* Those of a process's libc, at most max; *image: where its file is mapped from its beginning. Negative errno:
 * it has none that we know. */
int rrc_sites_find(pid_t pid, struct rrc_site *sites, size_t max, uint64_t *image);

/* What is to be written over the place so that it leads to `to`. -ERANGE: too far. */
int rrc_site_jump(const struct rrc_site *s, uint64_t to, uint8_t code[RRC_SITE_MAX]);

/* The code for place number i that is to stand at `at`: does what was overwritten and goes to `enter` with
 * i << 48 in r11, which goes on at one of the two offsets. -ERANGE: too far. */
int rrc_site_thunk(const struct rrc_site *s, unsigned int i, uint64_t at, uint64_t enter,
		   uint8_t code[RRC_SITE_THUNK]);

#endif
