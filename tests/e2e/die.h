/* SPDX-License-Identifier: MIT */
/* For test programs that end at the first thing that goes wrong, and say what it was. */
#ifndef TESTS_DIE_H
#define TESTS_DIE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(stdout);
	_exit(1); /* a child does not do what its parent is to do at the end */
}

#define CK(x)                                                             \
	({                                                                \
		__typeof__(x) _r = (x);                                   \
		if (_r < 0)                                               \
			die("%d: %s: %s", __LINE__, #x, strerror(errno)); \
		_r;                                                       \
	})

#endif
