/* SPDX-License-Identifier: MIT */
/*
 * CRIU leaves restored processes stopped, one after the other, and a parent that has not stopped yet is
 * told of it by SIGCHLD: it may stop at the first instruction of its handler, for a signal that the
 * program never got on the primary.
 */
#ifndef RRC_STOPFRAME_H
#define RRC_STOPFRAME_H

#include <sys/types.h>

#include "record.h"

/* Takes a seized and stopped thread out of such a handler, if its next record is of the call that the
 * handler interrupted. 1 if it was in one, 0 if not, or -errno. */
int rrc_leave_stop_handler(pid_t tid, const struct rrc_rec *next);

#endif
