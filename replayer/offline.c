/* SPDX-License-Identifier: MIT */
/* Replays and prints recordings, see offline.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "engine.h"
#include "host.h"
#include "log.h"
#include "netcfg.h"
#include "offline.h"
#include "reclog.h"
#include "recording.h"
#include "recprint.h"
#include "restore.h"
#include "root.h"
#include "syscalls.h"
#include "util.h"

struct epoch {
	const struct rrc_offline_opts *o;
	uint64_t number;
	char ckpt[PATH_MAX];
	char work[256];
	char criu[PATH_MAX];
	struct rrc_manifest *manifest;
	struct rrc_epoch_log log;
	int netns;
};

static int make_root(struct epoch *e, char *root, size_t size, struct rrc_error *err)
{
	const struct rrc_manifest_info *info = rrc_manifest_info(e->manifest);
	char layer[PATH_MAX];
	const char *base = e->o->rootfs;
	int ret;

	snprintf(layer, sizeof(layer), "%s/layer", e->work);
	ret = rrc_root_apply(e->ckpt, layer, err);
	if (ret)
		return ret;
	if (!base && !(info->flags & RRC_MANIFEST_FS_WHOLE))
		base = rrc_manifest_text(e->manifest, RRC_SECTION_ROOT);
	return rrc_root_mount(base && *base ? base : NULL, layer, e->work, root, size, err);
}

static int attempt(struct epoch *e, const struct rrc_nudges *nudges, struct rrc_engine_report *rep,
		   struct rrc_error *err)
{
	struct rrc_engine_opts eo = { .kill_on_exit = true,
				      .cpu = -1,
				      .nudges = nudges,
				      .no_pacing = e->o->no_pacing,
				      .by_ptrace = e->o->by_ptrace,
				      .patience_ns = RRC_PATIENCE_NS,
				      .trace = e->o->trace ? stderr : NULL };
	rrc_autofree struct rrc_engine_held *held = NULL;
	rrc_autofree const struct rrc_rec **restarts = NULL;
	struct rrc_engine *engine;
	char root[PATH_MAX];
	struct rrc_restore_opts ro = {
		.criu = e->criu,
		.manifest = e->manifest,
		.dir = e->ckpt,
		.work = e->work,
		.netns = e->netns,
		.now_ns = e->log.last_ns,
	};
	pid_t init;
	int ret = 0;

	if (rrc_manifest_info(e->manifest)->flags & RRC_MANIFEST_OWN_ROOT) {
		ret = make_root(e, root, sizeof(root), err);
		ro.root = root;
	}
	if (!ret)
		ret = rrc_restore_engine_opts(e->manifest, &eo, &held, &restarts, err);
	if (ret)
		return ret;
	init = rrc_restore(&ro, err);
	if (init < 0)
		return init;
	engine = rrc_engine_new(init, e->log.buf, e->log.len, &eo, err);
	if (!engine) {
		kill(init, SIGKILL);
		return err->code;
	}
	ret = rrc_engine_run(engine, err);
	*rep = *rrc_engine_report(engine);
	rrc_engine_kill(engine);
	return ret;
}

static void say(const struct epoch *e, const struct rrc_engine_report *r, unsigned int tries,
		int ret)
{
	const char *outcome = ret == -EILSEQ ? "diverged" : ret ? "failed" : "equal";
	char again[40] = "";
	char text[2200];

	if (e->o->json) {
		printf("{\"epoch\":%llu,\"result\":\"%s\",\"records\":%llu,\"passed\":%llu,\"calls\":%llu,"
		       "\"outputs\":%llu,\"output_bytes\":%llu,\"signals\":%llu,\"fs_fixups\":%llu,"
		       "\"barrier_at\":%llu,\"inprocess\":%llu,\"replay_ms\":%.3f,\"attempts\":%u,\"first\":%s}\n",
		       (unsigned long long)e->number, outcome, (unsigned long long)r->records,
		       (unsigned long long)r->passed, (unsigned long long)r->calls,
		       (unsigned long long)r->outputs, (unsigned long long)r->output_bytes,
		       (unsigned long long)r->signals, (unsigned long long)r->fs_fixups,
		       (unsigned long long)r->barrier_at, (unsigned long long)r->inproc,
		       (double)r->ns / 1e6, tries, rrc_json_string(text, sizeof(text), r->first));
	} else {
		if (tries > 1)
			snprintf(again, sizeof(again), ", attempt %u", tries);
		printf("epoch %llu: %s: %llu of %llu records, %llu calls, %llu outputs (%llu bytes) compared, "
		       "%.1f ms%s%s\n",
		       (unsigned long long)e->number, outcome, (unsigned long long)r->passed,
		       (unsigned long long)r->records, (unsigned long long)r->calls,
		       (unsigned long long)r->outputs, (unsigned long long)r->output_bytes,
		       (double)r->ns / 1e6, again,
		       r->barrier_at ? ", up to a call that cannot be replayed" : "");
	}
	fflush(stdout);
}

/* Rule 5: the same checkpoint again, some times, before it is called a divergence. */
static int replay_epoch(struct epoch *e, struct rrc_error *err)
{
	struct rrc_engine_report rep = { 0 };
	struct rrc_nudges nudges = { 0 };
	unsigned int tries = 0;
	int ret;

	do {
		char dir[] = "/run/rrc-replay-XXXXXX";

		if (!mkdtemp(dir))
			return rrc_fail(err, errno, "%s: %s", dir, strerror(errno));
		snprintf(e->work, sizeof(e->work), "%s", dir);
		memset(err, 0, sizeof(*err));
		ret = attempt(e, &nudges, &rep, err);
		rrc_root_unmount(e->work);
		rrc_root_remove(e->work);
	} while (ret == -EILSEQ && ++tries < e->o->attempts * RRC_PLACES &&
		 rrc_nudges_learn(&nudges, &rep.where, e->o->attempts));
	say(e, &rep, tries + (ret != -EILSEQ), ret);
	if (ret == -EILSEQ)
		return rrc_fail_exit(err, RRC_EXIT_DIVERGED, EILSEQ,
				     "epoch %llu diverged in %u attempts: %s",
				     (unsigned long long)e->number, tries, rep.first);
	return ret;
}

