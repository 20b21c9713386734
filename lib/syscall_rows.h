/* SPDX-License-Identifier: MIT */
/* The tables behind lib/syscalls.c; everybody else asks its functions. */
#ifndef RRC_SYSCALL_ROWS_H
#define RRC_SYSCALL_ROWS_H

#include <stddef.h>

#include "record.h"
#include "syscalls.h"

extern const struct rrc_sysrow rrc_syscall_rows[RRC_NSYS];
extern const struct rrc_cmdrow rrc_command_rows[];
extern const size_t rrc_command_count;

#endif
