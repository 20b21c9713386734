/* SPDX-License-Identifier: MIT */
/* Log lines to stderr and event lines (JSON) to stdout. Never called from the hot path. */
#ifndef RRC_LOG_H
#define RRC_LOG_H

#include "err.h"

enum rrc_log_level {
	RRC_LOG_ERROR,
	RRC_LOG_WARN,
	RRC_LOG_INFO,
	RRC_LOG_DEBUG
};

/* Once, from main: what is printed, the name that lines begin with, and whether there are event lines
 * (not where standard output belongs to a command that we run). */
void rrc_log_setup(const char *tool, enum rrc_log_level max, int events);

void rrc_log(enum rrc_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints an error at the edge and returns its exit code. */
int rrc_log_error(const struct rrc_error *err);

/* One line {"event":"NAME",…} on stdout, flushed. `fields` is a printf format that yields JSON
 * members ("\"epoch\":%u"); string values must have been made safe with rrc_json_string. */
void rrc_event(const char *name, const char *fields, ...) __attribute__((format(printf, 2, 3)));

/* Writes s as a JSON string, quotes included, into buf; cut if it does not fit. Returns buf. */
const char *rrc_json_string(char *buf, unsigned long size, const char *s);

#endif
