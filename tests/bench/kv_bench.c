// SPDX-License-Identifier: MIT
/*
 * Measures a redis or a memcached: SETs in a closed loop over some connections, each with some
 * requests in flight. With --keys they go to random ones of a data set's key:N, with --rate no faster than asked
 * for: that is how much memory is written. With --wait every SET of redis is followed by WAIT 1 0, so that its reply means
 * a replica has it. One thread; what it prints is one JSON object. The checked loads of tests/faults
 * do more and cost more.
 */
#include "../faults/load.h"

#include <getopt.h>
#include <sys/epoll.h>

/* A protocol: what a SET looks like (its key, length of its value, length of its key), and its reply. */
struct proto {
	const char *name, *port, *set, *reply;
};

static const struct proto protos[] = {
	{ "redis", "6379", "*3\r\n$3\r\nSET\r\n$%3$zu\r\n%1$s\r\n$%2$u\r\n", "+OK\r\n" },
	{ "memcached", "11211", "set %1$s 0 0 %2$u\r\n", "STORED\r\n" },
};

struct conn {
	int fd;
	uint64_t begin; /* when the requests in flight were sent */
	unsigned int replies; /* lines still to come */
	size_t bytes; /* of them */
	size_t unsent;
};

struct bench {
	const struct proto *proto;
	const char *host, *port;
	int connections, epoll;
	unsigned int depth, value;
	bool wait;
	double seconds, warmup;
	char *batch;
	size_t len;
	/* Random keys: all of one length, so that a batch can be sent on after others have changed it. */
	unsigned int keys, first, digits;
	char **digit; /* where they are, for each request of the batch */
	uint64_t seed;
	/* A rate: connections that wait for their turn, the next one's time, and from one to the next. */
	struct conn **idle;
	size_t idle_first, idles;
	uint64_t due, interval;
	double rate;
	uint64_t measure, end;
	struct hist hist;
};

static void make_batch(struct bench *b)
{
	const char *wait = b->wait ? "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n" : "";
	size_t one = b->value + 128;
	char key[32], *at;
	unsigned int i;

	for (b->digits = 1, b->first = 1; b->keys && b->first * 10ull < b->keys; b->digits++)
		b->first *= 10;
	b->batch = must(malloc(b->depth * one));
	b->digit = must(calloc(b->depth, sizeof(*b->digit)));
	for (i = 0; i < b->depth; i++) {
		at = b->batch + b->len;
		snprintf(key, sizeof(key), b->keys ? "key:%u" : "key-%04u",
			 b->keys ? b->first : i % 10000);
		b->len += (size_t)sprintf(at, b->proto->set, key, b->value, strlen(key));
		b->digit[i] = strstr(at, key) + strlen("key:");
		memset(b->batch + b->len, 'v', b->value);
		b->len += b->value;
		b->len += (size_t)sprintf(b->batch + b->len, "\r\n%s", wait);
	}
}

static void send_rest(struct bench *b, struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	ssize_t n = send(c->fd, b->batch + b->len - c->unsent, c->unsent, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		die("send: %s", strerror(errno));
	c->unsent -= n > 0 ? (size_t)n : 0;
	if (c->unsent)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(b->epoll, EPOLL_CTL_MOD, c->fd, &ev))
		die("epoll_ctl: %s", strerror(errno));
}

static void choose_keys(struct bench *b)
{
	char key[16];
	unsigned int i;

	for (i = 0; b->keys && i < b->depth; i++) {
		snprintf(key, sizeof(key), "%u",
			 b->first + (unsigned int)(rnd(&b->seed) % (b->keys - b->first)));
		memcpy(b->digit[i], key, b->digits);
	}
}

static void next_batch(struct bench *b, struct conn *c, uint64_t now)
{
	ssize_t n;

	choose_keys(b);
	c->begin = now;
	c->replies = b->depth * (b->wait ? 2 : 1);
	c->bytes = b->depth * (strlen(b->proto->reply) + (b->wait ? strlen(":1\r\n") : 0));
	n = send(c->fd, b->batch, b->len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		die("send: %s", strerror(errno));
	c->unsent = b->len - (n > 0 ? (size_t)n : 0);
	if (c->unsent)
		send_rest(b, c);
}

/* At once, or when its turn comes. */
static void go_on(struct bench *b, struct conn *c, uint64_t now)
{
	if (!b->interval)
		next_batch(b, c, now);
	else
		b->idle[(b->idle_first + b->idles++) % (size_t)b->connections] = c;
}

/* What a server that stood still has missed is made up for 10 ms, not more. */
static void send_due(struct bench *b, uint64_t now)
{
	for (; b->idles && b->due <= now; b->idles--) {
		next_batch(b, b->idle[b->idle_first], now);
		b->idle_first = (b->idle_first + 1) % (size_t)b->connections;
		b->due += b->interval;
		if (b->due + 10 * MS < now)
			b->due = now - 10 * MS;
	}
}

static int wait_events(struct bench *b, struct epoll_event *ev, int n, uint64_t now)
{
	uint64_t until = b->idles && b->due < b->end ? b->due : b->end,
		 ns = until > now ? until - now : 0;
	struct timespec ts = { (time_t)(ns / NS), (long)(ns % NS) };

	return epoll_pwait2(b->epoll, ev, n, &ts, NULL);
}

/* Each reply is a line, and a good one has a known length; a WAIT's is :N. */
static void read_replies(struct bench *b, struct conn *c)
{
	char buf[16384];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0), i;
	uint64_t now;
	unsigned int k;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		die("the server closed a connection: %s", n ? strerror(errno) : "end");
	for (i = 0; i < n; i++) {
		if (buf[i] == '-')
			die("the server reports: %.*s", (int)(n - i < 80 ? n - i : 80), buf + i);
		if (buf[i] == ':' && i + 1 < n && buf[i + 1] == '0')
			die("WAIT: no replica had it");
		c->replies -= buf[i] == '\n';
	}
	c->bytes -= (size_t)n;
	if (c->replies || c->unsent)
		return;
	if (c->bytes)
		die("the server reports: %.*s", (int)(n < 80 ? n : 80), buf);
	now = now_ns();
	if (c->begin >= b->measure)
		for (k = 0; k < b->depth; k++)
			hist_add(&b->hist, now - c->begin);
	if (now < b->end)
		go_on(b, c, now);
}

