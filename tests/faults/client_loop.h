/* SPDX-License-Identifier: MIT */
/*
 * The event loop of the checked clients: keeps requests in flight on every connection, has each
 * reply checked, and in the end reads everything back over the same connections and over a fresh
 * one. One thread and one epoll: it must not be the bottleneck on a machine that it shares.
 */
#ifndef RRC_TESTS_CLIENT_LOOP_H
#define RRC_TESTS_CLIENT_LOOP_H

#include "client.h"

#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>

static void poll_for(struct load *l, struct conn *c, bool out)
{
	struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };

	if (c->polling_out != out)
		epoll_ctl(l->epfd, EPOLL_CTL_MOD, c->fd, &ev);
	c->polling_out = out;
}

static void lose_conn(struct load *l, struct conn *c, const char *why)
{
	if (c->dead)
		return;
	c->dead = true;
	l->inflight -= c->inflight;
	close(c->fd);
	if (l->phase == READ_FRESH)
		l->fresh_failed = true;
	else
		l->reset++;
	problem(l, "connection %d: %s with %u requests unanswered", c->id, why, c->inflight);
}

static void flush(struct load *l, struct conn *c)
{
	ssize_t n;

	while (!c->dead && c->connected && c->out.start < c->out.end) {
		n = send(c->fd, c->out.buf + c->out.start, c->out.end - c->out.start, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			poll_for(l, c, true);
			return;
		}
		if (n < 0) {
			lose_conn(l, c, strerror(errno));
			return;
		}
		c->out.start += (size_t)n;
	}
	if (c->out.start == c->out.end)
		c->out.start = c->out.end = 0;
	if (c->connected && !c->dead)
		poll_for(l, c, false);
}

static unsigned int choose_op(struct load *l)
{
	unsigned int x = (unsigned int)(rnd(&l->seed) % l->weights);
	unsigned int op = 0;

	while (x >= l->weight[op])
		x -= l->weight[op++];
	return op;
}

/* The time at which the load may send request number issued; 0: now. */
static uint64_t next_slot(const struct load *l)
{
	return l->rate ? l->start + l->issued * NS / l->rate : 0;
}

static bool next_request(struct load *l, struct conn *c, uint64_t now, struct request *r)
{
	switch (l->phase) {
	case LOAD:
		if (l->stop || (l->limit && l->issued >= l->limit) || next_slot(l) > now)
			return false;
		*r = (struct request){ .owner = c, .op = choose_op(l) };
		l->proto->request(l, c, r);
		l->issued++;
		return true;
	case READ_SAME:
		return l->proto->read(l, c, c, r);
	default:
		while (l->fresh_owner < (uint32_t)l->connections) {
			if (l->proto->read(l, c, &l->conn[l->fresh_owner], r))
				return true;
			l->fresh_owner++;
			c->cursor = 0;
		}
		return false;
	}
}

static void feed(struct load *l, struct conn *c, uint64_t now)
{
	uint32_t depth = l->phase == LOAD ? l->depth : VERIFY_DEPTH;
	struct request r;

	while (!c->dead && c->inflight < depth && next_request(l, c, now, &r)) {
		r.sent_ns = now;
		l->proto->encode(l, c, &r);
		c->ring[(c->head + c->inflight++) & (l->ring - 1)] = r;
		gap_asked(&c->gap, now);
		gap_asked(&l->gap, now);
		l->inflight++;
	}
	flush(l, c);
}

static void take_reply(struct load *l, struct conn *c, const char *p, size_t len, uint64_t now)
{
	struct request *r = &c->ring[c->head & (l->ring - 1)];

	if (!c->inflight) {
		l->contradicted++;
		problem(l, "connection %d: a reply that nobody asked for", c->id);
		return;
	}
	c->head++;
	c->inflight--;
	gap_heard(&c->gap, now, c->inflight > 0);
	gap_heard(&l->gap, now, --l->inflight > 0);
	l->last_reply = now;
	if (l->phase != LOAD) {
		l->proto->check_final(l, c, r, p, len);
		return;
	}
	if (!c->heard) {
		c->heard = true;
		if (++l->running == l->connections && l->json) {
			printf("{\"event\":\"running\",\"connections\":%d}\n", l->running);
			fflush(stdout);
		}
	}
	l->acked++;
	hist_add(&l->hist, now - r->sent_ns);
	l->proto->check(l, c, r, p, len);
}

