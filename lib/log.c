/* SPDX-License-Identifier: MIT */
/* Log and event lines, see log.h. The only file of lib/ that prints. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "util.h"

static struct {
	const char *tool;
	enum rrc_log_level max;
	int events;
} setup = { "rrc", RRC_LOG_INFO, 1 }; /* set once by main, read only afterwards */

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

/* The line in one write, and no lock: a failover's process is forked while other threads tell of theirs. */
void rrc_event(const char *name, const char *fields, ...)
{
	char line[4096 + 64];
	const size_t room = sizeof(line) - sizeof("}\n");
	size_t n, head;
	va_list ap;

	if (!setup.events)
		return;
	head = (size_t)snprintf(line, room, "{\"event\":\"%s\",", name);
	va_start(ap, fields);
	n = head + (size_t)vsnprintf(line + head, room - head, fields, ap);
	va_end(ap);
	n = rrc_min(n, room - 1);
	if (n == head)
		n--; /* the comma */
	memcpy(line + n, "}\n", 2);
	for (size_t done = 0; done < n + 2;) {
		ssize_t w = write(STDOUT_FILENO, line + done, n + 2 - done);

		if (w < 0 && errno != EINTR)
			return; /* nobody listens */
		done += w > 0 ? (size_t)w : 0;
	}
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
