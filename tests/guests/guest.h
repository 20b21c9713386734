/* SPDX-License-Identifier: MIT */
/*
 * What the guest programs share. A guest uses one family of calls, prints what it saw (a value that
 * differs from run to run stands in angle brackets) and ends with 0. Replay must print the same bytes
 * as the recording; the recording must look like a native run, brackets aside.
 */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUEST __attribute__((unused)) static

GUEST void guest_die(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, strerror(errno));
	_exit(99);
}

/* The condition holds, or the guest failed. */
#define must(cond)                                            \
	do {                                                  \
		if (!(cond))                                  \
			guest_die(__FILE__, __LINE__, #cond); \
	} while (0)

/* The value of a call that must not return -1. */
#define ok(call)                                              \
	({                                                    \
		__typeof__(call) _ret = (call);               \
		if (_ret == (__typeof__(call))-1)             \
			guest_die(__FILE__, __LINE__, #call); \
		_ret;                                         \
	})

/*
 * printf whose arguments are evaluated from left to right, so that errno and what a call filled in can
 * stand after the call.
 */
/* clang-format off */
#define SAY_0(f) printf(f)
#define SAY_1(f, pa) \
	({ __auto_type _a = (pa); \
	   printf(f, _a); })
#define SAY_2(f, pa, pb) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); \
	   printf(f, _a, _b); })
#define SAY_3(f, pa, pb, pc) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); \
	   printf(f, _a, _b, _c); })
#define SAY_4(f, pa, pb, pc, pd) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); __auto_type _d = (pd); \
	   printf(f, _a, _b, _c, _d); })
#define SAY_5(f, pa, pb, pc, pd, pe) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); __auto_type _d = (pd); __auto_type _e = (pe); \
	   printf(f, _a, _b, _c, _d, _e); })
#define SAY_6(f, pa, pb, pc, pd, pe, pf) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); __auto_type _d = (pd); __auto_type _e = (pe); __auto_type _f = (pf); \
	   printf(f, _a, _b, _c, _d, _e, _f); })
#define SAY_7(f, pa, pb, pc, pd, pe, pf, pg) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); __auto_type _d = (pd); __auto_type _e = (pe); __auto_type _f = (pf); __auto_type _g = (pg); \
	   printf(f, _a, _b, _c, _d, _e, _f, _g); })
#define SAY_8(f, pa, pb, pc, pd, pe, pf, pg, ph) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); __auto_type _d = (pd); __auto_type _e = (pe); __auto_type _f = (pf); __auto_type _g = (pg); __auto_type _h = (ph); \
	   printf(f, _a, _b, _c, _d, _e, _f, _g, _h); })
#define SAY_9(f, pa, pb, pc, pd, pe, pf, pg, ph, pi) \
	({ __auto_type _a = (pa); __auto_type _b = (pb); __auto_type _c = (pc); __auto_type _d = (pd); __auto_type _e = (pe); __auto_type _f = (pf); __auto_type _g = (pg); __auto_type _h = (ph); __auto_type _i = (pi); \
	   printf(f, _a, _b, _c, _d, _e, _f, _g, _h, _i); })
#define SAY_PICK(_0, _1, _2, _3, _4, _5, _6, _7, _8, _9, n, ...) n
#define say(...) SAY_PICK(__VA_ARGS__, SAY_9, SAY_8, SAY_7, SAY_6, SAY_5, SAY_4, SAY_3, SAY_2, SAY_1, SAY_0, 0)(__VA_ARGS__)
/* clang-format on */

/* Every line is a write of its own, also into a pipe. */
GUEST void guest_begin(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

GUEST uint32_t guest_sum(const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint32_t h = 2166136261u;

	while (len--)
		h = (h ^ *p++) * 16777619u;
	return h;
}

/* Bytes that depend on their place only. */
GUEST void guest_fill(void *buf, size_t len, unsigned int seed)
{
	uint8_t *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 8));
}

/* Waits for a child and says how it ended. */
GUEST void guest_reap(pid_t pid, const char *what)
{
	int st;

	ok(waitpid(pid, &st, 0));
	if (WIFEXITED(st))
		say("%s ended with %d\n", what, WEXITSTATUS(st));
	else
		say("%s was killed by %d\n", what, WTERMSIG(st));
}

/* All of it or not at all. */
GUEST void guest_write(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		must(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

GUEST size_t guest_read(int fd, void *buf, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = read(fd, (char *)buf + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		must(n >= 0);
		if (!n)
			break;
		have += (size_t)n;
	}
	return have;
}

#endif