static int one_epoch(const struct rrc_offline_opts *o, uint64_t number, struct rrc_error *err)
{
	struct epoch e = { .o = o, .number = number, .netns = -1 };
	int ret = rrc_host_criu(e.criu, sizeof(e.criu), err);

	if (!ret)
		ret = rrc_recording_path(o->dir, number, e.ckpt, sizeof(e.ckpt));
	if (ret)
		return ret;
	e.manifest = rrc_recording_manifest(o->dir, number, err);
	ret = e.manifest ? rrc_recording_log(o->dir, number, &e.log, err) : err->code;
	if (!ret) {
		e.netns = rrc_netns_new(err);
		ret = e.netns < 0 ? e.netns : 0;
	}
	if (!ret && !(rrc_manifest_info(e.manifest)->flags & RRC_MANIFEST_OWN_ROOT))
		ret = rrc_root_isolate(getppid(), err);
	if (!ret)
		ret = replay_epoch(&e, err);
	if (e.netns >= 0)
		close(e.netns);
	rrc_manifest_free(e.manifest);
	rrc_epoch_log_free(&e.log);
	return ret;
}

/* In a process of its own: the engine waits for any child, and the mount namespace is changed. */
static int in_child(const struct rrc_offline_opts *o, uint64_t number, struct rrc_error *err)
{
	int pipefd[2], st = 0;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC))
		return rrc_fail(err, errno, "pipe: %s", strerror(errno));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		one_epoch(o, number, err);
		if (write(pipefd[1], err, sizeof(*err)) != sizeof(*err))
			_exit(1);
		fflush(stdout);
		_exit(0);
	}
	close(pipefd[1]);
	if (pid < 0 || read(pipefd[0], err, sizeof(*err)) != sizeof(*err))
		rrc_fail(err, EIO, "the replay ended unexpectedly");
	close(pipefd[0]);
	if (pid > 0)
		waitpid(pid, &st, 0);
	rrc_root_isolated_end(getpid());
	return err->code;
}

/* A clear word about a recording that was not ended; what there is of it is as good as any. */
static int check_ended(const char *dir, struct rrc_error *err)
{
	int ret = rrc_recording_ended(dir, err);

	if (!ret)
		rrc_log(RRC_LOG_WARN,
			"%s has no end: what recorded it was stopped in the middle, or the file "
			"`end` was removed; taken as far as it goes",
			dir);
	return ret < 0 ? ret : 0;
}

int rrc_offline_replay(const struct rrc_offline_opts *o, struct rrc_error *err)
{
	rrc_autofree uint64_t *numbers = NULL;
	struct rrc_offline_opts abs = *o;
	char dir[PATH_MAX];
	int n, ret = 0;

	if (!realpath(o->dir, dir))
		return rrc_fail(err, errno, "%s: %s", o->dir, strerror(errno));
	abs.dir = dir;
	n = rrc_recording_list(dir, &numbers, err);
	ret = n < 0 ? n : check_ended(dir, err);
	for (int i = 0; i < n && !ret; i++)
		ret = in_child(&abs, numbers[i], err);
	return ret;
}

static int dump_log(const struct rrc_offline_opts *o, const struct rrc_epoch_log *log,
		    uint64_t start_ns)
{
	const struct rrc_rec *rec;
	int nr = o->call ? rrc_sysnr(o->call) : -1;
	size_t off = 0, at = 0;

	while ((rec = rrc_reclog_next(log->buf, log->len, &off, NULL))) {
		if ((!o->tid || rec->tid == (uint32_t)o->tid) &&
		    (nr < 0 || ((rec->kind == RRC_REC_SYSCALL || rec->kind == RRC_REC_ENTER) &&
				rec->nr == nr)))
			rrc_rec_print_since(stdout, rec, o->json, log->pos + at, start_ns);
		at = off;
	}
	return fflush(stdout) ? -errno : 0;
}

int rrc_offline_dump(const struct rrc_offline_opts *o, struct rrc_error *err)
{
	rrc_autofree uint64_t *numbers = NULL;
	int n = rrc_recording_list(o->dir, &numbers, err), ret = 0;

	if (n < 0)
		return n;
	ret = check_ended(o->dir, err);
	if (ret)
		return ret;
	if (o->call && rrc_sysnr(o->call) < 0)
		return rrc_fail_exit(err, RRC_EXIT_USAGE, EINVAL, "there is no call named %s",
				     o->call);
	for (int i = 0; i < n && !ret; i++) {
		struct rrc_manifest *m = rrc_recording_manifest(o->dir, numbers[i], err);
		struct rrc_epoch_log log = { 0 };

		if (!m)
			return err->code;
		ret = rrc_recording_log(o->dir, numbers[i], &log, err);
		if (!ret && !o->json)
			printf("epoch %llu, from position %llu: %s\n",
			       (unsigned long long)numbers[i],
			       (unsigned long long)rrc_manifest_info(m)->cut_pos,
			       rrc_manifest_text(m, RRC_SECTION_COMMAND));
		if (!ret)
			ret = dump_log(o, &log, rrc_manifest_info(m)->mono_ns);
		rrc_manifest_free(m);
		rrc_epoch_log_free(&log);
	}
	return ret;
}
