/* SPDX-License-Identifier: MIT */
/* user/spawn.c: held before its execve, output relayed, exit status; dumped there and restored. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "criu.h"
#include "host.h"
#include "ptrace.h"
#include "spawn.h"

static void need_root(void)
{
	if (geteuid())
		cr_skip_test("needs root");
}

/* Our own standard output becomes a pipe; its read end. */
static int capture(void)
{
	int p[2];

	cr_assert(pipe(p) == 0);
	cr_assert(dup2(p[1], 1) == 1);
	close(p[1]);
	return p[0];
}

/* All that was written to the captured output, which is closed on our side first. */
static size_t captured(int fd, char *buf, size_t len)
{
	size_t have = 0;
	ssize_t n;

	fflush(stdout);
	close(1);
	while (have + 1 < len && (n = read(fd, buf + have, len - 1 - have)) > 0)
		have += (size_t)n;
	buf[have] = 0;
	return have;
}

static void spawn(struct rrc_spawn *s, char *const argv[])
{
	struct rrc_error err = { 0 };

	cr_assert(rrc_spawn(s, argv, &err) == 0, "%s", err.msg);
}

Test(spawn, holds_then_runs)
{
	char *argv[] = { "sh", "-c", "echo $$ \"$0\"; exit 7", "an argument", NULL };
	struct rrc_error err = { 0 };
	struct rrc_spawn s;
	char buf[256], link[64];
	int out, code;
	ssize_t n;

	need_root();
	out = capture();
	spawn(&s, argv);
	cr_expect(rrc_ns_tid(s.init) == 1);
	cr_expect(rrc_ns_tid(s.cmd) == 2);
	snprintf(buf, sizeof(buf), "/proc/%d/exe", s.cmd);
	n = readlink(buf, link, sizeof(link) - 1);
	cr_assert(n > 0);
	link[n] = 0;
	cr_expect(strstr(link, "rrc-init"), "still before its execve, but it is %s", link);
	cr_assert(rrc_spawn_start(&s, &err) == 0);
	code = rrc_spawn_finish(&s, NULL, &err);
	cr_expect(code == 7, "exit code %d", code);
	captured(out, buf, sizeof(buf));
	cr_expect_str_eq(buf, "2 an argument\n");
}

Test(spawn, a_signal_is_its_exit_code)
{
	char *argv[] = { "sh", "-c", "kill -TERM $$; echo not reached", NULL };
	struct rrc_spawn s;
	char buf[64];
	int out, code;

	need_root();
	out = capture();
	spawn(&s, argv);
	cr_assert(rrc_spawn_start(&s, NULL) == 0);
	code = rrc_spawn_finish(&s, NULL, NULL);
	captured(out, buf, sizeof(buf));
	cr_expect_str_eq(buf, "");
	cr_expect(code == 128 + SIGTERM, "exit code %d", code);
}

Test(spawn, inherits_nothing_more)
{
	char *argv[] = { "sh", "-c", "ls /proc/self/fd", NULL };
	struct rrc_spawn s;
	char buf[256];
	int out;

	need_root();
	out = capture();
	cr_assert(open("/dev/null", O_RDWR) >= 0); /* not close-on-exec on purpose */
	spawn(&s, argv);
	rrc_spawn_start(&s, NULL);
	cr_expect(rrc_spawn_finish(&s, NULL, NULL) == 0);
	captured(out, buf, sizeof(buf));
	cr_expect_str_eq(buf, "0\n1\n2\n3\n"); /* 3 is the directory that ls reads */
}

Test(spawn, unknown_command_is_a_usage_error)
{
	char *argv[] = { "no-such-command-anywhere", NULL };
	struct rrc_error err = { 0 };
	struct rrc_spawn s;

	cr_assert(rrc_spawn(&s, argv, &err) < 0);
	cr_expect(err.exit == RRC_EXIT_USAGE);
	cr_expect(strstr(err.msg, "no-such-command-anywhere"));
}

Test(spawn, kill_leaves_no_process)
{
	char *argv[] = { "sh", "-c", "sleep 1000", NULL };
	struct rrc_spawn s;
	pid_t init, cmd;

	need_root();
	spawn(&s, argv);
	init = s.init;
	cmd = s.cmd;
	rrc_spawn_kill(&s);
	cr_expect(kill(init, 0) < 0 && errno == ESRCH);
	cr_expect(kill(cmd, 0) < 0 && errno == ESRCH);
	rrc_spawn_kill(&s); /* again: nothing happens */
}

