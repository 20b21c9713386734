/* SPDX-License-Identifier: MIT */
/*
 * Which pages the container's threads began to write, by their faults (bpf/writes.bpf.c). Where pages are
 * write-protected that is all that was written since, but for what the kernel writes by addresses of its own
 * (get_user_pages: O_DIRECT, process_vm_writev, …), which takes no fault: rrc_changes_unseen().
 */
#ifndef RRC_WRITELOG_H
#define RRC_WRITELOG_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct rrc_writelog;

/* Of the pid namespace with this inode number. NULL with *err set: this host cannot. */
struct rrc_writelog *rrc_writelog_open(uint64_t pidns, struct rrc_error *err);
void rrc_writelog_free(struct rrc_writelog *w);

/* Pages are about to be protected: what was written before is of no interest. Threads may be running. */
void rrc_writelog_mark(struct rrc_writelog *w);

/* How many faults there were since the mark: at least as many as pages that were written. */
uint64_t rrc_writelog_since(const struct rrc_writelog *w);

/* All threads are stopped. The pages that were written since the mark, by thread; the same ones may be there several
 * times. Their number, and *list is the log's own, valid until the next call; or -EOVERFLOW: there were
 * too many. */
struct rrc_written {
	uint64_t addr;
	uint32_t tid; /* inside the container */
};
long rrc_writelog_take(struct rrc_writelog *w, const struct rrc_written **list);

#endif