static ssize_t next_length(struct load *l, struct conn *c)
{
	const struct request *r = c->inflight ? &c->ring[c->head & (l->ring - 1)] : NULL;

	if (c->in.start == c->in.end)
		return 0;
	return l->proto->length(c, r, c->in.buf + c->in.start, c->in.end - c->in.start);
}

static void receive(struct load *l, struct conn *c)
{
	uint64_t now;
	ssize_t n, len;

	if (c->in.size - c->in.end < 16384) {
		if (c->in.start)
			memmove(c->in.buf, c->in.buf + c->in.start, c->in.end - c->in.start);
		c->in.end -= c->in.start;
		c->in.start = 0;
		if (c->in.size - c->in.end < 16384) {
			c->in.size = c->in.size * 2 + 65536;
			c->in.buf = must(realloc(c->in.buf, c->in.size));
		}
	}
	n = recv(c->fd, c->in.buf + c->in.end, c->in.size - c->in.end, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		lose_conn(l, c, n ? strerror(errno) : "closed by the server");
		return;
	}
	c->in.end += (size_t)n;
	if (c->greeting) {
		c->in.start = c->in.end < c->greeting ? c->in.end : c->greeting;
		if (c->in.end < c->greeting)
			return;
		c->greeting = 0;
	}
	now = now_ns();
	while ((len = next_length(l, c)) > 0) {
		take_reply(l, c, c->in.buf + c->in.start, (size_t)len, now);
		c->in.start += (size_t)len;
	}
	if (len < 0) {
		l->contradicted++;
		lose_conn(l, c, "not a reply");
	}
	if (c->in.start == c->in.end)
		c->in.start = c->in.end = 0;
}

/* --- the loop ------------------------------------------------------------------------------ */

static void start_conn(struct load *l, struct conn *c, int id)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };

	c->id = id;
	c->polling_out = true;
	c->greeting = l->proto->greeting;
	c->ring = must(calloc(l->ring, sizeof(*c->ring)));
	l->proto->start(l, c);
	c->fd = start_connect(l->host, l->port);
	if (c->fd < 0) {
		c->dead = true;
		l->reset += l->phase != READ_FRESH;
		l->fresh_failed |= l->phase == READ_FRESH;
		problem(l, "connection %d: %s", id, strerror(errno));
		return;
	}
	epoll_ctl(l->epfd, EPOLL_CTL_ADD, c->fd, &ev);
}

static void conn_event(struct load *l, struct conn *c, uint32_t events)
{
	socklen_t size = sizeof(int);
	int err = 0;

	if (c->dead)
		return;
	if (!c->connected && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &size);
		if (err) {
			lose_conn(l, c, strerror(err));
			return;
		}
		c->connected = true;
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive(l, c);
}

