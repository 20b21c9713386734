// SPDX-License-Identifier: MIT
/*
 * The recorder alone: records a command in a pid namespace of its own, or processes of one that is
 * there, drains the ring (and packs it as the link would), and says what it cost and lost.
 *
 *	record [options] -- CMD…	records CMD until it ends
 *	record [options] -p PID		records the pid namespace of PID until SIGINT
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zstd.h>

#include "ptrace.h"
#include "recorder.h"
#include "spawn.h"
#include "util.h"
#include "vdso.h"

#define PACK (256u << 10)

struct sink {
	FILE *out;
	ZSTD_CCtx *zstd;
	size_t fill;
	uint64_t records, bytes, packed, kinds[RRC_REC_KINDS], calls[RRC_NSYS];
	uint8_t *buf, *packed_buf;
};

struct args {
	const char *name, *out, *ifname, *start;
	char **cmd;
	pid_t pid;
	bool off, pack, patch, old_kernel, verbose, attach_only;
	size_t ring;
	int cpu;
};

static void pack(struct sink *s)
{
	size_t n;

	if (!s->fill)
		return;
	n = ZSTD_compressCCtx(s->zstd, s->packed_buf, ZSTD_compressBound(PACK), s->buf, s->fill, 1);
	s->packed += n;
	s->fill = 0;
}

static int take(void *ctx, const struct rrc_rec *rec)
{
	struct sink *s = ctx;

	s->records++;
	s->bytes += rec->size;
	s->kinds[rec->kind % RRC_REC_KINDS]++;
	if (rec->kind == RRC_REC_SYSCALL && rec->nr < RRC_NSYS)
		s->calls[rec->nr]++;
	if (s->out && fwrite(rec, rec->size, 1, s->out) != 1)
		return -EIO;
	if (!s->zstd || rec->size > PACK)
		return 0;
	if (s->fill + rec->size > PACK)
		pack(s);
	memcpy(s->buf + s->fill, rec, rec->size);
	s->fill += rec->size;
	return 0;
}

static void report(struct rrc_recorder *rec, struct sink *s)
{
	struct rrc_stats st;
	struct rusage ru;

	rrc_recorder_stats(rec, &st);
	getrusage(RUSAGE_SELF, &ru);
	fprintf(stderr,
		"{\"records\": %llu, \"drained\": %llu, \"bytes\": %llu, \"packed\": %llu, "
		"\"lost\": %llu, \"barriers\": %llu, \"faults\": %llu, \"truncated\": %llu, "
		"\"births\": %llu, \"deaths\": %llu, \"signals\": %llu, \"packets\": %llu, "
		"\"packets_dropped\": %llu, \"conns\": %llu, \"cpu_s\": %.2f, \"barrier_calls\": {",
		(unsigned long long)st.records, (unsigned long long)s->records,
		(unsigned long long)s->bytes, (unsigned long long)s->packed,
		(unsigned long long)st.lost, (unsigned long long)st.barriers,
		(unsigned long long)st.faults, (unsigned long long)st.truncated,
		(unsigned long long)st.births, (unsigned long long)st.deaths,
		(unsigned long long)st.signals, (unsigned long long)st.packets,
		(unsigned long long)st.packets_dropped, (unsigned long long)st.conns,
		(double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
			(double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
	for (unsigned int nr = 0, n = 0; nr < RRC_NSYS; nr++) {
		uint64_t b = rrc_recorder_barriers(rec, nr);

		if (b)
			fprintf(stderr, "%s\"%s\": %llu", n++ ? ", " : "",
				rrc_sysname(nr) ?: "other", (unsigned long long)b);
	}
	fprintf(stderr, "}}\n");
}

static bool child_ended(pid_t child, int *status)
{
	return child && waitpid(child, status, WNOHANG) == child &&
	       (WIFEXITED(*status) || WIFSIGNALED(*status));
}

/* Drains until the child ends or a signal says so. Returns the exit code. */
static int run(struct rrc_recorder *rec, struct sink *s, pid_t child, int sigfd)
{
	struct pollfd fds[] = { { .fd = rrc_ring_fd(rrc_recorder_ring(rec)), .events = POLLIN },
				{ .fd = sigfd, .events = POLLIN } };
	struct signalfd_siginfo si;
	int status = 0, ret;

	for (;;) {
		poll(fds, 2, 20);
		ret = rrc_recorder_drain(rec, take, s, RRC_DRAIN_READY);
		if (ret < 0)
			break;
		if (!(fds[1].revents & POLLIN) || read(sigfd, &si, sizeof(si)) != sizeof(si))
			continue;
		if (si.ssi_signo != SIGCHLD || child_ended(child, &status)) {
			ret = rrc_recorder_drain(rec, take, s, RRC_DRAIN_ALL);
			break;
		}
	}
	if (ret < 0) {
		fprintf(stderr, "drain: %s\n", strerror(-ret));
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: record [-o FILE] [-n NAME] [-i IFNAME] [-C CPU] [-r RING-KIB] [-zVSNav] -- CMD… | -p PID\n"
		"  -z pack  -V patch the vDSO  -S as on 6.1\n"
		"  -N attached but off  -a load and attach only  -v verifier's log\n");
	return 2;
}

