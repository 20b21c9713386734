/* SPDX-License-Identifier: MIT */
/* The control socket of a running rrc-trace: how `rrc-trace --detach` reaches it. */
#ifndef RRC_CONTROL_H
#define RRC_CONTROL_H

#include "err.h"

struct rrc_control;

/* Listens at run_dir/control. -EBUSY when another rrc-trace answers there. */
struct rrc_control *rrc_control_open(const char *run_dir, struct rrc_error *err);
void rrc_control_close(struct rrc_control *c);
int rrc_control_fd(const struct rrc_control *c);

/* 1: somebody asked for the end of protection; the answer is due at rrc_control_answer. */
int rrc_control_read(struct rrc_control *c);

/* "" or what went wrong. */
void rrc_control_answer(struct rrc_control *c, const char *text);

/* The other end: asks, and waits for the answer. -ENOENT: nobody is there. */
int rrc_control_detach(const char *run_dir, struct rrc_error *err);

#endif
