/* SPDX-License-Identifier: MIT */
/* Runs CRIU, see criu.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "criu.h"
#include "criu_guard.h"
#include "util.h"

#define RRC_CRIU_NET "rrcnet" /* name under which dump and restore know the network namespace */
#define RRC_MAX_ARGS 128

/* CRIU raises RLIMIT_NOFILE to fs.nr_open; where a missing capability forbids that, the only way is
 * to lower fs.nr_open to what is allowed. */
static void fit_nr_open(void)
{
	struct rlimit rl, want;
	unsigned long nr_open;
	rrc_autofclose FILE *f = fopen("/proc/sys/fs/nr_open", "r+");

	if (!f || fscanf(f, "%lu", &nr_open) != 1 || getrlimit(RLIMIT_NOFILE, &rl) ||
	    rl.rlim_max >= nr_open)
		return;
	want = (struct rlimit){ .rlim_cur = rl.rlim_cur, .rlim_max = nr_open };
	if (!setrlimit(RLIMIT_NOFILE, &want))
		return;
	rewind(f);
	fprintf(f, "%lu\n", (unsigned long)rl.rlim_max);
}

struct args {
	const char *v[RRC_MAX_ARGS + 1];
	size_t n;
	char text[16384];
	size_t used;
};

static void arg(struct args *a, const char *s)
{
	if (a->n < RRC_MAX_ARGS)
		a->v[a->n++] = s;
}

static void argf(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void argf(struct args *a, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(a->text + a->used, sizeof(a->text) - a->used, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(a->text) - a->used)
		return;
	arg(a, a->text + a->used);
	a->used += (size_t)n + 1;
}

/* What differs between the child and us: network namespace, and descriptors that it inherits at
 * fixed numbers from 100 on. */
static pid_t spawn(const struct args *a, int netns, const int *fds, size_t nfds)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (netns >= 0 && setns(netns, CLONE_NEWNET))
		_exit(126);
	for (size_t i = 0; i < nfds; i++) {
		/* By way of a high number: a source may sit where a target goes. */
		int high = fcntl(fds[i], F_DUPFD, 300);

		if (high < 0 || dup2(high, 300 + (int)i) < 0)
			_exit(126);
	}
	for (size_t i = 0; i < nfds; i++)
		if (dup2(300 + (int)i, 100 + (int)i) < 0)
			_exit(126);
	int null = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3; i++)
		dup2(null, i);
	syscall(SYS_close_range, 3, 99, 0);
	syscall(SYS_close_range, 100 + (unsigned int)nfds, ~0u, 0);
	setsid();
	execv(a->v[0], (char *const *)a->v);
	_exit(127);
}

/* The last error line of CRIU's log, for the message. */
static void last_error(const char *path, char *buf, size_t size)
{
	rrc_autofclose FILE *f = fopen(path, "r");
	char line[600];

	snprintf(buf, size, "see %s", path);
	while (f && fgets(line, sizeof(line), f)) {
		char *e = strstr(line, "Error ");

		if (!e)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(buf, size, "%s (see %s)", e, path);
		if (!strstr(e, "FAILED"))
			return;
	}
}

