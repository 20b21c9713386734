// SPDX-License-Identifier: MIT
/*
 * A client with very many connections to a redis: `many-client ADDRESS N`. Each must answer before and,
 * when a line came on stdin, after the failure.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int *socks, n;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void open_all(const char *addr)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(6379) };
	struct rlimit rl = { (rlim_t)n + 64, (rlim_t)n + 64 };
	struct timeval patience = { .tv_sec = 20 };
	int one = 1;

	if (inet_pton(AF_INET, addr, &a.sin_addr) != 1)
		die("address");
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	for (int i = 0; i < n; i++) {
		socks[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (socks[i] < 0 || connect(socks[i], (struct sockaddr *)&a, sizeof(a)))
			die("connect");
		setsockopt(socks[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(socks[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
}

static int answers(int i, const char *text)
{
	char want[64], got[64];
	int len = snprintf(want, sizeof(want), "$%zu\r\n%s%d\r\n",
			   (size_t)snprintf(got, sizeof(got), "%s%d", text, i), text, i);

	return recv(socks[i], got, (size_t)len, MSG_WAITALL) == len && !memcmp(got, want, len);
}

/* All are asked before the first is heard. */
static int ask_all(const char *text)
{
	double start = now_ms(), first = 0;
	int right = 0;
	char ask[64];

	for (int i = 0; i < n; i++) {
		int len = snprintf(ask, sizeof(ask), "ECHO %s%d\r\n", text, i);

		if (send(socks[i], ask, (size_t)len, MSG_NOSIGNAL) != len)
			close(socks[i]);
	}
	for (int i = 0; i < n; i++) {
		right += answers(i, text);
		if (!i)
			first = now_ms() - start;
	}
	printf("%s: %d of %d connections answer, the first after %.1f ms, all after %.1f ms\n",
	       text, right, n, first, now_ms() - start);
	return right == n;
}

int main(int argc, char **argv)
{
	char line[16];

	setvbuf(stdout, NULL, _IOLBF, 0);
	n = argc == 3 ? atoi(argv[2]) : 0;
	socks = calloc(n > 0 ? (size_t)n : 1, sizeof(*socks));
	if (n <= 0 || !socks)
		die("usage: many-client ADDRESS N");
	open_all(argv[1]);
	if (!ask_all("before"))
		return 1;
	printf("ready\n");
	if (!fgets(line, sizeof(line), stdin))
		die("no word");
	return ask_all("after") && ask_all("again") ? 0 : 1;
}
