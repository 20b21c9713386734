/* SPDX-License-Identifier: MIT */
/* What the container of the fork module's tests keeps at fixed addresses, for container.c and for those
 * that look into it and into its shadow. */
#ifndef RRC_KMOD_CONTAINER_H
#define RRC_KMOD_CONTAINER_H

#include <stdint.h>

/* Ids in the container are those of the order of birth. */
enum {
	INIT = 1,
	WORKER = 2,
	RECEIVER = 3,
	FORKER = 4,
	BASE_PROCESSES = 4
};

/* Shared by all processes; each cell grows as long as somebody goes on. */
#define SHARED_AT 0x200000000000ull
enum progress {
	THREADS_BORN,
	HANDOFFS,
	PIPE_TOKENS,
	EVENTS,
	ALARMS,
	TIMER_SIGNALS,
	SIGNALS_SENT,
	VFORKS,
	FORKS,
	SPINS,
	FILE_WRITES,
	SHARED_WRITES,
	PROGRESS
};
/* Of these the plain container has something: its first process and the worker. */
#define PLAIN_PROGRESS                                                                           \
	(1u << HANDOFFS | 1u << ALARMS | 1u << TIMER_SIGNALS | 1u << SPINS | 1u << FILE_WRITES | \
	 1u << SHARED_WRITES)
struct shared {
	volatile uint64_t progress[PROGRESS];
	volatile uint64_t shared_n; /* the worker's, and then its private_n */
	volatile uint64_t wrong; /* the container itself found something */
};

/* Each process's own. */
#define PRIVATE_AT 0x210000000000ull
struct private
{
	volatile uint64_t a, b; /* b follows a */
	volatile uint64_t ahead, behind; /* written by two threads: behind was read from ahead */
	volatile uint64_t private_n;
	volatile uint64_t sent, received;
	volatile uint64_t written; /* numbers in the file */
	volatile int file_fd, pipe_fd, spinner_tid;
	volatile uint64_t pattern; /* in the spinner's vector register, between these places: */
	volatile uint64_t loop, loop_end;
};

#endif
