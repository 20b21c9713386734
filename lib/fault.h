/* SPDX-License-Identifier: MIT */
/*
 * Numbered places at which a test may let a host fail. RRC_FAULT=NAME:N in the environment arms one: when it is
 * passed for the Nth time, the event "fault" says so and the process stops (SIGSTOP) until the test has done with
 * its hosts what it wants to. Without the variable a place costs a load and a branch.
 */
#ifndef RRC_FAULT_H
#define RRC_FAULT_H

enum rrc_fault {
	RRC_FAULT_NONE = 0,
	/* primary */
	RRC_FAULT_BEGIN, /* a checkpoint begins; nothing was touched */
	RRC_FAULT_FROZEN, /* every thread stands, the cut is not in the log */
	RRC_FAULT_CUT, /* … and is */
	RRC_FAULT_RESUMED, /* they run again; nothing was sent */
	RRC_FAULT_SENT_HALF, /* the manifest is sent, of the files only the first bytes */
	RRC_FAULT_SENT, /* all is sent but for the word that it is all */
	RRC_FAULT_ASKED, /* the commit is asked for */
	RRC_FAULT_HEARD, /* … and confirmed; packets that wait for it are still held */
	/* backup */
	RRC_FAULT_WHOLE, /* all has arrived, nothing is changed */
	RRC_FAULT_ADVANCED, /* the warm copy is at the new checkpoint, the log at the old one */
	RRC_FAULT_COMMITTED, /* the new one counts, the primary does not know */
	RRC_FAULT_ANSWERED, /* the answer is sent; a warm copy may be being made */
	RRC_FAULT_DIVERGED, /* a replay is at the end of the log, and counts as one that went another way */
	RRC_FAULTS,
};

/* Once, from main. Not 0: RRC_FAULT names no place. */
int rrc_fault_setup(void);

void rrc_fault_reached(enum rrc_fault f);

/* The armed place, or RRC_FAULT_NONE. */
extern enum rrc_fault rrc_fault_armed;

static inline void rrc_fault(enum rrc_fault f)
{
	if (__builtin_expect(rrc_fault_armed == f, 0))
		rrc_fault_reached(f);
}

/* Where nobody stops: true if it is to have failed here. */
int rrc_fault_fails(enum rrc_fault f);

#endif
