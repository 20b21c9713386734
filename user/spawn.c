/* SPDX-License-Identifier: MIT */
/* Starts a command in a pid namespace of its own and relays what it prints, see spawn.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "host.h"
#include "spawn.h"
#include "util.h"

#define READY_FD 3 /* what rrc-init closes when the command waits for its start */

extern char **environ;

/* The file that execvp(3) would execute. */
static int find_command(const char *name, char path[PATH_MAX], struct rrc_error *err)
{
	const char *dirs = getenv("PATH"), *d, *end;
	int ret = -ENOENT;
	struct stat st;

	if (strchr(name, '/'))
		dirs = "";
	for (d = dirs ?: "/bin:/usr/bin";; d = end + 1) {
		int n;

		end = strchrnul(d, ':');
		n = (int)(end - d);
		if (snprintf(path, PATH_MAX, "%.*s%s%s", n, d, n ? "/" : "", name) < PATH_MAX &&
		    stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			if (access(path, X_OK) == 0)
				return 0;
			ret = -errno;
		}
		if (!*end)
			break;
	}
	return rrc_fail_exit(err, RRC_EXIT_USAGE, ret, "%s: %s", name,
			     ret == -ENOENT ? "command not found" : strerror(-ret));
}

/* The caller's standard input if a checkpoint can hold it, else /dev/null. */
static int input_fd(void)
{
	struct stat st;

	if (fstat(0, &st) == 0 && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)))
		return fcntl(0, F_DUPFD_CLOEXEC, READY_FD + 1);
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

struct child {
	const char *init;
	char **argv; /* of rrc-init */
	int fd[3]; /* its standard descriptors, all above READY_FD */
	int ready;
};

/* Between clone and execve, in a copy of a process that has threads: system calls only. */
static void __attribute__((noreturn)) child_main(const struct child *c)
{
	sigset_t none;
	int i, e;

	for (i = 0; i < 3; i++)
		if (dup2(c->fd[i], i) < 0)
			goto out;
	/* Above READY_FD as well, so what dup2 overwrites is nobody's. */
	if (dup2(c->ready, READY_FD) < 0 || close_range(READY_FD + 1, ~0u, 0) < 0)
		goto out;
	if (setsid() < 0 || personality(ADDR_NO_RANDOMIZE) < 0)
		goto out;
	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL); /* ours ignores it */
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(c->init, c->argv, environ);
out:
	e = errno;
	if (write(READY_FD, &e, sizeof(e)) < 0)
		_exit(126);
	_exit(126);
}

