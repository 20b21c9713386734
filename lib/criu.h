/* SPDX-License-Identifier: MIT */
/*
 * Runs CRIU: dump of a running container with our cut as a hook inside, restore into a stopped tree.
 * CRIU is a program, not a library, here: which build works depends on the kernel, and a private one
 * runs through its own loader.
 */
#ifndef RRC_CRIU_H
#define RRC_CRIU_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

/* Points inside a dump, in their order. */
enum rrc_criu_point {
	RRC_CRIU_FROZEN, /* every thread is stopped, nothing was injected yet: the cut */
	RRC_CRIU_DUMPED, /* all is written, the parasites are gone, threads still stopped */
	RRC_CRIU_POINTS,
};

struct rrc_criu_dump {
	const char *criu; /* the program, from rrc_host_criu */
	pid_t init; /* root task, as seen from here */
	const char *images; /* directory, must exist and be empty */
	const char *run_dir; /* for the hook script and its two fifos; private to the caller */
	int netns; /* for CRIU to run in: not the container's, so that its hooks run
					 * and it leaves that one alone; with lo up */
	uint64_t container_netns; /* inode number of the container's network namespace */
	const char *const *external; /* further --external values, NULL-terminated, or NULL */
	int own_mounts; /* has its own mount namespace */
	int skip_unaccepted; /* connections that wait in an accept queue are known otherwise; else they make
			      * the dump fail */
	/* Called in the caller's thread while CRIU waits; non-zero makes the dump fail. */
	int (*hook)(void *ctx, enum rrc_criu_point point, struct rrc_error *err);
	void *ctx;
};

/* Dumps and leaves running. Blocks until CRIU is done. On failure the threads run on. */
int rrc_criu_dump(const struct rrc_criu_dump *d, struct rrc_error *err);

struct rrc_criu_restore {
	const char *criu;
	const char *images;
	const char *log_dir; /* where restore.log goes (images may be read-only) */
	const char *root; /* root file system for it; NULL: ours */
	int netns; /* descriptor of the network namespace that it gets */
	const char *const *inherit_key; /* what the descriptors below stand for: "pipe:[123]" */
	const int *inherit_fd;
	size_t inherits;
	int own_mounts;
};

/* Restores; every thread of it is then in a group stop with no instruction executed. Returns the
 * root task's id as seen from here. */
pid_t rrc_criu_restore(const struct rrc_criu_restore *r, struct rrc_error *err);

/* Writes the image of the time namespace, so that the restored clocks start at these values (what
 * the container would have read, in ns). */
int rrc_criu_set_clock(const char *images, uint64_t mono_ns, uint64_t boot_ns,
		       struct rrc_error *err);

#endif