/* CRIU runs in a network namespace that is not the command's. */
static int scratch_netns(void)
{
	int ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd;

	cr_assert(ours >= 0 && unshare(CLONE_NEWNET) == 0);
	cr_assert(system("ip link set lo up") == 0);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0 && setns(ours, CLONE_NEWNET) == 0);
	close(ours);
	return fd;
}

static void dump(const struct rrc_spawn *s, const char *criu, const char *images, const char *run)
{
	struct rrc_error err = { 0 };
	struct stat st;
	struct rrc_criu_dump d = {
		.criu = criu,
		.init = s->init,
		.images = images,
		.run_dir = run,
		.netns = scratch_netns(),
	};

	cr_assert(stat("/proc/self/ns/net", &st) == 0);
	d.container_netns = st.st_ino;
	cr_assert(rrc_criu_dump(&d, &err) == 0, "%s", err.msg);
	close(d.netns);
}

static pid_t restore(const char *criu, const char *images, const char *run, const char *key, int fd)
{
	struct rrc_error err = { 0 };
	const char *keys[] = { key };
	int fds[] = { fd };
	struct rrc_criu_restore r = {
		.criu = criu,
		.images = images,
		.log_dir = run,
		.inherit_key = keys,
		.inherit_fd = fds,
		.inherits = key ? 1 : 0,
		.netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
	};
	pid_t pid = rrc_criu_restore(&r, &err);

	cr_assert(pid > 0, "%s", err.msg);
	close(r.netns);
	return pid;
}

static void run_restored(pid_t init, int expect)
{
	struct stat st;
	pid_t *all;
	char path[64];
	int n, i, status;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", init);
	cr_assert(stat(path, &st) == 0);
	n = rrc_pidns_processes(st.st_ino, &all);
	cr_assert(n == 2, "%d processes", n);
	for (i = 0; i < n; i++)
		kill(all[i], SIGCONT);
	free(all);
	cr_assert(waitpid(init, &status, __WALL) == init);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == expect, "status %x",
		  (unsigned int)status);
}

/* The first checkpoint of a recording: the command's run begins twice and prints the same twice. */
Test(spawn, dumps_and_restores_at_the_hold, .timeout = 30)
{
	char *argv[] = { "sh", "-c", "echo begun; seq 1 20000 | tail -n 1; exit 5", NULL };
	char dir[] = "/tmp/rrc-spawn-XXXXXX", images[64], criu[4096], key[64], buf[256];
	struct rrc_error err = { 0 };
	struct rrc_spawn s;
	int out, p[2];
	pid_t pid;

	need_root();
	if (rrc_host_criu(criu, sizeof(criu), &err))
		cr_skip_test("%s", err.msg);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	out = capture();
	spawn(&s, argv);
	cr_assert(mkdtemp(dir) && snprintf(images, sizeof(images), "%s/img", dir) > 0);
	cr_assert(mkdir(images, 0700) == 0);
	snprintf(key, sizeof(key), "pipe:[%llu]", (unsigned long long)s.out_ino);
	dump(&s, criu, images, dir);
	cr_assert(rrc_spawn_start(&s, &err) == 0);
	cr_expect(rrc_spawn_finish(&s, NULL, &err) == 5);
	captured(out, buf, sizeof(buf));
	cr_expect_str_eq(buf, "begun\n20000\n");

	/* With our own pipe in place of the recorded one. */
	cr_assert(pipe2(p, O_CLOEXEC) == 0);
	pid = restore(criu, images, dir, key, p[1]);
	close(p[1]);
	run_restored(pid, 5);
	cr_expect(read(p[0], buf, sizeof(buf)) == 12 && !memcmp(buf, "begun\n20000\n", 12));

	/* Nothing declared: a pipe with no reader. It comes up all the same; replay never writes there. */
	pid = restore(criu, images, dir, NULL, -1);
	kill(pid, SIGKILL);
	cr_expect(waitpid(pid, NULL, __WALL) == pid);
	snprintf(buf, sizeof(buf), "rm -rf %s", dir);
	cr_expect(system(buf) == 0);
}
