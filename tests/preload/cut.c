// SPDX-License-Identifier: MIT
/* A checkpoint in the middle: a guest is recorded, dumped by CRIU at any instruction, runs on; restored, it
 * goes from there by the log since the cut and must write what the original wrote.
 *	cut DIRECTORY DELAY_MS PATIENCE_NS LIBRARY CMD ARGS…
 * An odd delay: the rings are drained until the threads stand. An even one: they run full meanwhile. */
#include <limits.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "criu.h"
#include "host.h"
#include "run.h"

static struct rrc_error err;

/* A network namespace of its own, its loopback up. */
static int new_netns(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd, s;

	if (unshare(CLONE_NEWNET) < 0)
		die("unshare");
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) < 0)
		die("lo");
	close(s);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("netns");
	return fd;
}

/* In a pid namespace of its own, so that its ids are free at the restore. */
static void start_guest(struct run *r, const char *out, const char *library, char **argv)
{
	int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600), null = open("/dev/null", O_RDWR);
	int pidns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

	memset(r, 0, sizeof(*r));
	r->out = -1;
	if (fd < 0 || null < 0 || unshare(CLONE_NEWPID) < 0)
		die("start");
	r->pid = fork();
	if (!r->pid) {
		setsid();
		dup2(null, 0);
		dup2(fd, 1);
		dup2(null, 2);
		close_range(3, ~0U, 0);
		setenv("LD_PRELOAD", library, 1);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execvp(argv[0], argv);
		_exit(127);
	}
	setns(pidns, CLONE_NEWPID); /* for the children to come */
	close(pidns);
	close(fd);
	close(null);
	if (!to_constructor(r->pid) || rrc_locklog_open(r->pid, &r->ll, &err) < 0) {
		fprintf(stderr, "cut: %s: %s\n", argv[0], err.msg);
		exit(3);
	}
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
}

struct at_cut {
	struct run *run;
	struct log *log;
	pthread_t drainer;
	bool draining;
	_Atomic bool frozen;
	unsigned int inside, full; /* slots in the middle of an operation, or waiting for room */
	bool done;
};

/* Until all threads stand: else those with full rings would wait there, and only they. */
static void *keep_draining(void *arg)
{
	struct at_cut *cut = arg;

	while (!cut->frozen)
		drain(cut->run, cut->log);
	return NULL;
}

static int on_point(void *ctx, enum rrc_criu_point point, struct rrc_error *e)
{
	struct at_cut *cut = ctx;
	const struct rrc_ll_area *a = cut->run->ll.area;
	uint32_t i;

	(void)e;
	if (point != RRC_CRIU_FROZEN)
		return 0;
	cut->frozen = true;
	if (cut->draining)
		pthread_join(cut->drainer, NULL);
	for (i = 0; i < a->slots; i++) {
		cut->inside += a->slot[i].ops != a->slot[i].done;
		cut->full += a->slot[i].state == RRC_LL_RING_FULL;
	}
	drain(cut->run, cut->log);
	for (i = 0; i < RRC_LL_SLOTS; i++)
		cut->log->feed[i].count = 0; /* what was before the cut is in the checkpoint */
	cut->done = true;
	return 0;
}

static void read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0)
		die(path);
	buf[n] = '\0';
	close(fd);
}

/* By the log, from a stop of all threads. True: it ended. */
static bool replay_rest(struct run *r, const struct log *log, uint32_t patience)
{
	uint64_t last = 0, now;
	int n, i, quiet = 0, waits = 0;
	pid_t *tids;

	n = rrc_seize_process(r->pid, 0, &tids, &err);
	if (n < 0 || rrc_locklog_open(r->pid, &r->ll, &err) < 0) {
		fprintf(stderr, "cut: %s\n", err.msg);
		exit(3);
	}
	rrc_locklog_replay(&r->ll, patience);
	feed(r, log);
	kill(r->pid, SIGCONT);
	for (i = 0; i < n; i++)
		ptrace(PTRACE_DETACH, tids[i], 0, 0);
	free(tids);
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	for (;;) {
		struct pollfd p = { r->pidfd, POLLIN, 0 };

		if (poll(&p, 1, 100) > 0)
			return true;
		now = progress(r);
		quiet = now == last ? quiet + 1 : 0;
		last = now;
		if (quiet == 30 || ++waits == 300) {
			describe(r);
			kill(r->pid, SIGKILL);
			return false;
		}
	}
}

int main(int argc, char **argv)
{
	struct rrc_criu_dump dump = { .own_mounts = 0, .hook = on_point };
	struct rrc_criu_restore restore = { 0 };
	char criu[PATH_MAX], images[PATH_MAX], out[PATH_MAX], first[4096], second[4096];
	static struct log log;
	struct at_cut cut = { .log = &log };
	struct run run;
	struct stat ns;
	bool ended;
	uint32_t i, events = 0;
	int delay;

	if (argc < 6)
		return 2;
	if (rrc_host_criu(criu, sizeof(criu), &err) < 0) {
		fprintf(stderr, "cut: %s\n", err.msg);
		return 77;
	}
	snprintf(images, sizeof(images), "%s/images", argv[1]);
	snprintf(out, sizeof(out), "%s/out", argv[1]);
	if (mkdir(images, 0700) < 0)
		die(images);
	dump.netns = new_netns();
	restore.netns = new_netns();
	if (fstat(restore.netns, &ns) < 0)
		die("netns");
	start_guest(&run, out, argv[4], argv + 5);
	rrc_locklog_set_mode(&run.ll, RRC_LL_RECORD);
	go(&run);
	for (delay = atoi(argv[2]); delay > 0 && !step(&run, 1); delay--)
		drain(&run, &log);
	cut.run = &run;
	cut.draining = atoi(argv[2]) % 2;
	if (cut.draining && pthread_create(&cut.drainer, NULL, keep_draining, &cut))
		die("thread");
	dump.criu = criu;
	dump.init = run.pid;
	dump.images = images;
	dump.run_dir = argv[1];
	dump.container_netns = ns.st_ino;
	dump.ctx = &cut;
	if (rrc_criu_dump(&dump, &err) < 0 || !cut.done) {
		fprintf(stderr, "cut: %s\n", err.msg);
		kill(run.pid, SIGKILL);
		return 3;
	}
	while (!step(&run, 1))
		drain(&run, &log);
	drain(&run, &log);
	for (i = 0; i < RRC_LL_SLOTS; i++)
		events += log.feed[i].count =
			rrc_locklog_settle(log.feed[i].events, log.feed[i].count);
	rrc_locklog_resolve(log.feed);
	read_file(out, first, sizeof(first));
	close(run.pidfd);
	rrc_locklog_close(&run.ll);
	if (run.status || !first[0] || truncate(out, 0) < 0)
		die("the recorded run");

	restore.criu = criu;
	restore.images = images;
	restore.log_dir = argv[1];
	run.pid = rrc_criu_restore(&restore, &err);
	if (run.pid < 0) {
		fprintf(stderr, "cut: %s\n", err.msg);
		return 3;
	}
	ended = replay_rest(&run, &log, (uint32_t)atoi(argv[3]));
	read_file(out, second, sizeof(second));
	printf("# %u threads inside an operation at the cut, %u waited for room; %u events after it\n",
	       cut.inside, cut.full, events);
	if (!ended || strcmp(first, second)) {
		printf("# recorded: %s# replayed: %s\n", first, second);
		return 1;
	}
	return 0;
}
