/* SPDX-License-Identifier: MIT */
/* Guest: processor and scheduling. */
#include <sched.h>
#include <sys/resource.h>

#include "guest.h"

int main(void)
{
	struct sched_param sp;
	struct timespec ts;
	unsigned int cpu, node;
	cpu_set_t set, one;
	int i, first = -1;

	guest_begin();
	for (i = 0; i < 5; i++) {
		ok(getcpu(&cpu, &node));
		say("on <%u> node <%u> again <%d>\n", cpu, node, sched_getcpu());
	}
	ok(sched_getaffinity(0, sizeof(set), &set));
	for (i = 0; i < CPU_SETSIZE && first < 0; i++)
		if (CPU_ISSET(i, &set))
			first = i;
	say("processors <%d>\n", CPU_COUNT(&set));
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	ok(sched_setaffinity(0, sizeof(one), &one));
	ok(sched_getaffinity(0, sizeof(set), &set));
	say("now %d\n", CPU_COUNT(&set));
	say("policy %d range %d..%d\n", ok(sched_getscheduler(0)),
	    sched_get_priority_min(SCHED_FIFO), sched_get_priority_max(SCHED_FIFO));
	ok(sched_getparam(0, &sp));
	say("priority %d\n", sp.sched_priority);
	ok(sched_rr_get_interval(0, &ts));
	say("slice <%ld>\n", ts.tv_nsec);
	errno = 0;
	say("nice %d", getpriority(PRIO_PROCESS, 0));
	ok(setpriority(PRIO_PROCESS, 0, 5));
	say(" %d\n", getpriority(PRIO_PROCESS, 0));
	say("yield %d\n", sched_yield());
	return 0;
}
