// SPDX-License-Identifier: MIT
/*
 * Load for a web server: long downloads and uploads whose every byte is known, at a limited rate
 * so that a failure hits them midway. What was uploaded is read back over fresh connections in the
 * end. One thread for each stream: blocking code is easy to trust.
 */
#include "http_content.h"

#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/random.h>

struct load {
	const char *host, *port;
	int downloads, uploads;
	uint64_t size, rate, seed, file_seed;
	double tail, seconds, patience;
	unsigned int rounds;
	bool json;

	uint32_t tag;
	atomic_bool stop;
	atomic_int running; /* streams that have moved their first bytes */
	atomic_ullong bytes, complete, lost, contradicted, reset, stalled;
	pthread_mutex_t lock;
	char problem[256];
};

struct stream {
	struct load *l;
	pthread_t thread;
	int id, fd;
	bool upload, over;
	unsigned int done; /* transfers that came to their end */
	uint64_t longest; /* ns that one read or write took */
	uint64_t begin, moved; /* of the transfer: for the pace */
	char in[CHUNK + 4096]; /* bytes read and not used */
	size_t start, end;
};

__attribute__((format(printf, 2, 3))) static void problem(struct load *l, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&l->lock);
	if (!l->problem[0]) {
		va_start(ap, fmt);
		vsnprintf(l->problem, sizeof(l->problem), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_unlock(&l->lock);
}

/* --- one stream: all return 0, or -1 when the connection is no more ---------------------------- */

static int lose(struct stream *s, ssize_t n)
{
	struct load *l = s->l;
	int err = errno;

	if (s->over)
		return -1;
	s->over = true;
	if (n < 0 && (err == EAGAIN || err == ETIMEDOUT))
		l->stalled++;
	else
		l->reset++;
	problem(l, "%s %d: %s after %llu bytes", s->upload ? "upload" : "download", s->id,
		n == 0 ? "closed by the server" : strerror(err), (unsigned long long)s->moved);
	return -1;
}

static void took(struct stream *s, uint64_t since)
{
	uint64_t ns = now_ns() - since;

	if (ns > s->longest)
		s->longest = ns;
}

static int wait_for(struct stream *s, short events)
{
	struct pollfd p = { .fd = s->fd, .events = events };
	int n = poll(&p, 1, (int)(s->l->patience * 1000));

	if (n == 0) {
		errno = EAGAIN;
		if (s->longest < s->l->patience * NS)
			s->longest = (uint64_t)(s->l->patience * NS);
	}
	return n > 0 ? 0 : lose(s, -1);
}

static int open_stream(struct stream *s)
{
	socklen_t len = sizeof(int);
	int err = 0;

	s->start = s->end = 0;
	s->fd = start_connect(s->l->host, s->l->port);
	if (s->fd < 0)
		return lose(s, -1);
	if (wait_for(s, POLLOUT))
		return -1;
	getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	errno = err;
	return err ? lose(s, -1) : 0;
}

static int send_all(struct stream *s, const void *data, size_t len)
{
	uint64_t since = now_ns();
	ssize_t n;

	while (len) {
		n = send(s->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			if (wait_for(s, POLLOUT))
				return -1;
			continue;
		}
		if (n <= 0)
			return lose(s, n);
		data = (const char *)data + n;
		len -= (size_t)n;
	}
	took(s, since);
	return 0;
}

static int receive(struct stream *s, size_t max)
{
	uint64_t since = now_ns();
	ssize_t n;

	if (s->start == s->end)
		s->start = s->end = 0;
	if (max > sizeof(s->in) - s->end)
		max = sizeof(s->in) - s->end;
	while ((n = recv(s->fd, s->in + s->end, max, 0)) < 0 && errno == EAGAIN)
		if (wait_for(s, POLLIN))
			return -1;
	if (n <= 0)
		return lose(s, n);
	s->end += (size_t)n;
	took(s, since);
	return 0;
}

/* Counts moved bytes and sleeps while the transfer is ahead of its rate. */
static void pace(struct stream *s, size_t n)
{
	struct timespec ts;
	uint64_t due;

	if (s->moved == 0 && s->done == 0 && n &&
	    atomic_fetch_add(&s->l->running, 1) + 1 == s->l->downloads + s->l->uploads &&
	    s->l->json) {
		printf("{\"event\":\"running\",\"connections\":%d}\n", s->l->running);
		fflush(stdout);
	}
	s->moved += n;
	s->l->bytes += n;
	if (!s->l->rate)
		return;
	due = s->begin + s->moved * NS / s->l->rate;
	ts.tv_sec = (time_t)(due / NS);
	ts.tv_nsec = (long)(due % NS);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* Reads a response's head; *status and *length are what it says. */
static int read_head(struct stream *s, int *status, uint64_t *length)
{
	char *end, *line;

	while (!(end = memmem(s->in + s->start, s->end - s->start, "\r\n\r\n", 4)))
		if (s->end - s->start > 4000 || receive(s, 4096))
			return s->over ? -1 : lose(s, 0);
	*end = 0;
	line = s->in + s->start;
	if (sscanf(line, "HTTP/1.%*d %d", status) != 1)
		*status = 0;
	line = strcasestr(line, "\r\ncontent-length:");
	*length = line ? strtoull(line + 17, NULL, 10) : 0;
	s->start = (size_t)(end + 4 - s->in);
	return 0;
}

/* Reads a body and compares it with what it must be. *same: sha256 is equal. */
static int read_body(struct stream *s, uint64_t seed, uint64_t length, bool *same)
{
	unsigned char want[CHUNK + 8], sum[2][EVP_MAX_MD_SIZE];
	EVP_MD_CTX *got = new_digest(), *expect = new_digest();
	uint64_t at = 0;
	size_t n, i;
	int ret = 0;

	while (at < length && !(s->start == s->end && (ret = receive(s, CHUNK - at % CHUNK)))) {
		/* Whole words only, since contents come in words; the rest waits for more. */
		n = s->end - s->start;
		n = n > length - at ? length - at : n > CHUNK ? CHUNK : n;
		if (at + n < length && n % 8) {
			if (n < 8) {
				memmove(s->in, s->in + s->start, n);
				s->start = 0;
				s->end = n;
				if ((ret = receive(s, CHUNK - n)))
					break;
				continue;
			}
			n -= n % 8;
		}
		content(seed, at, n, want);
		for (i = 0; i < n && want[i] == (unsigned char)s->in[s->start + i]; i++)
			;
		if (i < n)
			problem(s->l, "%d: byte %llu is wrong", s->id,
				(unsigned long long)(at + i));
		EVP_DigestUpdate(got, s->in + s->start, n);
		EVP_DigestUpdate(expect, want, n);
		s->start += n;
		at += n;
		pace(s, n);
	}
	digest(got, sum[0]);
	digest(expect, sum[1]);
	*same = !ret && !memcmp(sum[0], sum[1], EVP_MAX_MD_SIZE);
	return ret;
}

static int get(struct stream *s, const char *path, uint64_t seed, bool *good)
{
	char head[256];
	uint64_t length;
	int status;

	*good = false;
	snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: rrc\r\n\r\n", path);
	if (send_all(s, head, strlen(head)) || read_head(s, &status, &length))
		return -1;
	if (status != 200 || length != s->l->size) {
		problem(s->l, "%s: status %d, %llu bytes", path, status,
			(unsigned long long)length);
		s->over = true;
		return 0;
	}
	return read_body(s, seed, length, good);
}

static void upload_name(const struct stream *s, unsigned int n, char path[64], uint64_t *seed)
{
	snprintf(path, 64, "/up/%08x-%d-%u", s->l->tag, s->id, n);
	*seed = s->l->seed + 1000003ull * (unsigned int)(s->id + 1) + n;
}

static int put(struct stream *s, bool *good)
{
	unsigned char buf[CHUNK];
	uint64_t at, seed, length;
	char path[64], head[256];
	int status;
	size_t n;

	*good = false;
	upload_name(s, s->done, path, &seed);
	snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: rrc\r\nContent-Length: %llu\r\n\r\n",
		 path, (unsigned long long)s->l->size);
	if (send_all(s, head, strlen(head)))
		return -1;
	for (at = 0; at < s->l->size; at += n) {
		n = s->l->size - at < CHUNK ? s->l->size - at : CHUNK;
		content(seed, at, n, buf);
		if (send_all(s, buf, n))
			return -1;
		pace(s, n);
	}
	if (read_head(s, &status, &length))
		return -1;
	for (; length; length -= n) { /* an error page, perhaps: not worth a look */
		if (s->start == s->end && receive(s, CHUNK))
			return -1;
		n = s->end - s->start < length ? s->end - s->start : length;
		s->start += n;
	}
	*good = status == 201 || status == 204;
	if (!*good) {
		problem(s->l, "%s: status %d", path, status);
		s->over = true;
	}
	return 0;
}

static void *run_stream(void *arg)
{
	struct stream *s = arg;
	struct load *l = s->l;
	bool good;
	int ret;

	if (open_stream(s))
		return NULL;
	while (!s->over && !l->stop && (!l->rounds || s->done < l->rounds)) {
		s->begin = now_ns();
		s->moved = 0;
		ret = s->upload ? put(s, &good) : get(s, "/file", l->file_seed, &good);
		if (ret)
			break;
		l->contradicted += !good;
		l->complete += good;
		s->done += good || !s->upload;
	}
	return NULL;
}

/* Every upload that was answered must be there, whole and right, for somebody new. */
static void read_back(struct stream *s)
{
	struct load *l = s->l;
	struct stream *fresh = must(calloc(1, sizeof(*fresh)));
	unsigned int n;
	uint64_t seed;
	char path[64];
	bool good;

	fresh->l = l;
	fresh->id = s->id;
	fresh->done = 1;
	if (s->done && open_stream(fresh)) {
		l->lost += s->done;
		free(fresh);
		return;
	}
	for (n = 0; n < s->done; n++) {
		fresh->begin = now_ns();
		fresh->moved = 0;
		upload_name(s, n, path, &seed);
		if (get(fresh, path, seed, &good) || !good) {
			problem(l, "%s was acknowledged and is not there as it was sent", path);
			l->lost++;
		}
	}
	if (s->done)
		close(fresh->fd);
	free(fresh);
}

/* --- the whole ----------------------------------------------------------------------------- */

struct marked {
	uint64_t at, complete, bytes;
};

/* SIGUSR1: the failure is now. SIGINT, SIGTERM: start no more transfers. Ends with the streams. */
static void *watch_signals(void *arg)
{
	struct {
		struct load *l;
		struct marked *mark;
		const sigset_t *set;
		uint64_t begin;
	} *w = arg;
	struct timespec tick = { .tv_nsec = (long)(50 * MS) };
	uint64_t now;
	int sig;

	for (;;) {
		sig = sigtimedwait(w->set, NULL, &tick);
		now = now_ns();
		if (sig == SIGUSR2)
			return NULL;
		if (sig == SIGINT || sig == SIGTERM)
			w->l->stop = true;
		if (sig == SIGUSR1 && !w->mark->at) {
			*w->mark = (struct marked){ now, w->l->complete, w->l->bytes };
			if (w->l->json) {
				printf("{\"event\":\"marked\",\"bytes\":%llu}\n",
				       (unsigned long long)w->l->bytes);
				fflush(stdout);
			}
		}
		if ((w->l->seconds > 0 && now - w->begin > w->l->seconds * NS) ||
		    (w->mark->at && w->l->tail > 0 && now - w->mark->at > w->l->tail * NS))
			w->l->stop = true;
	}
}

static bool good_run(const struct load *l)
{
	return l->complete && !l->lost && !l->contradicted && !l->reset && !l->stalled;
}

static void report(struct load *l, const struct marked *m, double seconds, double gap)
{
	const char *p;

	if (!l->json) {
		printf("transfers complete %llu, lost %llu, contradicted %llu, reset %llu, stalled %llu, "
		       "%.1f MB/s, longest gap %.1f ms\n",
		       l->complete, l->lost, l->contradicted, l->reset, l->stalled,
		       (double)l->bytes / seconds / 1e6, gap);
		if (l->problem[0])
			printf("first problem: %s\n", l->problem);
		return;
	}
	printf("{\"event\":\"result\",\"client\":\"http\",\"good\":%s,\"downloads\":%d,\"uploads\":%d,"
	       "\"size\":%llu,\"seconds\":%.3f,\"acknowledged\":%llu,\"marked\":%s,\"before\":%llu,"
	       "\"after\":%llu,\"bytes\":%llu,\"bytes_before\":%llu,\"lost\":%llu,"
	       "\"contradicted\":%llu,\"reset\":%llu,\"stalled\":%llu,\"gap_ms\":%.1f,\"problem\":\"",
	       good_run(l) ? "true" : "false", l->downloads, l->uploads,
	       (unsigned long long)l->size, seconds, l->complete, m->at ? "true" : "false",
	       m->at ? (unsigned long long)m->complete : l->complete,
	       m->at ? l->complete - m->complete : 0, l->bytes,
	       m->at ? (unsigned long long)m->bytes : l->bytes, l->lost, l->contradicted, l->reset,
	       l->stalled, gap);
	for (p = l->problem; *p; p++)
		putchar(*p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? '?' : *p);
	printf("\"}\n");
}

static void run(struct load *l)
{
	int i, n = l->downloads + l->uploads;
	struct stream *s = must(calloc((size_t)n, sizeof(*s)));
	struct marked mark = { 0 };
	sigset_t set;
	struct {
		struct load *l;
		struct marked *mark;
		const sigset_t *set;
		uint64_t begin;
	} w = { l, &mark, &set, now_ns() };
	pthread_t watcher;
	uint64_t gap = 0, begin = w.begin, bytes;
	double seconds;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&watcher, NULL, watch_signals, &w))
		die("cannot make a thread");
	for (i = 0; i < n; i++) {
		s[i].l = l;
		s[i].id = i;
		s[i].fd = -1;
		s[i].upload = i >= l->downloads;
		if (pthread_create(&s[i].thread, NULL, run_stream, &s[i]))
			die("cannot make a thread");
	}
	for (i = 0; i < n; i++) {
		pthread_join(s[i].thread, NULL);
		if (s[i].longest > gap)
			gap = s[i].longest;
	}
	pthread_kill(watcher, SIGUSR2);
	pthread_join(watcher, NULL);
	seconds = (double)(now_ns() - begin) / NS;
	bytes = l->bytes;
	l->rate = 0;
	for (i = 0; i < n; i++) {
		if (s[i].upload)
			read_back(&s[i]);
		if (s[i].fd >= 0)
			close(s[i].fd);
	}
	l->bytes = bytes;
	report(l, &mark, seconds, (double)gap / MS);
	free(s);
}

