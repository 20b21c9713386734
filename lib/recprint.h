/* SPDX-License-Identifier: MIT */
/* A record in clear text, much as strace shows calls, or as JSON; for people and for scripts. */
#ifndef RRC_RECPRINT_H
#define RRC_RECPRINT_H

#include <stdint.h>
#include <stdio.h>

#include "record.h"

/*
 * Prints one line for a record that rrc_rec_check passed; pos is its place in the log. Times are
 * seconds (JSON: "ns") since start_ns, for which 0 gives the recording host's CLOCK_MONOTONIC.
 * Returns 0, -ENOMEM or -EIO.
 */
int rrc_rec_print_since(FILE *out, const struct rrc_rec *rec, int json, uint64_t pos,
			uint64_t start_ns);

/* The same with start_ns 0. */
int rrc_rec_print(FILE *out, const struct rrc_rec *rec, int json, uint64_t pos);

/* Words for the enumerations, "?" if unknown: "syscall", "tcp". */
const char *rrc_rec_kind_name(unsigned int kind);
const char *rrc_fdkind_name(unsigned int fdkind);

#endif
