/* SPDX-License-Identifier: MIT */
/* The fork module's device, as an agent uses it (kmod-fork/rrc_fork.h has what each step means): a container is
 * parked, copied, let go; the copy, a shadow, is looked at and dropped. */
#ifndef RRC_FORKDEV_H
#define RRC_FORKDEV_H

#include <stddef.h>
#include <stdint.h>

#include "../kmod-fork/rrc_fork.h"
#include "err.h"

/* 0, or what is missing: the module, the right to use it, its version. */
int rrc_forkdev_probe(struct rrc_error *err);

struct rrc_forkdev {
	int fd;
	int pidns; /* whom it forks; the caller's */
	int parked, forked;
	struct rrc_fork_process *procs; /* of the shadow; valid until it is dropped */
	size_t n;
	uint8_t *state;
	size_t state_size, state_room;
	uint64_t park_ns, copy_ns, pause_ns;
};

int rrc_forkdev_open(struct rrc_forkdev *d, int pidns, struct rrc_error *err);
void rrc_forkdev_close(struct rrc_forkdev *d);

/* All threads of the namespace stand. -EBUSY: not just now, and none does. */
int rrc_forkdev_park(struct rrc_forkdev *d, struct rrc_error *err);
/* Copies; procs and state are filled. */
int rrc_forkdev_fork(struct rrc_forkdev *d, struct rrc_error *err);
/* They go on; also after a failure, where the shadow goes. -ETIMEDOUT: they had gone on before. */
int rrc_forkdev_release(struct rrc_forkdev *d, struct rrc_error *err);
/* The shadow is whole. */
int rrc_forkdev_wait(struct rrc_forkdev *d, struct rrc_error *err);
/* Nobody stands, and there is no shadow. */
void rrc_forkdev_drop(struct rrc_forkdev *d);

/* The next record of that kind behind `after` (NULL: the first), or NULL. What the module gave is checked: a record
 * that is none ends the search. */
const struct rrc_fork_rec *rrc_forkdev_next(const struct rrc_forkdev *d,
					    const struct rrc_fork_rec *after,
					    enum rrc_fork_kind kind);

#endif
