/* SPDX-License-Identifier: MIT */
/*
 * What the checked clients share: time, a latency histogram, the longest gap between replies, and
 * connecting. A header of static functions, since each client is one small program.
 */
#ifndef RRC_TESTS_LOAD_H
#define RRC_TESTS_LOAD_H

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000ull
#define MS 1000000ull

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static inline void *must(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static inline double arg_number(const char *name, const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || v < min || v > max)
		die("%s: '%s' is not a number from %g to %g", name, text, min, max);
	return v;
}

/* splitmix64: small, good enough, and the same everywhere for one seed. */
static inline uint64_t rnd(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* Latencies in buckets of 1/64 of a power of two: 1.6 % wide at most, from 1 ns to minutes. */
#define HIST_SUB 64
struct hist {
	uint64_t n, max;
	double sum;
	uint64_t bucket[58 * HIST_SUB];
};

static inline unsigned int hist_index(uint64_t v)
{
	int shift;

	if (v < 2 * HIST_SUB)
		return (unsigned int)v;
	shift = 57 - __builtin_clzll(v); /* v >> shift lies in 64..127 */
	return (unsigned int)(shift * HIST_SUB + (int)(v >> shift));
}

static inline void hist_add(struct hist *h, uint64_t v)
{
	h->n++;
	h->sum += (double)v;
	if (v > h->max)
		h->max = v;
	h->bucket[hist_index(v)]++;
}

/* The upper end of the bucket below which the share q of all values lies. */
static inline uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->n), seen = 0;
	unsigned int i;

	for (i = 0; i < sizeof(h->bucket) / sizeof(h->bucket[0]); i++) {
		seen += h->bucket[i];
		if (seen > want || (seen && seen == h->n)) {
			if (i < 2 * HIST_SUB)
				return i;
			return ((uint64_t)(i % HIST_SUB + HIST_SUB + 1) << (i / HIST_SUB - 1)) - 1;
		}
	}
	return h->max;
}

static inline void hist_json(const struct hist *h, FILE *f)
{
	fprintf(f,
		"\"latency_ns\":{\"mean\":%.0f,\"p50\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu}",
		h->n ? h->sum / (double)h->n : 0.0, (unsigned long long)hist_quantile(h, 0.5),
		(unsigned long long)hist_quantile(h, 0.99),
		(unsigned long long)hist_quantile(h, 0.999), (unsigned long long)h->max);
}

/* How long nothing was heard although something was asked for. */
struct gap {
	uint64_t since; /* 0: nothing is awaited */
	uint64_t longest;
};

static inline void gap_heard(struct gap *g, uint64_t now, bool more)
{
	if (g->since && now > g->since && now - g->since > g->longest)
		g->longest = now - g->since;
	g->since = more ? now : 0;
}

static inline void gap_asked(struct gap *g, uint64_t now)
{
	if (!g->since)
		g->since = now;
}

/* Starts to connect; returns a non-blocking socket or -1 with errno. */
static inline int start_connect(const char *host, const char *port)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *ai;
	int fd, one = 1, err;

	if (getaddrinfo(host, port, &hint, &ai))
		die("%s port %s is not a numeric address", host, port);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) && errno != EINPROGRESS) {
		err = errno;
		close(fd);
		fd = -1;
		errno = err;
	}
	freeaddrinfo(ai);
	return fd;
}

#endif
