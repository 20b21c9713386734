// SPDX-License-Identifier: MIT
/* A restored, stopped container that follows the primary, see warm.h. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "advance.h"
#include "fds.h"
#include "ptrace.h"
#include "root.h"
#include "timens.h"
#include "util.h"
#include "warm.h"

#define RRC_GONE_MS 2000

static void kill_tree(int pidfd)
{
	struct pollfd p = { pidfd, POLLIN, 0 };

	/* Its first process takes the whole namespace with it. */
	if (!syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0))
		poll(&p, 1, RRC_GONE_MS);
}

/* Waits for the daemon's end, be it by SIGKILL: then a stopped container would stay for good. */
static void guard(struct rrc_warm *w, int in)
{
	char word;
	ssize_t n;

	setsid();
	prctl(PR_SET_NAME, "rrc-warm-guard");
	do
		n = read(in, &word, 1);
	while (n < 0 && errno == EINTR);
	if (!n) {
		kill_tree(w->pidfd);
		rrc_root_unmount(w->work);
	}
	_exit(0);
}

static int start_guard(struct rrc_warm *w, struct rrc_error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return rrc_fail(err, errno, "pipe: %s", strerror(errno));
	w->guard_pid = fork();
	if (!w->guard_pid) {
		int kept[] = { fds[0], w->pidfd };

		rrc_fds_keep(kept, RRC_ARRAY_SIZE(kept));
		w->pidfd = kept[1];
		guard(w, kept[0]);
	}
	close(fds[0]);
	if (w->guard_pid < 0) {
		close(fds[1]);
		return rrc_fail(err, errno, "fork: %s", strerror(errno));
	}
	w->guard = fds[1];
	return 0;
}

struct rrc_warm *rrc_warm_new(struct rrc_restore_opts *o, const char *base, const char *layer,
			      struct rrc_error *err)
{
	struct rrc_warm *w = calloc(1, sizeof(*w));
	char root[PATH_MAX];
	int ret = 0;

	if (!w) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	w->guard = w->pidfd = -1;
	snprintf(w->work, sizeof(w->work), "%s", o->work);
	if (mkdir(w->work, 0700) && errno != EEXIST)
		ret = rrc_fail(err, errno, "%s: %s", w->work, strerror(errno));
	if (!ret && rrc_manifest_info(o->manifest)->flags & RRC_MANIFEST_OWN_ROOT) {
		ret = rrc_root_mount(base, layer, w->work, root, sizeof(root), err);
		o->root = root;
	}
	if (!ret) {
		w->init = rrc_restore(o, err);
		ret = w->init < 0 ? w->init : 0;
	}
	if (!ret) {
		w->clock_ns = rrc_timens_offset(w->init, "monotonic") -
			      rrc_manifest_info(o->manifest)->timens_mono_ns;
		w->pidfd = (int)syscall(SYS_pidfd_open, w->init, 0);
		ret = w->pidfd < 0 ? rrc_fail(err, errno, "the copy: %s", strerror(errno))
				   : start_guard(w, err);
	}
	o->root = NULL;
	if (!ret)
		return w;
	rrc_warm_free(w);
	return NULL;
}

/* Without a heap: 0, so that nothing lies behind its end. */
static uint64_t heap_end(pid_t pid)
{
	char path[64], line[512];
	rrc_autofclose FILE *f = NULL;
	unsigned long long end = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[heap]"))
			sscanf(line, "%*x-%llx", &end);
	return end;
}

int rrc_warm_heaps(const struct rrc_warm *w, int (*tell)(void *ctx, uint32_t pid, uint64_t end),
		   void *ctx)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(rrc_pidns_ino(w->init), &pids), ret = 0;

	for (int i = 0; i < n && !ret; i++)
		ret = tell(ctx, (uint32_t)rrc_ns_tid(pids[i]), heap_end(pids[i]));
	return ret;
}

int rrc_warm_advance(struct rrc_warm *w, const struct rrc_copy_epoch *e, struct rrc_error *err)
{
	struct rrc_advance *a = rrc_advance_begin(w->init, err);
	int ret, end;

	if (!a)
		return err->code;
	ret = rrc_copy_epoch_apply(e, a, err);
	end = rrc_advance_end(a, !ret, ret ? NULL : err);
	return ret ? ret : end;
}

int64_t rrc_warm_behind(const struct rrc_warm *w, int64_t skew_ns)
{
	return skew_ns - w->clock_ns;
}

int rrc_warm_usable(const struct rrc_warm *w, uint64_t last_ns)
{
	struct pollfd ended = { w->pidfd, POLLIN, 0 };

	/* Who ended and nobody waited for can be sent a signal still. */
	return poll(&ended, 1, 0) == 0 &&
	       (int64_t)rrc_now_ns(CLOCK_MONOTONIC) + w->clock_ns >= (int64_t)last_ns;
}

static void end_guard(struct rrc_warm *w)
{
	int st;

	if (w->guard < 0)
		return;
	/* A word, so that it does not take our going for the daemon's end; after a failover it has had one. */
	(void)!write(w->guard, "", 1);
	close(w->guard);
	w->guard = -1;
	waitpid(w->guard_pid, &st, 0); /* the daemon's child; not the failover's */
}

static int taken_mark(const char *work, char *path, size_t size)
{
	return snprintf(path, size, "%s/taken", work) >= (int)size;
}

static void clear_one(const char *work)
{
	char path[PATH_MAX + 32], root[PATH_MAX + 32], at[PATH_MAX + 32];
	rrc_autofclose FILE *f = NULL;
	int pid = 0;
	ssize_t n;

	if (taken_mark(work, path, sizeof(path)) || !access(path, F_OK))
		return;
	snprintf(path, sizeof(path), "%s/restore.pid", work);
	f = fopen(path, "re");
	if (f && fscanf(f, "%d", &pid) == 1 && pid > 1) {
		snprintf(path, sizeof(path), "/proc/%d/root", pid);
		snprintf(root, sizeof(root), "%s/root", work);
		n = readlink(path, at, sizeof(at) - 1);
		at[n < 0 ? 0 : n] = 0;
		/* the number may be another's by now */
		if (!strcmp(at, root))
			kill(pid, SIGKILL);
	}
	rrc_root_unmount(work);
}

void rrc_warm_clear(const char *dir)
{
	char pattern[PATH_MAX];
	glob_t g = { 0 };

	if (snprintf(pattern, sizeof(pattern), "%s/warm-*", dir) >= (int)sizeof(pattern))
		return;
	if (!glob(pattern, GLOB_NOSORT, NULL, &g))
		for (size_t i = 0; i < g.gl_pathc; i++)
			clear_one(g.gl_pathv[i]);
	globfree(&g);
}

void rrc_warm_taken(struct rrc_warm *w)
{
	char path[PATH_MAX + 32];

	if (!taken_mark(w->work, path, sizeof(path)))
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	end_guard(w);
}

void rrc_warm_free(struct rrc_warm *w)
{
	if (!w)
		return;
	if (w->pidfd >= 0) {
		kill_tree(w->pidfd);
		close(w->pidfd);
	} else if (w->init > 0) {
		kill(w->init, SIGKILL);
	}
	end_guard(w);
	rrc_root_unmount(w->work);
	rrc_root_remove(w->work);
	free(w);
}
