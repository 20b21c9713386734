// SPDX-License-Identifier: MIT
/*
 * The recorder on a link: packets that come in are in the log as they were sent, before the call that
 * reads them; the lease lets packets out, drops them when it has run out, also when whoever loaded it
 * was killed; another process takes the filters out again; a full ring drops packets and counts calls
 * that were lost. A pair of links between two network namespaces, UDP and TCP over it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "../bench/spawn.h"
#include "reclog.h"
#include "recorder.h"
#include "util.h"

#define PORT	7000
#define NAME	"rrc-test-net"
#define INSIDE	"10.77.0.2"
#define OUTSIDE "10.77.0.1"

#define CHECK(x) check(x, #x, __LINE__)

static int failed;

static void check(bool ok, const char *what, int line)
{
	if (ok)
		return;
	failed++;
	fprintf(stderr, "recorder-net.c:%d: not so: %s\n", line, what);
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "recorder-net: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void sh(const char *cmd)
{
	must(system(cmd) == 0, cmd);
}

/* In the container: answers each datagram with its bytes turned round. */
static _Noreturn void echo_server(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) }, from;
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[65536], back[65536];
	ssize_t n;

	must(s >= 0 && !bind(s, (struct sockaddr *)&a, sizeof(a)), "bind");
	for (;;) {
		socklen_t len = sizeof(from);

		n = recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		must(n >= 0, "recvfrom");
		for (ssize_t i = 0; i < n; i++)
			back[i] = buf[n - 1 - i];
		sendto(s, back, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

/* Sends n bytes to the server; whether the answer came. */
static bool ask(int s, size_t n, int wait_ms)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct pollfd p = { .fd = s, .events = POLLIN };
	char buf[65536], back[65536];

	inet_pton(AF_INET, INSIDE, &a.sin_addr);
	while (recv(s, back, sizeof(back), MSG_DONTWAIT) >= 0)
		; /* late answers */
	for (size_t i = 0; i < n; i++)
		buf[i] = (char)(i + n);
	must(sendto(s, buf, n, 0, (struct sockaddr *)&a, sizeof(a)) == (ssize_t)n, "sendto");
	if (poll(&p, 1, wait_ms) != 1)
		return false;
	return recv(s, back, sizeof(back), 0) == (ssize_t)n && back[0] == buf[n - 1];
}

struct seen {
	size_t want; /* bytes of the datagram that is looked for */
	int packets; /* that hold it */
	int reads; /* calls that returned it, after its packet */
};

static int look(void *ctx, const struct rrc_rec *rec)
{
	const struct rrc_rec_packet *pkt = (const void *)rrc_rec_payload(rec);
	const uint8_t *ip = (const uint8_t *)(pkt + 1);
	struct seen *s = ctx;

	if (rrc_rec_check(rec, rec->size, NULL))
		return -EBADMSG;
	if (rec->kind == RRC_REC_PACKET && pkt->family == AF_INET && ip[9] == IPPROTO_UDP &&
	    pkt->len == s->want + 28 && ip[28] == (uint8_t)s->want &&
	    ip[pkt->len - 1] == (uint8_t)(2 * s->want - 1))
		s->packets++;
	if (rec->kind == RRC_REC_SYSCALL && rec->nr == RRC_NR_recvfrom &&
	    rec->ret == (int64_t)s->want && rec->fdkind == RRC_FD_UDP)
		s->reads += s->packets;
	return 0;
}

static void check_capture(struct rrc_recorder *rec, int s)
{
	static const size_t sizes[] = { 1, 99, 100, 101, 1000, 1472 };

	for (size_t i = 0; i < RRC_ARRAY_SIZE(sizes); i++) {
		struct seen seen = { .want = sizes[i] };

		CHECK(ask(s, sizes[i], 2000));
		CHECK(rrc_recorder_drain(rec, look, &seen, RRC_DRAIN_ALL) > 0);
		CHECK(seen.packets == 1 && seen.reads == 1);
	}
}

static void check_lease(struct rrc_recorder *rec, int s)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);
	struct rrc_lease l;

	CHECK(ask(s, 10, 2000)); /* no lease yet */
	rrc_recorder_lease_set(rec, now + 60000000000ull);
	CHECK(ask(s, 10, 2000));
	rrc_recorder_lease_set(rec, now);
	CHECK(!ask(s, 10, 300));
	rrc_recorder_lease_get(rec, &l);
	CHECK(l.dropped >= 1 && l.passed >= 2 && l.armed);
	rrc_recorder_lease_set(rec, 0);
	CHECK(ask(s, 10, 2000));
}

static int nothing(void *ctx, const struct rrc_rec *rec)
{
	(void)ctx;
	(void)rec;
	return 0;
}