static int parse(int argc, char **argv, struct args *a)
{
	int o;

	a->cpu = -1;
	while ((o = getopt(argc, argv, "+o:n:i:p:C:r:zVSNav")) != -1) {
		switch (o) {
		case 'o':
			a->out = optarg;
			break;
		case 'n':
			a->name = optarg;
			break;
		case 'i':
			a->ifname = optarg;
			break;
		case 'p':
			a->pid = atoi(optarg);
			break;
		case 'C':
			a->cpu = atoi(optarg);
			break;
		case 'r':
			a->ring = (size_t)atoi(optarg) << 10;
			break;
		case 'z':
			a->pack = true;
			break;
		case 'V':
			a->patch = true;
			break;
		case 'S':
			a->old_kernel = true;
			break;
		case 'N':
			a->off = true;
			break;
		case 'a':
			a->attach_only = true;
			break;
		case 'v':
			a->verbose = true;
			break;
		default:
			return usage();
		}
	}
	a->cmd = argv + optind;
	return !*a->cmd == !a->pid ? usage() : 0;
}

static int fail(const struct rrc_error *err)
{
	fprintf(stderr, "record: %s\n", err->msg);
	return err->exit;
}

static void pin_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
	struct args a = { 0 };
	struct rrc_recorder_opts opts = { 0 };
	struct rrc_error err = { 0 };
	struct rrc_recorder *rec;
	struct sink s = { 0 };
	pid_t child = 0;
	int ret = parse(argc, argv, &a), sigfd, netns = -1;
	char path[64];
	sigset_t mask;

	if (ret)
		return ret;
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	sigfd = signalfd(-1, &mask, SFD_CLOEXEC);
	if (*a.cmd)
		a.pid = child = spawn_in_pidns(a.cmd);
	opts.name = a.name;
	opts.ring_bytes = a.ring;
	opts.pidns = ns_ino(a.pid, "pid");
	opts.netns = ns_ino(a.pid, "net");
	opts.old_kernel = a.old_kernel;
	opts.verbose = a.verbose;
	if (a.out && !(s.out = fopen(a.out, "w"))) {
		perror(a.out);
		return 1;
	}
	if (a.pack) {
		s.zstd = ZSTD_createCCtx();
		s.buf = malloc(PACK);
		s.packed_buf = malloc(ZSTD_compressBound(PACK));
	}
	rec = rrc_recorder_open(&opts, &err);
	if (!rec || rrc_recorder_attach(rec, &err))
		goto out;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", a.pid);
	if (a.ifname && ((netns = open(path, O_RDONLY | O_CLOEXEC)) < 0 ||
			 rrc_recorder_attach_tc(rec, netns, a.ifname, &err)))
		goto out;
	if (a.patch && rrc_vdso_patch(a.pid, &err) < 0)
		goto out;
	if (a.attach_only)
		goto out;
	rrc_recorder_on(rec, !a.off);
	if (a.cpu >= 0)
		pin_cpu(a.cpu);
	if (child)
		ptrace(PTRACE_DETACH, child, 0, 0);
	fprintf(stderr, "ready\n");
	ret = run(rec, &s, child, sigfd);
	child = 0;
	pack(&s);
	report(rec, &s);
out:
	if (child)
		kill(child, SIGKILL);
	if (netns >= 0)
		rrc_recorder_detach_tc(netns, a.ifname, NULL);
	rrc_recorder_close(rec);
	if (s.out)
		fclose(s.out);
	return err.exit ? fail(&err) : ret;
}
