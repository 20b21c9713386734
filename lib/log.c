/* SPDX-License-Identifier: MIT */
/* Log and event lines, see log.h. The only file of lib/ that prints. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

static struct {
	const char *tool;
	enum rrc_log_level max;
	int events;
} setup = { "rrc", RRC_LOG_INFO, 1 }; /* set once by main, read only afterwards */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void rrc_log_setup(const char *tool, enum rrc_log_level max, int events)
{
	setup.tool = tool;
	setup.events = events;
	setup.max = max;
}

void rrc_log(enum rrc_log_level level, const char *fmt, ...)
{
	static const char *const names[] = { "error: ", "warning: ", "", "debug: " };
	char line[1400];
	va_list ap;

	if (level > setup.max)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: %s%s\n", setup.tool, names[level], line);
}

int rrc_log_error(const struct rrc_error *err)
{
	rrc_log(RRC_LOG_ERROR, "%s", err->msg[0] ? err->msg : "unknown error");
	return err->exit ? err->exit : RRC_EXIT_FAILED;
}

void rrc_event(const char *name, const char *fields, ...)
{
	char line[4096];
	va_list ap;

	if (!setup.events)
		return;
	va_start(ap, fields);
	vsnprintf(line, sizeof(line), fields, ap);
	va_end(ap);
	pthread_mutex_lock(&lock);
	printf("{\"event\":\"%s\"%s%s}\n", name, line[0] ? "," : "", line);
	fflush(stdout);
	pthread_mutex_unlock(&lock);
}

const char *rrc_json_string(char *buf, unsigned long size, const char *s)
{
	unsigned long n = 0;

	if (size < 3)
		return "\"\"";
	buf[n++] = '"';
	for (; *s && n + 8 < size; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			buf[n++] = '\\';
			buf[n++] = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			n += (unsigned long)snprintf(buf + n, size - n, "\\u%04x", c);
		} else {
			buf[n++] = (char)c;
		}
	}
	buf[n++] = '"';
	buf[n] = 0;
	return buf;
}
