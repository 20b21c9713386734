/* SPDX-License-Identifier: MIT */
/*
 * The error model: an error is filled where the failure is, gets context on its way up, and is
 * printed once, at the edge (main). Apart from log.h because library code never prints.
 */
#ifndef RRC_ERR_H
#define RRC_ERR_H

/* Exit codes of every tool. */
enum rrc_exit {
	RRC_EXIT_OK = 0,
	RRC_EXIT_FAILED = 1,
	RRC_EXIT_USAGE = 2,
	RRC_EXIT_HOST = 3, /* this host lacks something; the message says what and how to get it */
	RRC_EXIT_DIVERGED = 4, /* replay asked for something that the log does not have there */
};

struct rrc_error {
	int exit; /* enum rrc_exit; 0 while no error is set */
	int code; /* negative errno */
	char msg[1024];
};

/* Sets *err (may be NULL) with exit code RRC_EXIT_FAILED; returns code (a negative errno). */
int rrc_fail(struct rrc_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Like rrc_fail, with an exit code of the caller's choice. */
int rrc_fail_exit(struct rrc_error *err, enum rrc_exit exit_code, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "context: " before the message that is there; returns err->code. */
int rrc_wrap(struct rrc_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