/* SIGUSR1: the failure is now. SIGINT, SIGTERM: it is enough. */
static void take_signal(struct load *l, uint64_t now)
{
	struct signalfd_siginfo info;

	if (read(l->sigfd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGUSR1) {
		l->stop = true;
	} else if (!l->mark) {
		l->mark = now;
		l->acked_before = l->acked;
		if (l->json) {
			printf("{\"event\":\"marked\",\"acknowledged\":%llu}\n",
			       (unsigned long long)l->acked);
			fflush(stdout);
		}
	}
}

static void report_progress(struct load *l, uint64_t now)
{
	if (l->progress == 0 || l->phase != LOAD || now < l->next_progress)
		return;
	l->next_progress = now + (uint64_t)(l->progress * NS);
	printf("{\"event\":\"progress\",\"seconds\":%.2f,\"acknowledged\":%llu}\n",
	       (double)(now - l->start) / NS, (unsigned long long)l->acked);
	fflush(stdout);
}

static bool phase_over(struct load *l, struct conn *first, int n, uint64_t now)
{
	bool busy = false;
	int i;

	if (l->phase == LOAD) {
		if ((l->seconds > 0 && now - l->start > l->seconds * NS) ||
		    (l->mark && l->tail > 0 && now - l->mark > l->tail * NS))
			l->stop = true;
		busy = !l->stop && !(l->limit && l->issued >= l->limit);
	}
	for (i = 0; i < n && !busy; i++)
		busy = !first[i].dead && first[i].inflight;
	if (!busy)
		return true;
	for (i = 0; i < n; i++)
		if (!first[i].dead)
			return now - l->last_reply > l->patience * NS;
	return true;
}

/* One phase: asks for as much as it has for these connections until all is answered. */
static void run_phase(struct load *l, enum phase phase, struct conn *first, int n)
{
	struct epoll_event ev[64];
	struct timespec wait;
	uint64_t now = now_ns(), slot;
	int i, got;

	l->phase = phase;
	l->last_reply = now;
	for (;; now = now_ns()) {
		for (i = 0; i < n; i++)
			feed(l, &first[(l->turn + (uint32_t)i) % (uint32_t)n], now);
		l->turn++;
		report_progress(l, now);
		if (phase_over(l, first, n, now))
			break;
		slot = phase == LOAD ? next_slot(l) : 0;
		wait.tv_sec = 0;
		wait.tv_nsec =
			slot > now && slot - now < 50 * MS ? (long)(slot - now) : (long)(50 * MS);
		got = epoll_pwait2(l->epfd, ev, 64, &wait, NULL);
		for (i = 0; i < got; i++) {
			if (!ev[i].data.ptr)
				take_signal(l, now_ns());
			else
				conn_event(l, ev[i].data.ptr, ev[i].events);
		}
	}
	for (i = 0; i < n; i++) {
		if (first[i].dead || !first[i].inflight)
			continue;
		/* What a silent connection was never told may be there or not. */
		problem(l, "connection %d: no answer for %.1f s", first[i].id, l->patience);
		l->stalled += phase != READ_FRESH;
		l->fresh_failed |= phase == READ_FRESH;
		l->inflight -= first[i].inflight;
		gap_heard(&first[i].gap, now, false);
		first[i].dead = true;
		close(first[i].fd);
	}
	gap_heard(&l->gap, now, false);
}

/* Nothing can be read back: all that was acknowledged is lost, as far as anybody can see. */
static void lose_all(struct load *l)
{
	int i;

	for (i = 0; i < l->connections; i++)
		l->lost += l->proto->unseen(l, &l->conn[i]);
}

static void run(struct load *l)
{
	struct gap load_gap;
	uint64_t load_stalled;
	int i;

	for (i = 0; i < l->connections; i++)
		start_conn(l, &l->conn[i], i);
	l->start = now_ns();
	run_phase(l, LOAD, l->conn, l->connections);
	l->elapsed = (double)(l->last_reply - l->start) / NS;
	load_gap = l->gap;
	load_stalled = l->stalled;
	for (i = 0; i < l->connections; i++)
		l->conn[i].cursor = 0;
	run_phase(l, READ_SAME, l->conn, l->connections);
	l->stalled = load_stalled > l->stalled ? load_stalled : l->stalled;
	l->phase = READ_FRESH;
	start_conn(l, &l->conn[l->connections], l->connections);
	run_phase(l, READ_FRESH, &l->conn[l->connections], 1);
	if (l->fresh_failed)
		lose_all(l);
	l->gap.longest = load_gap.longest;
}

static bool good(const struct load *l)
{
	return !l->lost && !l->contradicted && !l->reset && !l->stalled && !l->fresh_failed &&
	       l->acked;
}

static void print_json(const struct load *l, double gap, double conn_gap)
{
	const char *p;

	printf("{\"event\":\"result\",\"client\":\"%s\",\"good\":%s,\"connections\":%d,"
	       "\"pipeline\":%u,\"seconds\":%.3f,\"sent\":%llu,\"acknowledged\":%llu,"
	       "\"writes\":%llu,\"marked\":%s,\"before\":%llu,\"after\":%llu,\"lost\":%llu,"
	       "\"contradicted\":%llu,\"reset\":%llu,\"stalled\":%llu,\"readable\":%s,"
	       "\"gap_ms\":%.1f,\"gap_connection_ms\":%.1f,\"rate\":%.0f,",
	       l->proto->name, good(l) ? "true" : "false", l->connections, l->depth, l->elapsed,
	       (unsigned long long)l->issued, (unsigned long long)l->acked,
	       (unsigned long long)l->writes, l->mark ? "true" : "false",
	       (unsigned long long)(l->mark ? l->acked_before : l->acked),
	       (unsigned long long)(l->mark ? l->acked - l->acked_before : 0),
	       (unsigned long long)l->lost, (unsigned long long)l->contradicted,
	       (unsigned long long)l->reset, (unsigned long long)l->stalled,
	       l->fresh_failed ? "false" : "true", gap, conn_gap,
	       l->elapsed > 0 ? (double)l->acked / l->elapsed : 0.0);
	hist_json(&l->hist, stdout);
	printf(",\"problem\":\"");
	for (p = l->problem; *p; p++)
		putchar(*p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? '?' : *p);
	printf("\"}\n");
}

static void print_text(const struct load *l, double gap, double conn_gap)
{
	printf("acknowledged %llu (%.0f a second), lost %llu, contradicted %llu, reset %llu, "
	       "stalled %llu\n",
	       (unsigned long long)l->acked, l->elapsed > 0 ? (double)l->acked / l->elapsed : 0.0,
	       (unsigned long long)l->lost, (unsigned long long)l->contradicted,
	       (unsigned long long)l->reset, (unsigned long long)l->stalled);
	printf("latency mean %.1f us, p50 %.1f us, p99 %.1f us; longest gap %.1f ms, "
	       "of one connection %.1f ms\n",
	       l->hist.n ? l->hist.sum / (double)l->hist.n / 1e3 : 0.0,
	       (double)hist_quantile(&l->hist, 0.5) / 1e3,
	       (double)hist_quantile(&l->hist, 0.99) / 1e3, gap, conn_gap);
	if (l->problem[0])
		printf("first problem: %s\n", l->problem);
}

static void report(struct load *l)
{
	uint64_t conn_gap = 0;
	int i;

	for (i = 0; i < l->connections; i++)
		if (l->conn[i].gap.longest > conn_gap)
			conn_gap = l->conn[i].gap.longest;
	(l->json ? print_json : print_text)(l, (double)l->gap.longest / MS, (double)conn_gap / MS);
}

__attribute__((noreturn)) static void usage(const struct load *l)
{
	die("usage: %s_load [--host A] [--port P] [--connections N] [--pipeline N] [--seconds S]\n"
	    "       [--requests N] [--rate N a second] [--mix %s] [--keys N]\n"
	    "       [--value-size BYTES] [--seed N] [--tail S] [--patience S] [--progress S] [--json]\n"
	    "%s%s%s"
	    "SIGUSR1 marks the failure; --tail ends the load so long after it. --patience is how long\n"
	    "all connections may be silent. Exit 0 only if every reply was right and nothing is lost.",
	    l->proto->name, l->proto->mix, l->proto->variants ? "       [--protocol " : "",
	    l->proto->variants ? l->proto->variants : "", l->proto->variants ? "]\n" : "");
}

static void set_weights(struct load *l, const unsigned int *weight)
{
	unsigned int i;

	l->weights = 0;
	for (i = 0; i < l->proto->ops; i++)
		l->weights += l->weight[i] = weight[i];
	if (!l->weights || l->weights > 1000000)
		die("--mix wants weights with a sum from 1 to 1000000");
}

static void parse_mix(struct load *l, const char *text)
{
	unsigned int w[MAX_OPS] = { 0 }, i;
	char *end = (char *)text;

	for (i = 0; i < l->proto->ops; i++) {
		if (i && *end++ != ',')
			break;
		w[i] = (unsigned int)strtoul(end, &end, 10);
	}
	if (i < l->proto->ops || *end)
		die("--mix wants %u weights: %s", l->proto->ops, l->proto->mix);
	set_weights(l, w);
}

/* The place of a name among those that a | divides. */
static unsigned int parse_variant(struct load *l, const char *text)
{
	const char *p = l->proto->variants;
	size_t len = strlen(text);
	unsigned int i;

	for (i = 0; p; i++, p = strchr(p, '|'), p += p != NULL)
		if (!strncmp(p, text, len) && (p[len] == '|' || !p[len]))
			return i;
	usage(l);
}

struct number_option {
	const char *name;
	size_t at; /* in struct load */
	char type; /* i: int, u: uint32_t, U: uint64_t, d: double */
	double min, max;
};

static void set_number(struct load *l, const struct number_option *o, const char *text)
{
	double v = arg_number(o->name, text, o->min, o->max);
	char *to = (char *)l + o->at;

	if (o->type == 'd')
		*(double *)to = v;
	else if (o->type == 'U')
		*(uint64_t *)to = (uint64_t)v;
	else if (o->type == 'u')
		*(uint32_t *)to = (uint32_t)v;
	else
		*(int *)to = (int)v;
}

static void parse(struct load *l, int argc, char **argv)
{
	static const struct number_option numbers[] = {
		{ "--connections", offsetof(struct load, connections), 'i', 1, 10000 },
		{ "--pipeline", offsetof(struct load, depth), 'u', 1, 4096 },
		{ "--seconds", offsetof(struct load, seconds), 'd', 0.01, 1e6 },
		{ "--requests", offsetof(struct load, limit), 'U', 1, 1e12 },
		{ "--rate", offsetof(struct load, rate), 'U', 1, 1e8 },
		{ "--keys", offsetof(struct load, keys), 'u', 1, 1e6 },
		{ "--value-size", offsetof(struct load, pad), 'u', 0, 1e6 },
		{ "--seed", offsetof(struct load, seed), 'U', 0, 9e15 },
		{ "--tail", offsetof(struct load, tail), 'd', 0.01, 1e6 },
		{ "--patience", offsetof(struct load, patience), 'd', 0.1, 1e6 },
		{ "--progress", offsetof(struct load, progress), 'd', 0.01, 1e6 },
	};
	const size_t n = sizeof(numbers) / sizeof(*numbers);
	size_t k;
	int i;

	for (i = 1; i < argc; i++) {
		const char *name = argv[i], *value = argv[i + 1];

		if (!strcmp(name, "--json")) {
			l->json = true;
			continue;
		}
		if (!value)
			usage(l);
		i++;
		for (k = 0; k < n && strcmp(name, numbers[k].name); k++)
			;
		if (k < n)
			set_number(l, &numbers[k], value);
		else if (!strcmp(name, "--host"))
			l->host = value;
		else if (!strcmp(name, "--port"))
			l->port = value;
		else if (!strcmp(name, "--mix"))
			parse_mix(l, value);
		else if (!strcmp(name, "--protocol"))
			l->variant = parse_variant(l, value);
		else
			usage(l);
	}
}

static void prepare(struct load *l)
{
	struct epoll_event ev = { .events = EPOLLIN };
	sigset_t set;
	uint32_t tag;

	for (l->ring = VERIFY_DEPTH; l->ring < l->depth; l->ring *= 2)
		;
	/* Keys of its own, so that a server which holds other data is no trouble. */
	if (getrandom(&tag, sizeof(tag), 0) != sizeof(tag))
		die("getrandom: %s", strerror(errno));
	snprintf(l->tag, sizeof(l->tag), "%08x", tag);
	l->filler = must(malloc(l->pad + 1));
	memset(l->filler, 'x', l->pad);
	l->conn = must(calloc((size_t)l->connections + 1, sizeof(*l->conn)));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	l->sigfd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0 || l->sigfd < 0)
		die("epoll, signalfd: %s", strerror(errno));
	epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->sigfd, &ev);
}

static int client_main(const struct protocol *proto, int argc, char **argv)
{
	static struct load l = {
		.host = "127.0.0.1",
		.connections = 20,
		.depth = 1,
		.keys = 200,
		.patience = 10,
		.seed = 1,
	};

	l.proto = proto;
	l.port = proto->port;
	set_weights(&l, proto->weight);
	parse(&l, argc, argv);
	prepare(&l);
	if (l.seconds == 0 && !l.limit && l.tail == 0)
		l.seconds = 5;
	run(&l);
	report(&l);
	return good(&l) ? 0 : 1;
}

#endif