/* Nobody drains: the sender's packets are dropped, not let in unseen; then it goes on. */
static void check_full(struct rrc_recorder *rec, int s)
{
	struct rrc_stats st;
	uint64_t start;
	bool again;

	for (int i = 0; i < 10000; i++) {
		ask(s, 1400, 0);
		rrc_recorder_stats(rec, &st);
		if (st.packets_dropped)
			break;
	}
	CHECK(st.packets_dropped > 0);
	CHECK(rrc_ring_pending(rrc_recorder_ring(rec)) > rrc_ring_size(rrc_recorder_ring(rec)) / 2);
	/* Answers to what did get in may come first. */
	start = rrc_now_ns(CLOCK_MONOTONIC);
	do {
		CHECK(rrc_recorder_drain(rec, nothing, NULL, RRC_DRAIN_ALL) >= 0);
		again = ask(s, 10, 500);
	} while (!again && rrc_now_ns(CLOCK_MONOTONIC) - start < 5000000000);
	CHECK(again);
}

static struct rrc_recorder *load(pid_t server, int netns)
{
	struct rrc_recorder_opts opts = { .name = NAME,
					  .ring_bytes = 1 << 20,
					  .verbose = true,
					  .pidns = ns_ino(server, "pid"),
					  .netns = ns_ino(server, "net") };
	struct rrc_error err = { 0 };
	struct rrc_recorder *rec = rrc_recorder_open(&opts, &err);

	if (rec && !rrc_recorder_attach(rec, &err) &&
	    !rrc_recorder_attach_tc(rec, netns, "in0", &err)) {
		rrc_recorder_on(rec, true);
		return rec;
	}
	fprintf(stderr, "recorder-net: %s\n", err.msg);
	kill(server, SIGKILL);
	exit(err.exit);
}

/* A loader that sets a short lease and is killed: the container falls silent all the same. */
static void check_killed(pid_t server, int netns, int s)
{
	struct rrc_error err = { 0 };
	int ready[2], status;
	uint64_t start;
	pid_t loader;
	char byte;

	must(!pipe(ready), "pipe");
	loader = fork();
	if (!loader) {
		struct rrc_recorder *rec = load(server, netns);

		rrc_recorder_lease_set(rec, rrc_now_ns(CLOCK_MONOTONIC) + 300000000);
		must(write(ready[1], "x", 1) == 1, "write");
		for (;;)
			pause();
	}
	close(ready[1]);
	must(read(ready[0], &byte, 1) == 1, "the loader died");
	kill(loader, SIGKILL);
	must(waitpid(loader, &status, 0) == loader, "waitpid");
	start = rrc_now_ns(CLOCK_MONOTONIC);
	while (ask(s, 10, 300)) /* the lease still lives */
		if (rrc_now_ns(CLOCK_MONOTONIC) - start > 2000000000)
			break;
	CHECK(!ask(s, 10, 300));
	CHECK(!access(RRC_PIN_ROOT "/" NAME "/rrc_stats", F_OK));
	CHECK(!rrc_recorder_detach_tc(netns, "in0", &err));
	CHECK(!rrc_recorder_cleanup_stale(NAME, &err));
	CHECK(access(RRC_PIN_ROOT "/" NAME, F_OK) && errno == ENOENT);
	CHECK(ask(s, 10, 2000));
	CHECK(!rrc_recorder_detach_tc(netns, "in0", &err) &&
	      !rrc_recorder_cleanup_stale(NAME, &err));
}

static pid_t start_server(int *netns)
{
	char *cmd[] = { "/proc/self/exe", "server", NULL };
	char path[64], cmdline[256];
	pid_t server;

	must(!unshare(CLONE_NEWNET), "network namespace");
	server = spawn_in_pidns(cmd);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", server);
	*netns = open(path, O_RDONLY | O_CLOEXEC);
	must(*netns >= 0 && !unshare(CLONE_NEWNET), "network namespace");
	/* Our children are in the server's pid namespace, where it is process 1. */
	sh("ip link add out0 type veth peer name in0 netns 1");
	sh("ip addr add " OUTSIDE "/24 dev out0 && ip link set out0 up");
	snprintf(cmdline, sizeof(cmdline),
		 "nsenter --net=%s sh -c 'ip addr add " INSIDE "/24 dev in0 && ip link set in0 up'",
		 path);
	sh(cmdline);
	ptrace(PTRACE_DETACH, server, 0, 0);
	return server;
}

int main(int argc, char **argv)
{
	struct rrc_recorder *rec;
	struct rrc_error err = { 0 };
	int netns, s, i;
	pid_t server;

	if (argc > 1 && !strcmp(argv[1], "server")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		echo_server();
	}
	server = start_server(&netns);
	s = socket(AF_INET, SOCK_DGRAM, 0);
	for (i = 0; i < 50 && !ask(s, 10, 100); i++)
		; /* the link and the server come up */
	CHECK(i < 50);
	rec = load(server, netns);
	check_capture(rec, s);
	check_lease(rec, s);
	check_full(rec, s);
	CHECK(!rrc_recorder_detach_tc(netns, "in0", &err));
	rrc_recorder_close(rec);
	CHECK(access(RRC_PIN_ROOT "/" NAME, F_OK) && errno == ENOENT);
	CHECK(ask(s, 10, 2000));
	check_killed(server, netns, s);
	kill(server, SIGKILL);
	printf("%s recorder-net\n", failed ? "not ok" : "ok");
	return failed != 0;
}
