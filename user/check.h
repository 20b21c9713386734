/* SPDX-License-Identifier: MIT */
/* `rrc-trace --check`: a table of what this host offers, what is missing and how to get it. */
#ifndef RRC_CHECK_H
#define RRC_CHECK_H

#include <stdio.h>

#include "err.h"

/* Prints the table (or JSON). 0: all that is needed is there; -ENOSYS: something needed is missing, err
 * (exit code 3) names it. Takes up to a second. */
int rrc_check_print(FILE *f, int json, struct rrc_error *err);

#endif
