/* SPDX-License-Identifier: MIT */
/* What the files of the exec watcher share: execwatch.c (events, commands), watchstop.c (stopping all threads),
 * again.c (waits that this broke off). */
#ifndef RRC_EXECWATCH_INT_H
#define RRC_EXECWATCH_INT_H

#include <pthread.h>
#include <signal.h>

#include "execwatch.h"

#define RRC_CALL_STOP (SIGTRAP | 0x80)

enum rrc_watch_command {
	CMD_NONE,
	CMD_RELEASE,
	CMD_RESUME,
	CMD_FREEZE,
	CMD_SETTLED,
	CMD_SYNC,
	CMD_STOP
};

enum rrc_watch_starting {
	START_NOT,
	START_EXEC,
	START_FORK
};

/* What becomes of a thread that stopped. */
enum rrc_watch_way {
	WATCH_ON, /* it goes on */
	WATCH_RELEASE, /* it stays, whatever it stopped for */
	WATCH_FREEZE, /* it goes on until it stops because we asked */
};

struct rrc_tracee {
	pid_t tid;
	int stopped; /* at a ptrace stop while releasing or freezing; sig is what to go on with */
	int sig;
	int group; /* … a group stop of the program's own */
	uint64_t began_ns,
		end_ns; /* the wait that was broken off last: since when, until when (0: for ever), … */
	uint64_t rest; /* … and what it was told last */
	enum rrc_watch_starting starting; /* until it records by itself each call is looked at */
};

struct rrc_execwatch {
	uint64_t pidns;
	struct rrc_execwatch_calls calls;
	pthread_t thread;
	int command_fd, sigchld_fd;
	pthread_mutex_t lock;
	pthread_cond_t done;
	enum rrc_watch_command command;
	struct rrc_freeze *freeze; /* of CMD_FREEZE */
	int undo, result;
	pid_t init;
	int init_reaped, init_status;
	struct rrc_error err;
	struct rrc_tracee *tracees;
	size_t count, size;
};

/* Takes in all stops that are there. */
void rrc_watch_reap(struct rrc_execwatch *w, enum rrc_watch_way way);
void rrc_watch_drain_fd(int fd);

/* A stopped thread's wait that our stop broke off is made again (again.c). */
void rrc_watch_again(struct rrc_execwatch *w, struct rrc_tracee *t);

/* Commands, in the watcher's thread. */
int rrc_watch_release(struct rrc_execwatch *w);
int rrc_watch_freeze(struct rrc_execwatch *w);
int rrc_watch_unfit(struct rrc_execwatch *w);

#endif
