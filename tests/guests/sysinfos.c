/* SPDX-License-Identifier: MIT */
/* Guest: uname, sysinfo, rusage, limits, sysconf. */
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "guest.h"

int main(void)
{
	struct rlimit rl, old;
	struct utsname u;
	struct sysinfo si;
	struct rusage ru;
	char host[256];

	guest_begin();
	ok(uname(&u));
	say("%s %s <%s> <%s>\n", u.sysname, u.machine, u.release, u.nodename);
	ok(gethostname(host, sizeof(host)));
	say("host <%s>\n", host);
	ok(sysinfo(&si));
	say("up <%ld> free <%lu> processes <%u>\n", si.uptime, si.freeram, si.procs);
	ok(getrusage(RUSAGE_SELF, &ru));
	say("user <%ld> faults <%ld> rss <%ld>\n", (long)ru.ru_utime.tv_usec, ru.ru_minflt,
	    ru.ru_maxrss);
	ok(getrlimit(RLIMIT_NOFILE, &old));
	say("files <%lu> <%lu>\n", (unsigned long)old.rlim_cur, (unsigned long)old.rlim_max);
	rl = (struct rlimit){ 64, old.rlim_max };
	ok(setrlimit(RLIMIT_NOFILE, &rl));
	say("beyond %d %d\n", dup2(1, 64), errno);
	ok(prlimit(0, RLIMIT_NOFILE, &old, &rl));
	say("was %lu\n", (unsigned long)rl.rlim_cur);
	ok(getrlimit(RLIMIT_STACK, &rl));
	say("stack <%lu>\n", (unsigned long)rl.rlim_cur);
	say("page %ld processors <%ld> open <%ld>\n", sysconf(_SC_PAGESIZE),
	    sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_OPEN_MAX));
	return 0;
}
