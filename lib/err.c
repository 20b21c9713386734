/* SPDX-License-Identifier: MIT */
/* The error model, see err.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

static int vfail(struct rrc_error *err, enum rrc_exit exit_code, int code, const char *fmt,
		 va_list ap)
{
	if (code > 0)
		code = -code;
	if (code == 0)
		code = -EINVAL;
	if (!err)
		return code;
	err->exit = exit_code;
	err->code = code;
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	return code;
}

int rrc_fail(struct rrc_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	code = vfail(err, RRC_EXIT_FAILED, code, fmt, ap);
	va_end(ap);
	return code;
}

int rrc_fail_exit(struct rrc_error *err, enum rrc_exit exit_code, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	code = vfail(err, exit_code, code, fmt, ap);
	va_end(ap);
	return code;
}

int rrc_wrap(struct rrc_error *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	size_t n;

	if (!err)
		return -EINVAL;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", old);
	return err->code;
}
