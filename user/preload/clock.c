/* SPDX-License-Identifier: MIT */
/* Clock readings and the CPU's number: what the vDSO answers without a call. Inside a wrapper (a signal
 * handler's reading) they are real calls, which the log of calls has. */
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "preload.h"
#include "clock.h"

#define NS 1000000000ULL

/* Others are real calls inside the vDSO too: the log of calls has those. */
static inline bool vdso_clock(clockid_t clock)
{
	return (unsigned int)clock < 32 &&
	       (1u << clock &
		(1u << CLOCK_REALTIME | 1u << CLOCK_MONOTONIC | 1u << CLOCK_MONOTONIC_RAW |
		 1u << CLOCK_REALTIME_COARSE | 1u << CLOCK_MONOTONIC_COARSE | 1u << CLOCK_BOOTTIME |
		 1u << CLOCK_TAI));
}

static long call(long nr, const void *a, const void *b, const void *c)
{
	int saved = errno;
	long r = syscall(nr, a, b, c);

	if (r < 0)
		r = -errno;
	errno = saved;
	return r;
}

static inline bool aside(uint32_t mode)
{
	return rrc_me.inside && mode != RRC_LL_OFF && mode != RRC_LL_UNSET;
}

/* Recording may have begun (and been cut and restored) while this thread was in the vDSO. */
static inline bool recorded(void)
{
	uint32_t mode = rrc_pl_mode();

	return mode == RRC_LL_RECORD || mode == RRC_LL_REPLAY;
}

/* In RECORD, after the fact. */
static inline void record(struct rrc_ll_event *e)
{
	if (rrc_unlikely(rrc_me.ended))
		return;
	rrc_me.inside = true;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	rrc_pl_plain(e);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	rrc_me.inside = false;
}

static bool RRC_SLOW replay(struct rrc_ll_event *e)
{
	bool answered;

	if (rrc_me.ended)
		return false;
	rrc_me.inside = true;
	answered = rrc_pl_replay_plain(e);
	rrc_me.inside = false;
	return answered;
}

static inline void put(struct timespec *ts, uint64_t ns)
{
	ts->tv_sec = (time_t)(ns / NS);
	ts->tv_nsec = (long)(ns % NS);
}

static inline __attribute__((always_inline)) int reading(uint8_t kind,
							 int (*vdso)(clockid_t, struct timespec *),
							 long nr, clockid_t clock,
							 struct timespec *ts)
{
	struct rrc_ll_event e = { .kind = kind, .lock = (uint16_t)clock };
	uint32_t mode = rrc_pl_mode();
	uint64_t ns;
	int r;

	if (rrc_unlikely(!vdso || !vdso_clock(clock) || !ts || aside(mode)))
		return (int)call(nr, (void *)(long)clock, ts, NULL);
	if (rrc_unlikely(mode == RRC_LL_REPLAY) && replay(&e)) {
		put(ts, e.value);
		return 0;
	}
	r = vdso(clock, ts);
	if (rrc_likely(recorded() && r == 0)) {
		ns = (uint64_t)ts->tv_sec * NS + (uint64_t)ts->tv_nsec;
		e.value = ns;
		record(&e);
		if (rrc_unlikely(e.value != ns))
			put(ts, e.value);
	}
	return r;
}

int rrc_pl_clock_gettime(clockid_t clock, struct timespec *ts)
{
	return reading(RRC_LL_CLOCK, rrc_pl_vdso.clock_gettime, SYS_clock_gettime, clock, ts);
}

int rrc_pl_clock_getres(clockid_t clock, struct timespec *ts)
{
	return reading(RRC_LL_CLOCK_RES, rrc_pl_vdso.clock_getres, SYS_clock_getres, clock, ts);
}

int rrc_pl_gettimeofday(struct timeval *tv, void *tz)
{
	struct rrc_ll_event e = { .kind = RRC_LL_GTOD };
	uint32_t mode = rrc_pl_mode();
	int r;

	if (rrc_unlikely(!rrc_pl_vdso.gettimeofday || !tv || aside(mode)))
		return (int)call(SYS_gettimeofday, tv, tz, NULL);
	if (rrc_unlikely(mode == RRC_LL_REPLAY) && replay(&e)) {
		if (tz)
			memset(tz, 0, sizeof(struct timezone));
		r = 0;
	} else {
		r = rrc_pl_vdso.gettimeofday(tv, tz);
		if (!recorded() || r)
			return r;
		e.value = (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
		record(&e);
	}
	tv->tv_sec = (time_t)(e.value / 1000000);
	tv->tv_usec = (suseconds_t)(e.value % 1000000);
	return r;
}

time_t rrc_pl_time(time_t *out)
{
	struct rrc_ll_event e = { .kind = RRC_LL_TIME };
	uint32_t mode = rrc_pl_mode();
	time_t t;

	if (rrc_unlikely(!rrc_pl_vdso.time || aside(mode))) {
		t = (time_t)call(SYS_time, NULL, NULL, NULL);
	} else if (rrc_unlikely(mode == RRC_LL_REPLAY) && replay(&e)) {
		t = (time_t)e.value;
	} else {
		t = rrc_pl_vdso.time(NULL);
		if (recorded()) {
			e.value = (uint64_t)t;
			record(&e);
			t = (time_t)e.value;
		}
	}
	if (out)
		*out = t;
	return t;
}

/* Readings of rseq's cpu_id go through sched_getcpu() in libc; a program that reads the field itself is
 * not seen. */
int rrc_pl_getcpu(unsigned int *cpu, unsigned int *node, void *cache)
{
	struct rrc_ll_event e = { .kind = RRC_LL_CPU };
	uint32_t mode = rrc_pl_mode();
	unsigned int c = 0, n = 0;
	int r;

	if (rrc_unlikely(!rrc_pl_vdso.getcpu || aside(mode)))
		return (int)call(SYS_getcpu, cpu, node, cache);
	if (rrc_unlikely(mode == RRC_LL_REPLAY) && replay(&e)) {
		r = 0;
	} else {
		r = rrc_pl_vdso.getcpu(&c, &n, NULL);
		e.value = c | (uint64_t)n << 32;
		if (recorded())
			record(&e);
	}
	if (cpu)
		*cpu = (unsigned int)e.value;
	if (node)
		*node = (unsigned int)(e.value >> 32);
	return r;
}

static int as_errno(int r)
{
	if (rrc_likely(r >= 0))
		return r;
	errno = -r;
	return -1;
}

RRC_EXPORT int clock_gettime(clockid_t clock, struct timespec *ts)
{
	return as_errno(rrc_pl_clock_gettime(clock, ts));
}

RRC_EXPORT int clock_getres(clockid_t clock, struct timespec *ts)
{
	return as_errno(rrc_pl_clock_getres(clock, ts));
}

RRC_EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	return as_errno(rrc_pl_gettimeofday(tv, tz));
}

RRC_EXPORT time_t time(time_t *out)
{
	return rrc_pl_time(out);
}

RRC_EXPORT int timespec_get(struct timespec *ts, int base)
{
	return base == TIME_UTC && rrc_pl_clock_gettime(CLOCK_REALTIME, ts) == 0 ? base : 0;
}

RRC_EXPORT int sched_getcpu(void)
{
	unsigned int cpu;
	int r = rrc_pl_getcpu(&cpu, NULL, NULL);

	return r ? as_errno(r) : (int)cpu;
}

RRC_EXPORT int getcpu(unsigned int *cpu, unsigned int *node)
{
	return as_errno(rrc_pl_getcpu(cpu, node, NULL));
}
