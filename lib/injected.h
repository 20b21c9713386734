/* SPDX-License-Identifier: MIT */
/*
 * What is told to the in-process recorder (user/preload/) when it comes into a program that runs already:
 * by user/inject.c, which stops the program's threads and has one of them call `librrc_injected`.
 */
#ifndef RRC_INJECTED_H
#define RRC_INJECTED_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define RRC_INJECTED_CALL   "librrc_injected" /* void (long threads) */
#define RRC_INJECTED_ANSWER "librrc_injected_answer" /* long: its result, see enum below */
#define RRC_INJECTED_THREADS \
	"librrc_injected_threads" /* struct rrc_injected_thread[RRC_INJECTED_MAX] */
#define RRC_INJECTED_MAX 512

/* A thread that stands still. One that waits inside libc, in an acquisition that it did not call through a
 * wrapper, has that operation made an operation of the recorder's when it returns: nothing is unordered. */
struct rrc_injected_thread {
	__u64 fs; /* its thread pointer */
	__u32 tid; /* inside its pid namespace */
	__u32 kind; /* what it waits in: MUTEX, COND, COND_TIMED, SEM … of enum rrc_ll_kind; or NONE */
	__u64 lock; /* what is hashed: the mutex (of a condition wait, too), the semaphore */
	__u64 slot; /* where on its stack the address is to which that acquisition returns */
};

enum rrc_injected_answer {
	RRC_INJECTED_DONE = 0,
	RRC_INJECTED_AGAIN, /* not at this moment: let them run on a little */
	RRC_INJECTED_LOADED, /* it was not called yet */
	RRC_INJECTED_SCOPE, /* the loader's list of objects was not found: those loaded later would be missed */
};

#endif