static int reap(pid_t pid)
{
	int st;

	while (waitpid(pid, &st, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128;
}

static const char *const point_name[RRC_CRIU_POINTS] = {
	[RRC_CRIU_FROZEN] = "network-lock",
	[RRC_CRIU_DUMPED] = "post-dump",
};

/* The hook: a shell script that says where CRIU is and waits for our word. Its names have our number: what one of
 * us that was killed has left is being finished by its guard. */
static int questions_open(struct rrc_criu_questions *f, const char *dir, struct rrc_error *err)
{
	static const char body[] =
		"#!/bin/sh\n"
		"case $CRTOOLS_SCRIPT_ACTION in network-lock|post-dump) ;; *) exit 0;; esac\n"
		"echo $CRTOOLS_SCRIPT_ACTION >\"$0-ask\"\n"
		"read -r answer <\"$0-answer\"\n"
		"[ \"$answer\" = ok ]\n";
	int fd;

	if (snprintf(f->script, sizeof(f->script), "%s/criu-hook.%d", dir, getpid()) >=
		    (int)sizeof(f->script) ||
	    snprintf(f->ask_path, sizeof(f->ask_path), "%s-ask", f->script) >=
		    (int)sizeof(f->ask_path) ||
	    snprintf(f->answer_path, sizeof(f->answer_path), "%s-answer", f->script) >=
		    (int)sizeof(f->answer_path))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
	unlink(f->ask_path);
	unlink(f->answer_path);
	fd = open(f->script, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	if (fd < 0 || write(fd, body, sizeof(body) - 1) != (ssize_t)sizeof(body) - 1 || close(fd))
		return rrc_fail(err, errno, "%s: %s", f->script, strerror(errno));
	if (mkfifo(f->ask_path, 0600) || mkfifo(f->answer_path, 0600))
		return rrc_fail(err, errno, "%s: %s", f->ask_path, strerror(errno));
	f->ask = open(f->ask_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	f->answer = open(f->answer_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (f->ask < 0 || f->answer < 0)
		return rrc_fail(err, errno, "%s: %s", f->ask_path, strerror(errno));
	return 0;
}

/* Answers CRIU's questions until it has ended. */
static int serve(const struct rrc_criu_dump *d, struct rrc_criu_questions *f, pid_t pid,
		 struct rrc_error *err)
{
	rrc_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int failed = 0;

	for (;;) {
		struct pollfd p[2] = { { f->ask, POLLIN, 0 }, { pidfd, POLLIN, 0 } };
		char word[64] = "";
		ssize_t n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents & POLLIN) {
			n = read(f->ask, word, sizeof(word) - 1);
			word[n > 0 ? strcspn(word, "\n") : 0] = 0;
			for (int i = 0; i < RRC_CRIU_POINTS; i++)
				if (!failed && !strcmp(word, point_name[i]) && d->hook)
					failed = d->hook(d->ctx, (enum rrc_criu_point)i, err);
			if (write(f->answer, failed ? "no\n" : "ok\n", 3) != 3)
				failed = failed ? failed : -errno;
		} else if (p[1].revents) {
			return failed;
		}
	}
}

static void dump_args(struct args *a, const struct rrc_criu_dump *d, const char *script)
{
	arg(a, d->criu);
	arg(a, "dump");
	arg(a, "-t");
	argf(a, "%d", d->init);
	arg(a, "-D");
	arg(a, d->images);
	arg(a, "-o");
	argf(a, "%s/dump.log", d->run_dir);
	arg(a, "-v2");
	arg(a, "--tcp-close");
	arg(a, "--network-lock");
	arg(a, "skip");
	arg(a, "--leave-running");
	if (d->skip_unaccepted)
		arg(a, "--skip-in-flight");
	arg(a, "--manage-cgroups=ignore");
	arg(a, "--file-locks");
	arg(a, "--ghost-limit");
	arg(a, "64M");
	arg(a, "--external");
	argf(a, "net[%llu]:" RRC_CRIU_NET, (unsigned long long)d->container_netns);
	if (d->own_mounts) {
		arg(a, "--external");
		arg(a, "mnt[]:sm");
	}
	for (size_t i = 0; d->external && d->external[i]; i++) {
		arg(a, "--external");
		arg(a, d->external[i]);
	}
	arg(a, "--action-script");
	arg(a, script);
}

struct dump_start {
	const struct args *args;
	int netns;
};

static pid_t start_dump(const void *ctx)
{
	const struct dump_start *s = ctx;

	return spawn(s->args, s->netns, NULL, 0);
}

int rrc_criu_dump(const struct rrc_criu_dump *d, struct rrc_error *err)
{
	char log[PATH_MAX], why[900];
	struct rrc_criu_questions q = { .ask = -1, .answer = -1 };
	struct args a = { 0 };
	struct dump_start start = { &a, d->netns };
	int ret = questions_open(&q, d->run_dir, err), status, alive = -1;
	pid_t pid;

	if (ret) {
		rrc_criu_questions_close(&q);
		return ret;
	}
	fit_nr_open();
	dump_args(&a, d, q.script);
	snprintf(log, sizeof(log), "%s/dump.log", d->run_dir);
	pid = rrc_criu_guard(&q, start_dump, &start, &alive);
	if (pid < 0) {
		ret = rrc_fail(err, pid, "cannot start %s: %s", d->criu, strerror(-pid));
	} else {
		ret = serve(d, &q, pid, err);
		status = reap(pid);
		if (!ret && status) {
			last_error(log, why, sizeof(why));
			ret = rrc_fail(err, EIO, "CRIU could not dump the container: %s", why);
		}
	}
	rrc_closep(&alive);
	rrc_criu_questions_close(&q);
	return ret;
}

pid_t rrc_criu_restore(const struct rrc_criu_restore *r, struct rrc_error *err)
{
	char log[PATH_MAX], pidfile[PATH_MAX], why[900];
	rrc_autofclose FILE *f = NULL;
	int fds[RRC_MAX_ARGS / 4], ret, pid = -1;
	size_t nfds = 0;
	struct args a = { 0 };

	fit_nr_open();
	snprintf(log, sizeof(log), "%s/restore.log", r->log_dir);
	snprintf(pidfile, sizeof(pidfile), "%s/restore.pid", r->log_dir);
	unlink(pidfile);
	arg(&a, r->criu);
	arg(&a, "restore");
	arg(&a, "-D");
	arg(&a, r->images);
	arg(&a, "-o");
	arg(&a, log);
	arg(&a, "-v2");
	arg(&a, "-d");
	arg(&a, "-s");
	arg(&a, "--tcp-close");
	arg(&a, "--manage-cgroups=ignore");
	arg(&a, "--file-locks");
	arg(&a, "--pidfile");
	arg(&a, pidfile);
	if (r->root) {
		arg(&a, "--root");
		arg(&a, r->root);
	}
	if (r->own_mounts) {
		arg(&a, "--external");
		arg(&a, "mnt[]:sm");
	}
	arg(&a, "--inherit-fd");
	argf(&a, "fd[%zu]:" RRC_CRIU_NET, 100 + nfds);
	fds[nfds++] = r->netns;
	for (size_t i = 0; i < r->inherits && nfds < RRC_ARRAY_SIZE(fds); i++) {
		arg(&a, "--inherit-fd");
		argf(&a, "fd[%zu]:%s", 100 + nfds, r->inherit_key[i]);
		fds[nfds++] = r->inherit_fd[i];
	}
	ret = spawn(&a, -1, fds, nfds);
	if (ret < 0)
		return rrc_fail(err, errno, "cannot start %s: %s", r->criu, strerror(errno));
	ret = reap(ret);
	if (ret) {
		last_error(log, why, sizeof(why));
		return rrc_fail(err, EIO, "CRIU could not restore the checkpoint: %s", why);
	}
	f = fopen(pidfile, "r");
	if (!f || fscanf(f, "%d", &pid) != 1 || pid <= 0)
		return rrc_fail(err, EIO, "CRIU did not say what it restored (%s)", pidfile);
	return pid;
}

/* timens-0.img: a message timens_entry { timespec monotonic = 1; timespec boottime = 2; }, timespec
 * { uint64 tv_sec = 1; uint64 tv_nsec = 2; }, as protobuf, behind two magic words and a length. */
static size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		p[n++] = (uint8_t)(v | 0x80);
	p[n++] = (uint8_t)v;
	return n;
}

static size_t put_timespec(uint8_t *p, uint8_t tag, uint64_t ns)
{
	uint8_t body[32];
	size_t n = 0;

	body[n++] = 0x08;
	n += put_varint(body + n, ns / 1000000000u);
	body[n++] = 0x10;
	n += put_varint(body + n, ns % 1000000000u);
	p[0] = tag;
	p[1] = (uint8_t)n;
	memcpy(p + 2, body, n);
	return n + 2;
}

int rrc_criu_set_clock(const char *images, uint64_t mono_ns, uint64_t boot_ns,
		       struct rrc_error *err)
{
	char path[PATH_MAX];
	rrc_autoclose int fd = -1;
	uint8_t img[128];
	uint32_t head[3], old[2] = { 0 };
	size_t n = sizeof(head);

	snprintf(path, sizeof(path), "%s/timens-0.img", images);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0; /* a CRIU without time namespaces: nothing to set */
	if (fd < 0 || read(fd, old, sizeof(old)) != (ssize_t)sizeof(old))
		return rrc_fail(err, errno ? errno : EBADMSG, "%s: %s", path, strerror(errno));
	n += put_timespec(img + n, 0x0a, mono_ns);
	n += put_timespec(img + n, 0x12, boot_ns);
	head[0] = old[0];
	head[1] = old[1];
	head[2] = (uint32_t)(n - sizeof(head));
	memcpy(img, head, sizeof(head));
	if (ftruncate(fd, 0) || pwrite(fd, img, n, 0) != (ssize_t)n)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}