static void usage(void)
{
	die("usage: http_load [--host A] [--port P] [--downloads N] [--uploads N] [--size BYTES]\n"
	    "       [--rate BYTES a second and stream] [--rounds N] [--seconds S] [--tail S]\n"
	    "       [--patience S] [--seed N] [--file-seed N] [--json]\n"
	    "       http_load --make FILE --size BYTES --seed N    write what /file must hold");
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{ "host", 1, 0, 'h' },	   { "port", 1, 0, 'p' },      { "downloads", 1, 0, 'd' },
		{ "uploads", 1, 0, 'u' },  { "size", 1, 0, 'z' },      { "rate", 1, 0, 'r' },
		{ "rounds", 1, 0, 'n' },   { "seconds", 1, 0, 's' },   { "tail", 1, 0, 't' },
		{ "patience", 1, 0, 'w' }, { "seed", 1, 0, 'S' },      { "json", 0, 0, 'j' },
		{ "make", 1, 0, 'm' },	   { "file-seed", 1, 0, 'f' }, { 0 },
	};
	static struct load l = { .host = "127.0.0.1",
				 .port = "80",
				 .downloads = 2,
				 .uploads = 2,
				 .size = 50000000,
				 .patience = 10,
				 .seed = 1,
				 .file_seed = 1,
				 .lock = PTHREAD_MUTEX_INITIALIZER };
	const char *make = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (o) {
		case 'h':
			l.host = optarg;
			break;
		case 'p':
			l.port = optarg;
			break;
		case 'd':
			l.downloads = (int)arg_number("--downloads", optarg, 0, 100);
			break;
		case 'u':
			l.uploads = (int)arg_number("--uploads", optarg, 0, 100);
			break;
		case 'z':
			l.size = (uint64_t)arg_number("--size", optarg, 1, 1e12);
			break;
		case 'r':
			l.rate = (uint64_t)arg_number("--rate", optarg, 1, 1e12);
			break;
		case 'n':
			l.rounds = (unsigned int)arg_number("--rounds", optarg, 1, 1e6);
			break;
		case 's':
			l.seconds = arg_number("--seconds", optarg, 0.01, 1e6);
			break;
		case 't':
			l.tail = arg_number("--tail", optarg, 0.01, 1e6);
			break;
		case 'w':
			l.patience = arg_number("--patience", optarg, 0.1, 1e6);
			break;
		case 'S':
			l.seed = (uint64_t)arg_number("--seed", optarg, 0, 1e9);
			break;
		case 'f':
			l.file_seed = (uint64_t)arg_number("--file-seed", optarg, 0, 1e9);
			break;
		case 'j':
			l.json = true;
			break;
		case 'm':
			make = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind < argc || l.downloads + l.uploads == 0)
		usage();
	if (make)
		return make_file(make, l.size, l.seed);
	if (!l.rounds && l.seconds == 0 && l.tail == 0)
		l.rounds = 1;
	if (getrandom(&l.tag, sizeof(l.tag), 0) != sizeof(l.tag))
		die("getrandom: %s", strerror(errno));
	run(&l);
	return good_run(&l) ? 0 : 1;
}