static void connect_one(struct bench *b, struct conn *c)
{
	struct epoll_event out = { .events = EPOLLOUT, .data.ptr = c }, got;
	struct epoll_event in = { .events = EPOLLIN, .data.ptr = c };
	socklen_t len = sizeof(int);
	int err = 0;

	c->fd = start_connect(b->host, b->port);
	if (c->fd < 0 || epoll_ctl(b->epoll, EPOLL_CTL_ADD, c->fd, &out) ||
	    epoll_wait(b->epoll, &got, 1, 10000) != 1 ||
	    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err ||
	    epoll_ctl(b->epoll, EPOLL_CTL_MOD, c->fd, &in))
		die("cannot connect to %s port %s", b->host, b->port);
}

static void run(struct bench *b)
{
	struct conn *conn = must(calloc((size_t)b->connections, sizeof(*conn)));
	struct epoll_event ev[64];
	uint64_t start, now;
	int i, n;

	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (i = 0; i < b->connections; i++)
		connect_one(b, &conn[i]);
	b->idle = must(calloc((size_t)b->connections, sizeof(*b->idle)));
	b->due = start = now_ns();
	b->interval = b->rate > 0 ? (uint64_t)(b->depth * (double)NS / b->rate) : 0;
	b->measure = start + (uint64_t)(b->warmup * NS);
	b->end = b->measure + (uint64_t)(b->seconds * NS);
	for (i = 0; i < b->connections; i++)
		go_on(b, &conn[i], now_ns());
	while ((now = now_ns()) < b->end) {
		send_due(b, now);
		n = wait_events(b, ev, 64, now);
		for (i = 0; i < n; i++) {
			if (ev[i].events & EPOLLOUT)
				send_rest(b, ev[i].data.ptr);
			if (ev[i].events & ~(uint32_t)EPOLLOUT)
				read_replies(b, ev[i].data.ptr);
		}
	}
	printf("{\"server\":\"%s\",\"connections\":%d,\"pipeline\":%u,\"wait\":%s,\"requests\":%llu,\"rate\":%.1f,",
	       b->proto->name, b->connections, b->depth, b->wait ? "true" : "false",
	       (unsigned long long)b->hist.n,
	       (double)b->hist.n / ((double)(now - b->measure) / NS));
	hist_json(&b->hist, stdout);
	printf("}\n");
	free(conn);
}

static const struct proto *find_proto(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(protos) / sizeof(*protos); i++)
		if (!strcmp(protos[i].name, name))
			return &protos[i];
	die("--protocol is redis or memcached");
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{ "host", 1, 0, 'h' },		 { "port", 1, 0, 'p' },
		{ "connections", 1, 0, 'c' },	 { "pipeline", 1, 0, 'P' },
		{ "seconds", 1, 0, 's' },	 { "warmup", 1, 0, 'u' },
		{ "value-size", 1, 0, 'v' },	 { "wait", 0, 0, 'w' },
		{ "protocol", 1, 0, 'P' + 256 }, { "keys", 1, 0, 'k' },
		{ "rate", 1, 0, 'r' },		 { 0 },
	};
	static struct bench b = { .proto = protos,
				  .host = "127.0.0.1",
				  .connections = 1,
				  .depth = 1,
				  .value = 64,
				  .seconds = 3,
				  .warmup = 0.3 };
	int o;

	while ((o = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (o) {
		case 'h':
			b.host = optarg;
			break;
		case 'p':
			b.port = optarg;
			break;
		case 'c':
			b.connections = (int)arg_number("--connections", optarg, 1, 10000);
			break;
		case 'P':
			b.depth = (unsigned int)arg_number("--pipeline", optarg, 1, 1024);
			break;
		case 's':
			b.seconds = arg_number("--seconds", optarg, 0.1, 1e5);
			break;
		case 'u':
			b.warmup = arg_number("--warmup", optarg, 0, 1e3);
			break;
		case 'v':
			b.value = (unsigned int)arg_number("--value-size", optarg, 1, 65536);
			break;
		case 'k':
			b.keys = (unsigned int)arg_number("--keys", optarg, 2, 1e8);
			break;
		case 'r':
			b.rate = arg_number("--rate", optarg, 1, 1e8);
			break;
		case 'w':
			b.wait = true;
			break;
		case 'P' + 256:
			b.proto = find_proto(optarg);
			break;
		default:
			die("usage: kv_bench [--protocol redis|memcached] [--host A] [--port P]\n"
			    "       [--connections N] [--pipeline N] [--seconds S] [--warmup S]\n"
			    "       [--value-size N] [--keys N] [--rate REQUESTS/S] [--wait]");
		}
	}
	if (optind < argc)
		die("kv_bench takes no arguments");
	if (b.wait && b.proto != protos)
		die("--wait is redis's");
	b.port = b.port ? b.port : b.proto->port;
	make_batch(&b);
	run(&b);
	return b.hist.n ? 0 : 1;
}
