// SPDX-License-Identifier: MIT
/*
 * A server that races by design: its threads share memory without locks or barriers, and what they
 * happen to see decides its answers. A background thread races at a given rate, and workers race with
 * it and with each other at each request that asks for it. It remembers what it has answered, so that a client can
 * tell a server that was replayed otherwise: see race_load.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

#define PORT	7000
#define WORKERS 4
#define RING	65536 /* structures that the publisher goes through before it comes round again */

struct published {
	uint64_t number, check;
};

/* Plain memory on purpose: volatile keeps the compiler from making one access of many, nothing
 * else. */
static volatile uint64_t counter, flag, seen;
static struct published ring[RING];
static struct published *volatile current = ring;

/* What each client was told; a slot is used by one connection at a time. */
static struct {
	uint64_t requests, chain;
} slots[RACE_SLOTS];

static uint64_t bump(void)
{
	uint64_t n = counter;

	counter = n + 1;
	return n + 1;
}

/* Sets the flag for the thread that polls it; answers how often that has noticed. */
static uint64_t raise_flag(void)
{
	flag = 1;
	return seen;
}

static void poll_flag(void)
{
	if (flag) {
		flag = 0;
		seen = seen + 1;
	}
}

static void publish(void)
{
	static uint64_t n;
	struct published *p = &ring[++n % RING];

	p->number = n;
	p->check = ~n;
	current = p;
}

static uint64_t look(void)
{
	struct published *p = current;

	return p->number == ~p->check ? p->number : 0;
}

static void bump_alone(void)
{
	bump();
}

static const struct kind {
	const char *name;
	uint64_t (*answer)(void);
	void (*background)(void);
} kinds[] = {
	{ "counter", bump, bump_alone },
	{ "flag", raise_flag, poll_flag },
	{ "pointer", look, publish },
};

struct server {
	const struct kind *kind;
	long rate;
	int listener;
};

static void *run_background(void *arg)
{
	struct server *s = arg;
	struct timespec pause = { s->rate == 1, s->rate == 1 ? 0 : 1000000000 / s->rate };

	for (;;) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		s->kind->background();
	}
	return NULL;
}

/* "new SLOT": the first answer; "add SLOT": one more; "rac SLOT": one more, by a race; "get SLOT":
 * how far it is. All are answered with requests, value, chain. */
static size_t answer(const struct server *s, const char *line, char *out)
{
	unsigned long slot = strtoul(line + 4, NULL, 10) % RACE_SLOTS;
	uint64_t value = 0;

	if (*line == 'n')
		slots[slot].requests = slots[slot].chain = 0;
	if (*line != 'g') {
		slots[slot].requests++;
		value = *line == 'r' ? s->kind->answer() : slots[slot].requests;
		slots[slot].chain = race_chain(slots[slot].chain, value);
	}
	return (size_t)sprintf(out, "%llu %llu %llu\n", (unsigned long long)slots[slot].requests,
			       (unsigned long long)value, (unsigned long long)slots[slot].chain);
}

struct client {
	int fd;
	size_t len;
	char buf[4096];
};

static void serve(const struct server *s, struct client *c)
{
	char out[sizeof(c->buf) * 8], *line = c->buf, *nl;
	ssize_t n = read(c->fd, c->buf + c->len, sizeof(c->buf) - c->len);
	size_t used = 0;

	if (n <= 0) {
		close(c->fd);
		free(c);
		return;
	}
	c->len += (size_t)n;
	while ((nl = memchr(line, '\n', c->len - (size_t)(line - c->buf)))) {
		*nl = 0;
		if (nl - line >= 5)
			used += answer(s, line, out + used);
		line = nl + 1;
	}
	c->len -= (size_t)(line - c->buf);
	memmove(c->buf, line, c->len);
	if (used && write(c->fd, out, used) != (ssize_t)used)
		shutdown(c->fd, SHUT_RDWR);
}

static void accept_one(const struct server *s, int epfd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct client *c;
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->fd = fd;
	ev.data.ptr = c;
	epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
}

static void *run_worker(void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE }, got;
	struct server *s = arg;
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epfd, EPOLL_CTL_ADD, s->listener, &ev);
	for (;;) {
		if (epoll_wait(epfd, &got, 1, -1) != 1)
			continue;
		if (got.data.ptr)
			serve(s, got.data.ptr);
		else
			accept_one(s, epfd);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct server s = { .listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) };
	pthread_t thread;
	int one = 1, i;

	for (i = 0; argc == 3 && i < (int)(sizeof(kinds) / sizeof(*kinds)); i++)
		if (!strcmp(argv[1], kinds[i].name))
			s.kind = &kinds[i];
	s.rate = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	if (!s.kind || s.rate < 1 || s.rate > 1000000) {
		fprintf(stderr, "usage: race_server counter|flag|pointer RATE\n"
				"RATE: racy accesses a second by the background thread\n");
		return 2;
	}
	setsockopt(s.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s.listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(s.listener, 128)) {
		perror("race_server: port 7000");
		return 1;
	}
	if (pthread_create(&thread, NULL, run_background, &s))
		return 1;
	for (i = 1; i < WORKERS; i++)
		if (pthread_create(&thread, NULL, run_worker, &s))
			return 1;
	run_worker(&s);
	return 0;
}
