/* SPDX-License-Identifier: MIT */
/* Places where tests let hosts fail, see fault.h. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "log.h"

static const char *const names[RRC_FAULTS] = {
	[RRC_FAULT_BEGIN] = "begin",
	[RRC_FAULT_FROZEN] = "frozen",
	[RRC_FAULT_CUT] = "cut",
	[RRC_FAULT_RESUMED] = "resumed",
	[RRC_FAULT_SENT_HALF] = "sent-half",
	[RRC_FAULT_SENT] = "sent",
	[RRC_FAULT_ASKED] = "asked",
	[RRC_FAULT_HEARD] = "heard",
	[RRC_FAULT_WHOLE] = "whole",
	[RRC_FAULT_ADVANCED] = "advanced",
	[RRC_FAULT_COMMITTED] = "committed",
	[RRC_FAULT_ANSWERED] = "answered",
	[RRC_FAULT_DIVERGED] = "diverged",
};

enum rrc_fault rrc_fault_armed; /* set once, before there are threads */
static unsigned int times_left = 1; /* to be passed; changed atomically */

int rrc_fault_setup(void)
{
	const char *want = getenv("RRC_FAULT"), *colon;
	size_t len;

	if (!want)
		return 0;
	colon = strchr(want, ':');
	len = colon ? (size_t)(colon - want) : strlen(want);
	times_left = colon ? (unsigned int)strtoul(colon + 1, NULL, 10) : 1;
	for (int i = 1; i < RRC_FAULTS; i++) {
		if (strlen(names[i]) != len || strncmp(names[i], want, len))
			continue;
		rrc_fault_armed = (enum rrc_fault)i;
		return 0;
	}
	return -1;
}

/* It is passed, for the time that counts. */
static int is_it(enum rrc_fault f)
{
	if (__atomic_sub_fetch(&times_left, 1, __ATOMIC_RELAXED))
		return 0;
	rrc_event("fault", "\"place\":\"%s\"", names[f]);
	return 1;
}

void rrc_fault_reached(enum rrc_fault f)
{
	if (is_it(f))
		raise(SIGSTOP);
}

int rrc_fault_fails(enum rrc_fault f)
{
	return rrc_fault_armed == f && is_it(f);
}
