// SPDX-License-Identifier: MIT
/*
 * However much is drained at once: whoever has the log up to the end of any of its frames has the lock log of every
 * call in it. A host may die between two frames, and what left it then is covered by the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "../bench/spawn.h"
#include "collector.h"
#include "reclog.h"
#include "recorder.h"
#include "util.h"
#include "wire.h"

#define CALLS	  200
#define BYTES	  65536 /* of each: sixteen calls fill a frame */
#define TO_TEST	  3 /* the guest's descriptors */
#define FROM_TEST 4

struct seen {
	unsigned int frames, calls, readings;
	int failed;
};

/* One clock reading, one call, and so on. */
static int guest(void)
{
	static char bytes[BYTES];
	struct timespec ts;
	FILE *f = fopen("/proc/self/exe", "re");
	char c = 0;

	if (!f || write(TO_TEST, &c, 1) != 1 || read(FROM_TEST, &c, 1) != 1)
		return 1;
	for (int i = 0; i < CALLS; i++) {
		clock_gettime(CLOCK_REALTIME, &ts);
		if (pread(fileno(f), bytes, sizeof(bytes), 0) != sizeof(bytes))
			return 1;
	}
	return write(TO_TEST, &c, 1) != 1 || read(FROM_TEST, &c, 1) != 1;
}

static int on_frame(void *ctx, const void *frame, size_t len)
{
	const struct rrc_frame *f = frame;
	rrc_autofree uint8_t *records = malloc(f->raw);
	struct seen *s = ctx;
	const struct rrc_rec *rec;
	size_t off = 0;

	(void)len;
	if (!records || rrc_frame_open(f, f + 1, records, NULL))
		return -1;
	while ((rec = rrc_reclog_next(records, f->raw, &off, NULL))) {
		s->calls += rec->kind == RRC_REC_SYSCALL && rec->nr == SYS_pread64;
		if (rec->kind == RRC_REC_LOCKS)
			s->readings = (unsigned int)rec->args[1];
	}
	s->frames++;
	if (s->readings < s->calls) {
		printf("not ok frames: after frame %u there are %u calls, but %u clock readings\n",
		       s->frames, s->calls, s->readings);
		s->failed = 1;
	}
	return 0;
}

static int wait_for(int fd)
{
	char c;

	return read(fd, &c, 1) != 1;
}

static int run(struct rrc_collector *c, struct rrc_recorder *rec, const int out[2], const int in[2],
	       struct rrc_error *err)
{
	uint64_t pos;
	int ret;

	if (wait_for(out[0]))
		return rrc_fail(err, EPIPE, "the guest does not begin");
	rrc_recorder_on(rec, true);
	ret = rrc_collector_cut(c, 1, 1, &pos);
	if (!ret && (write(in[1], "", 1) != 1 || wait_for(out[0])))
		ret = -EPIPE;
	if (!ret)
		ret = rrc_collector_drain(c, 2);
	return ret ? rrc_fail(err, ret, "the guest does not work: %s", strerror(-ret)) : 0;
}

/* Ends at our ends of two pipes; the guest has the others as 3 and 4. */
static int make_pipes(int out[2], int in[2])
{
	int p[4];

	if (pipe(p) || pipe(p + 2))
		return 1;
	for (int i = 0; i < 4; i++) {
		int high = fcntl(p[i], F_DUPFD_CLOEXEC, 10);

		close(p[i]);
		if (high < 0)
			return 1;
		p[i] = high;
	}
	memcpy(out, p, 2 * sizeof(*p));
	memcpy(in, p + 2, 2 * sizeof(*p));
	return dup2(out[1], TO_TEST) != TO_TEST || dup2(in[0], FROM_TEST) != FROM_TEST;
}

static int record(const char *library, struct seen *seen, struct rrc_error *err)
{
	char *cmd[] = { "/proc/self/exe", "guest", NULL };
	struct rrc_recorder_opts opts = { 0 };
	struct rrc_collector_opts co = { .emit = on_frame, .ctx = seen };
	struct rrc_collector *c;
	int out[2], in[2], ret;
	pid_t child;

	if (make_pipes(out, in) || setenv("LD_PRELOAD", library, 1))
		return rrc_fail(err, errno, "pipes");
	child = spawn_in_pidns(cmd);
	unsetenv("LD_PRELOAD");
	co.pidns = opts.pidns = ns_ino(child, "pid");
	co.recorder = rrc_recorder_open(&opts, err);
	c = co.recorder ? rrc_collector_new(&co, err) : NULL;
	ret = c ? rrc_recorder_attach(co.recorder, err) : err->code;
	ptrace(PTRACE_DETACH, child, 0, 0);
	if (!ret)
		ret = run(c, co.recorder, out, in, err);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	rrc_collector_free(c);
	if (co.recorder)
		rrc_recorder_close(co.recorder);
	return ret;
}

int main(int argc, char **argv)
{
	struct rrc_error err = { 0 };
	struct seen seen = { 0 };

	if (argc > 1 && !strcmp(argv[1], "guest"))
		return guest();
	if (argc != 2) {
		fprintf(stderr, "usage: frames LIBRARY\n");
		return RRC_EXIT_USAGE;
	}
	if (record(argv[1], &seen, &err)) {
		fprintf(stderr, "frames: %s\n", err.msg);
		return err.exit ? err.exit : 1;
	}
	if (seen.calls != CALLS || seen.frames < 3) {
		printf("not ok frames: %u frames with %u calls\n", seen.frames, seen.calls);
		seen.failed = 1;
	}
	if (!seen.failed)
		printf("ok frames: each of %u has the lock log of its calls\n", seen.frames);
	return seen.failed;
}
