/* SPDX-License-Identifier: MIT */
/* Guest: clocks of all kinds, a thousand readings. */
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

#include "guest.h"

int main(void)
{
	static const struct {
		clockid_t id;
		const char *name;
	} all[] = {
		{ CLOCK_REALTIME, "realtime" },
		{ CLOCK_MONOTONIC, "monotonic" },
		{ CLOCK_BOOTTIME, "boottime" },
		{ CLOCK_MONOTONIC_RAW, "raw" },
		{ CLOCK_REALTIME_COARSE, "realtime coarse" },
		{ CLOCK_MONOTONIC_COARSE, "monotonic coarse" },
		{ CLOCK_TAI, "tai" },
		{ CLOCK_PROCESS_CPUTIME_ID, "process" },
		{ CLOCK_THREAD_CPUTIME_ID, "thread" },
	};
	struct timespec ts, last = { 0, 0 };
	struct timeval tv;
	struct tms tms;
	clockid_t cpu;
	size_t i;
	int back = 0;

	guest_begin();
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		ok(clock_gettime(all[i].id, &ts));
		say("%s <%ld.%09ld>", all[i].name, (long)ts.tv_sec, ts.tv_nsec);
		ok(clock_getres(all[i].id, &ts));
		say(" resolution <%ld>\n", ts.tv_nsec);
	}
	ok(gettimeofday(&tv, NULL));
	say("gettimeofday <%ld.%06ld>\n", (long)tv.tv_sec, (long)tv.tv_usec);
	say("time <%ld>\n", (long)time(NULL));
	say("times <%ld> <%ld>\n", (long)times(&tms), (long)tms.tms_utime);
	say("clock <%ld>\n", (long)clock());
	must(clock_getcpuclockid(0, &cpu) == 0);
	ok(clock_gettime(cpu, &ts));
	say("own <%ld>\n", ts.tv_nsec);
	say("bad %d %d\n", clock_gettime(99, &ts), errno);
	for (i = 0; i < 1000; i++) {
		ok(clock_gettime(CLOCK_MONOTONIC, &ts));
		back += ts.tv_sec < last.tv_sec ||
			(ts.tv_sec == last.tv_sec && ts.tv_nsec < last.tv_nsec);
		last = ts;
	}
	say("went back %d, last <%ld.%09ld>\n", back, (long)last.tv_sec, last.tv_nsec);
	return 0;
}