/* Descriptors above READY_FD, closed at our exec. */
static int make_pipe(int fd[2])
{
	int low[2], i, e;

	fd[0] = fd[1] = -1;
	if (pipe2(low, O_CLOEXEC) < 0)
		return -errno;
	for (i = 0; i < 2; i++) {
		fd[i] = fcntl(low[i], F_DUPFD_CLOEXEC, READY_FD + 1);
		e = errno;
		close(low[i]);
		if (fd[i] < 0) {
			if (i == 0)
				close(low[1]);
			else
				close(fd[0]);
			return -e;
		}
	}
	return 0;
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

static int write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A thread of its own, so that a slow reader of our output never holds the recorder up. Its reader gone,
 * the command finds that out as without us: from its own broken pipe. */
static void *relay_main(void *arg)
{
	struct rrc_spawn_relay *r = arg;
	char buf[16384];

	for (;;) {
		ssize_t n = read(r->from, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || write_all(r->to, buf, (size_t)n) < 0)
			break;
	}
	close(r->from);
	return NULL;
}

static int relay_start(struct rrc_spawn_relay *r, int from, int to)
{
	sigset_t all, old;
	int e;

	r->from = from;
	r->to = to;
	/* The caller's signals are for its own thread; SIGPIPE becomes EPIPE. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	e = pthread_create(&r->thread, NULL, relay_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	r->running = !e;
	return -e;
}

/* Waits until rrc-init and the command have let go of the ready pipe. */
static int wait_ready(int fd, struct rrc_error *err)
{
	int e = 0;
	ssize_t n;

	do {
		n = read(fd, &e, sizeof(e));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return rrc_fail(err, -errno, "the command's process cannot be waited for: %s",
				strerror(errno));
	if (n > 0)
		return rrc_fail(err, -e, "the command's process cannot be set up: %s", strerror(e));
	return 0;
}

/* The only child of rrc-init is the command. */
static int find_cmd(struct rrc_spawn *s, struct rrc_error *err)
{
	rrc_autofclose FILE *f = NULL;
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", s->init, s->init);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%d", &s->cmd) != 1)
		return rrc_fail(err, -ESRCH, "the command's process ended before it started");
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", s->cmd);
	if (stat(path, &st) < 0)
		return rrc_fail(err, -errno, "%s: %s", path, strerror(errno));
	s->pidns = st.st_ino;
	return 0;
}

static int start_child(struct rrc_spawn *s, const struct child *c, struct rrc_error *err)
{
	long pid;

	pid = syscall(SYS_clone, CLONE_NEWPID | CLONE_PIDFD | SIGCHLD, 0, &s->pidfd, 0, 0);
	if (pid == 0)
		child_main(c);
	if (pid < 0)
		return rrc_fail_exit(err, errno == EPERM ? RRC_EXIT_HOST : RRC_EXIT_FAILED, -errno,
				     "a pid namespace cannot be made: %s", strerror(errno));
	s->init = (pid_t)pid;
	return 0;
}

static char **init_argv(char *init, char *path, char *const argv[])
{
	size_t n = 0, i;
	char **v;

	while (argv[n])
		n++;
	v = calloc(n + 3, sizeof(*v));
	if (!v)
		return NULL;
	v[0] = init;
	v[1] = path;
	for (i = 0; i < n; i++)
		v[i + 2] = argv[i];
	return v;
}

/* Everything after the pipes are there; the write ends are the caller's to close. */
static int spawn_with(struct rrc_spawn *s, char *const argv[], int out[2], int errp[2],
		      struct rrc_error *err)
{
	char path[PATH_MAX], init[PATH_MAX], name[] = "rrc-init";
	rrc_autofree char **v = NULL;
	rrc_autoclose int in = -1, ready = -1, ready_write = -1;
	int ret, p[2];

	ret = find_command(argv[0], path, err);
	ret = ret ?: rrc_host_helper("rrc-init", init, sizeof(init), err);
	if (ret)
		return ret;
	v = init_argv(name, path, argv);
	in = input_fd();
	if (!v || in < 0)
		return rrc_fail(err, -errno, "the command cannot be prepared: %s", strerror(errno));
	ret = make_pipe(p);
	ready = p[0];
	ready_write = p[1];
	if (ret)
		return rrc_fail(err, ret, "a pipe cannot be made: %s", strerror(-ret));
	ret = start_child(s, &(struct child){ init, v, { in, out[1], errp[1] }, ready_write }, err);
	if (ret)
		return ret;
	close(ready_write);
	ready_write = -1;
	ret = wait_ready(ready, err);
	return ret ?: find_cmd(s, err);
}

/* glibc answers sched_getcpu() from memory that the kernel writes (rseq), which nobody could record; without
 * it, it asks the vDSO, which is patched. What the user set stays, before it. */
static int no_rseq(struct rrc_error *err)
{
	static const char name[] = "GLIBC_TUNABLES", ours[] = "glibc.pthread.rseq=0";
	const char *old = getenv(name);
	char value[4096];

	if (snprintf(value, sizeof(value), "%s%s%s", old ? old : "", old && *old ? ":" : "",
		     ours) >= (int)sizeof(value) ||
	    setenv(name, value, 1))
		return rrc_fail(err, E2BIG, "%s is too long", name);
	return 0;
}

int rrc_spawn(struct rrc_spawn *s, char *const argv[], struct rrc_error *err)
{
	int out[2] = { -1, -1 }, errp[2] = { -1, -1 }, ret;

	memset(s, 0, sizeof(*s));
	s->pidfd = -1;
	fflush(NULL); /* what we printed comes before what the command prints */
	ret = no_rseq(err);
	if (ret)
		return ret;
	ret = make_pipe(out);
	ret = ret ?: make_pipe(errp);
	if (ret)
		rrc_fail(err, ret, "a pipe cannot be made: %s", strerror(-ret));
	if (!ret)
		ret = spawn_with(s, argv, out, errp, err);
	s->out_ino = inode_of(out[1]);
	s->err_ino = inode_of(errp[1]);
	if (out[1] >= 0)
		close(out[1]);
	if (errp[1] >= 0)
		close(errp[1]);
	if (!ret && relay_start(&s->relay[0], out[0], 1) == 0)
		out[0] = -1; /* the relay's now */
	if (!ret && relay_start(&s->relay[1], errp[0], 2) == 0)
		errp[0] = -1;
	if (!ret && (out[0] >= 0 || errp[0] >= 0))
		ret = rrc_fail(err, -EAGAIN, "a thread cannot be made");
	if (out[0] >= 0)
		close(out[0]);
	if (errp[0] >= 0)
		close(errp[0]);
	if (ret)
		rrc_spawn_kill(s);
	return ret;
}

int rrc_spawn_start(struct rrc_spawn *s, struct rrc_error *err)
{
	if (kill(s->cmd, SIGCONT) < 0)
		return rrc_fail(err, -errno, "the command cannot be started: %s", strerror(errno));
	return 0;
}

int rrc_spawn_exit_code(int wstatus)
{
	return WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
}

static void release(struct rrc_spawn *s)
{
	size_t i;

	for (i = 0; i < RRC_ARRAY_SIZE(s->relay); i++)
		if (s->relay[i].running)
			pthread_join(s->relay[i].thread, NULL);
	if (s->pidfd >= 0)
		close(s->pidfd);
	memset(s, 0, sizeof(*s));
	s->pidfd = -1;
}

/* The status of init, however it is traced: stops that are reported on the way are passed over. */
static int reap(pid_t init, int *wstatus)
{
	for (;;) {
		if (waitpid(init, wstatus, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (WIFEXITED(*wstatus) || WIFSIGNALED(*wstatus))
			return 0;
	}
}

int rrc_spawn_finish(struct rrc_spawn *s, const int *wstatus, struct rrc_error *err)
{
	int status = wstatus ? *wstatus : 0, ret = 0;

	if (!wstatus)
		ret = reap(s->init, &status);
	/* Its last process gone, the pipes have no writer any more, so the relays come to an end. */
	release(s);
	if (ret)
		return rrc_fail(err, ret, "the command's exit status is lost: %s", strerror(-ret));
	return rrc_spawn_exit_code(status);
}

void rrc_spawn_kill(struct rrc_spawn *s)
{
	int status;

	if (s->init > 0) {
		kill(s->init, SIGKILL);
		reap(s->init, &status);
		release(s);
	}
}
