/* SPDX-License-Identifier: MIT */
/*
 * Starts the command of `rrc-trace … -- CMD` in a pid namespace of its own, so that it can be
 * recorded, checkpointed and restored, and holds it right before its execve for the first checkpoint.
 *
 * In the namespace: process 1 is rrc-init (user/init/init.c), a session leader that reaps and passes
 * the exit status on; process 2 is the command. Mount and network namespaces stay the caller's,
 * address randomisation is off. Standard input is the caller's if it is a file or a pipe, else
 * /dev/null; standard output and error are pipes, relayed by two threads to the caller's own, since a
 * descriptor that leads outside (a terminal, a socket) could not be checkpointed. No other
 * descriptor is inherited.
 *
 * CRIU: the pipes dump as they are; nothing has to be declared (--external) at the dump. A restore
 * makes new pipes with nobody at the other end, which is right for replay (writes are emulated). To
 * connect them instead: `--inherit-fd 'fd[N]:pipe:[INO]'` with out_ino, err_ino and the write end of a
 * pipe as N.
 */
#ifndef RRC_SPAWN_H
#define RRC_SPAWN_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct rrc_spawn_relay {
	int from, to; /* from is closed when the relay ends */
	pthread_t thread;
	int running;
};

struct rrc_spawn {
	pid_t init; /* process 1 of the namespace, from here; a child of the caller */
	pid_t cmd; /* the command, from here */
	int pidfd; /* of init: readable when all is over */
	uint64_t pidns;
	uint64_t out_ino, err_ino; /* of the pipes that are the command's descriptors 1 and 2 */
	struct rrc_spawn_relay relay[2];
};

/* Starts argv (argv[0] is looked for in PATH) up to right before its execve; environment and working
 * directory are the caller's. A command that cannot be found is an error here, exit code 2. */
int rrc_spawn(struct rrc_spawn *s, char *const argv[], struct rrc_error *err);

/* Lets the command go on to its execve. */
int rrc_spawn_start(struct rrc_spawn *s, struct rrc_error *err);

/* Exit code to pass on (128 + signal if one ended it) from the status of init as waitpid gave it: for
 * a caller that reaps by itself. */
int rrc_spawn_exit_code(int wstatus);

/* Waits until the command is over and its output is relayed; frees s. Returns its exit code. A caller
 * that reaped init already gives the status in *wstatus, else NULL. */
int rrc_spawn_finish(struct rrc_spawn *s, const int *wstatus, struct rrc_error *err);

/* Ends the namespace with all that is in it, and frees s. Of a zeroed s: does nothing. */
void rrc_spawn_kill(struct rrc_spawn *s);

#endif
