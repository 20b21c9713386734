/* SPDX-License-Identifier: MIT */
/* A thread follows its connection's packets, see steer.h. */
#include <sys/socket.h>

#include "steer.h"

#define RRC_LOOK_NS 20000000ull

void rrc_steer_begin(struct rrc_steer *s)
{
	s->cpu = s->seen = -1;
	s->next = 0;
	if (sched_getaffinity(0, sizeof(s->home), &s->home))
		CPU_ZERO(&s->home);
}

void rrc_steer_follow(struct rrc_steer *s, int fd, uint64_t now)
{
	socklen_t len = sizeof(int);
	int cpu, settled;
	cpu_set_t one;

	if (now < s->next)
		return;
	s->next = now + RRC_LOOK_NS;
	if (getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &len))
		return;
	settled = cpu == s->seen;
	s->seen = cpu;
	if (!settled || cpu == s->cpu || cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &s->home))
		return;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (!sched_setaffinity(0, sizeof(one), &one))
		s->cpu = cpu;
}

void rrc_steer_end(struct rrc_steer *s)
{
	if (s->cpu >= 0)
		sched_setaffinity(0, sizeof(s->home), &s->home);
	s->cpu = -1;
}
