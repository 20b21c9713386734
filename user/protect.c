/* SPDX-License-Identifier: MIT */
/* Set-up and end of a protection, see protect.h. What is set up here is undone here, in reverse. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "explain.h"
#include "host.h"
#include "locklog.h"
#include "library.h"
#include "locks.h"
#include "log.h"
#include "netcfg.h"
#include "protect.h"
#include "protect_int.h"
#include "ptrace.h"
#include "rundir.h"
#include "util.h"

#define RRC_CONNECT_MS 3000
#define RRC_BYE_MS     2000
#define RRC_WHOLE_NS   1000000000ull /* from one whole checkpoint to the next, and */
#define RRC_DELTA_NS   100000000ull /* from a delta to the next, unless somebody says otherwise */

static void on_patched(void *ctx, pid_t pid)
{
	struct rrc_protect *p = ctx;

	rrc_recorder_patched(p->recorder, pid);
}

static int emit(void *ctx, const void *frame, size_t len)
{
	struct rrc_protect *p = ctx;

	if (p->out)
		return rrc_outdir_write(p->out, frame, len);
	return p->have_backup ? rrc_link_send_raw(&p->backup.log, frame, len) : 0;
}

static enum rrc_locks_taken on_recording(void *ctx, const struct rrc_locklog *ll, int executed)
{
	struct rrc_protect *p = ctx;

	return rrc_collector_take_locks(p->collector, ll, executed);
}

static void on_watched(void *ctx, int on)
{
	struct rrc_protect *p = ctx;

	rrc_recorder_watched(p->recorder, on);
}

static int on_broken_off(void *ctx, pid_t tid, uint64_t *began_ns)
{
	struct rrc_protect *p = ctx;

	return rrc_recorder_broken_off(p->recorder, tid, began_ns);
}

/* The cut, in the main thread; every thread of the container is frozen. */
static int on_cut(void *ctx, uint64_t number, int delta, struct rrc_cut *cut, struct rrc_error *err)
{
	struct rrc_protect *p = ctx;
	int ret = rrc_protect_drain(p, rrc_now_ns(CLOCK_MONOTONIC));

	if (ret)
		return rrc_fail(err, ret, "the log cannot be read");
	if (delta && rrc_changes_whole(p->changes, NULL, NULL))
		return rrc_fail(err, ENOTSUP, "the log has what only a whole one can carry");
	cut->files_changed = rrc_collector_files_changed(p->collector);
	if (p->out)
		ret = rrc_outdir_cut(p->out, number, err);
	else if (!p->have_backup)
		ret = rrc_fail(err, EPIPE, "the backup has gone");
	if (ret)
		return ret;
	ret = rrc_collector_cut(p->collector, number, rrc_now_ns(CLOCK_MONOTONIC), &cut->pos);
	if (ret)
		return rrc_fail(err, ret, "cannot place the cut: %s", strerror(-ret));
	p->backup.sent = rrc_now_ns(CLOCK_MONOTONIC);
	/* CRIU's parasite makes calls under the container's thread ids: not the program's. */
	if (!delta)
		rrc_recorder_on(p->recorder, false);
	cut->mono_ns = rrc_now_ns(CLOCK_MONOTONIC);
	cut->real_ns = rrc_now_ns(CLOCK_REALTIME);
	cut->boot_ns = rrc_now_ns(CLOCK_BOOTTIME);
	cut->nrestarts = rrc_collector_restarts(p->collector, &cut->restarts);
	return 0;
}

static int on_resume(void *ctx, struct rrc_error *err)
{
	struct rrc_protect *p = ctx;

	(void)err;
	if (p->o->mode == RRC_MODE_HYBRID)
		rrc_recorder_on(p->recorder, true);
	return 0;
}

/* From any thread: a word in shared memory. */
static void on_record(void *ctx, int on)
{
	struct rrc_protect *p = ctx;

	rrc_recorder_on(p->recorder, on);
}

/* The command brings the in-process recorder with it, what we start ourselves does not. */
static int start_command(struct rrc_protect *p, struct rrc_error *err)
{
	static const char variable[] = "LD_PRELOAD";
	rrc_autofree char *old = getenv(variable) ? strdup(getenv(variable)) : NULL;
	char lib[PATH_MAX], value[2 * PATH_MAX];
	int ret;

	if (p->o->no_preload)
		return rrc_spawn(&p->spawn, p->o->command, err);
	ret = rrc_preload_path(lib, sizeof(lib), err);
	if (ret)
		return rrc_wrap(err, "to do without it: --no-preload");
	if (snprintf(value, sizeof(value), "%s%s%s", lib, old && *old ? ":" : "", old ? old : "") >=
		    (int)sizeof(value) ||
	    setenv(variable, value, 1))
		return rrc_fail(err, E2BIG, "%s is too long", variable);
	ret = rrc_spawn(&p->spawn, p->o->command, err);
	if (old)
		setenv(variable, old, 1);
	else
		unsetenv(variable);
	return ret;
}

/* The container: found, or started. */
static int find(struct rrc_protect *p, struct rrc_error *err)
{
	const struct rrc_options *o = p->o;
	int ret;

	if (o->command) {
		ret = start_command(p, err);
		if (ret)
			return ret;
		p->spawned = 1;
		ret = rrc_container_from_pid(p->spawn.init, &p->container, err);
	} else if (o->pid) {
		ret = rrc_container_from_pid(o->pid, &p->container, err);
	} else {
		ret = rrc_container_find(o->container, &p->container, err);
	}
	if (ret)
		return ret;
	snprintf(p->name, sizeof(p->name), "%.79s",
		 p->container.name[0] ? p->container.name : p->container.id);
	if (o->backup && !p->container.own_netns)
		return rrc_fail(err, EINVAL,
				"%s shares this host's network: only a container with a network "
				"namespace of its own can move to another host",
				p->name);
	return 0;
}

static int open_network(struct rrc_protect *p, struct rrc_error *err)
{
	struct rrc_netcfg net;
	char path[64];
	int ret;

	p->net_fd = -1;
	if (!p->o->backup)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", p->container.pid);
	p->net_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (p->net_fd < 0)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	ret = rrc_netcfg_read(p->net_fd, NULL, &net, err);
	if (ret)
		return rrc_wrap(err, "%s", p->name);
	snprintf(p->ifname, sizeof(p->ifname), "%s", net.ifname);
	return 0;
}

/* The in-process recorder reads the clock as the vDSO does. Where that makes a call each reading would be in the log
 * twice, and no replay could match it. */
static int check_clock(const struct rrc_protect *p, struct rrc_error *err)
{
	int in_process = p->spawned && !p->o->no_preload;
	rrc_autofree pid_t *pids = NULL;
	int n = p->spawned ? 0 : rrc_pidns_processes(p->container.pidns, &pids);

	for (int i = 0; i < n && !in_process; i++) {
		struct rrc_locklog ll;

		in_process = !rrc_locklog_open(pids[i], &ll, NULL);
		if (in_process)
			rrc_locklog_close(&ll);
	}
	if (!in_process || rrc_host_vdso_clock())
		return 0;
	return rrc_fail_exit(
		err, RRC_EXIT_HOST, ENOTSUP,
		"programs on this host read the clock by calls (rrc-trace --check), so %s, which records its clock in "
		"process, cannot be replayed: boot with clocksource=tsc tsc=reliable, or use --mode passive",
		p->name);
}

static int open_recorder(struct rrc_protect *p, struct rrc_error *err)
{
	struct rrc_recorder_opts ro = {
		.name = p->name,
		.pidns = p->container.pidns,
		.netns = p->o->backup ? p->container.netns : 0,
		.flag_unpatched = true,
	};
	struct rrc_execwatch_calls watch = { on_patched, on_recording, on_watched, on_broken_off,
					     p };
	struct rrc_collector_opts co = {
		.pidns = p->container.pidns,
		.emit = emit,
		.ctx = p,
	};
	int ret;

	rrc_recorder_cleanup_stale(p->name, NULL);
	p->recorder = rrc_recorder_open(&ro, err);
	if (!p->recorder)
		return err->code;
	ret = rrc_recorder_attach(p->recorder, err);
	if (!ret && p->o->backup)
		ret = rrc_recorder_attach_tc(p->recorder, p->net_fd, p->ifname, err);
	if (ret)
		return ret;
	co.recorder = p->recorder;
	p->changes = rrc_changes_new();
	if (!p->changes)
		return rrc_fail(err, ENOMEM, "no memory");
	co.changes = p->changes;
	p->collector = rrc_collector_new(&co, err);
	p->hold = rrc_hold_new();
	if (!p->collector || !p->hold)
		return rrc_fail(err, ENOMEM, "no memory");
	if (p->o->mode == RRC_MODE_PASSIVE)
		return 0;
	/* The command is not there yet, and brings it along. */
	if (!p->spawned)
		ret = rrc_inject_container(&p->container, p->o->inject, err);
	if (ret >= 0)
		ret = check_clock(p, err);
	if (ret < 0)
		return ret;
	p->watch = rrc_execwatch_start(p->container.pidns, &watch, err);
	if (!p->watch)
		return err->code;
	/* From here on, so that the first cut knows which calls threads stand waiting in. */
	rrc_recorder_on(p->recorder, true);
	return 0;
}

/* Deltas need a backup that keeps up with them, and every call in the log. */
static int choose_engine(struct rrc_protect *p, struct rrc_error *err)
{
	const struct rrc_options *o = p->o;
	int deltas = o->backup && o->mode == RRC_MODE_HYBRID;

	p->engine = rrc_ckpt_engine_choose(o->engine ? o->engine : deltas ? NULL : "stop", err);
	if (!p->engine)
		return err->code;
	p->deltas = deltas && p->engine->delta;
	p->whole_ns = p->epoch_ns = o->epoch_ns;
	if (o->epoch_ns == RRC_EPOCH_CHOOSE) {
		p->whole_ns = o->out ? 0 : RRC_WHOLE_NS;
		p->epoch_ns = p->deltas ? RRC_DELTA_NS : p->whole_ns;
	}
	return 0;
}

static int open_worker(struct rrc_protect *p, struct rrc_error *err)
{
	struct rrc_checkpointer_opts ko = {
		.engine = p->engine,
		.container = &p->container,
		.watch = p->watch,
		.recorder = p->recorder,
		.changes = p->deltas ? p->changes : NULL,
		.run_dir = p->run_dir,
		.ifname = p->o->backup ? p->ifname : NULL,
		.net_fd = p->net_fd,
		.passive = p->o->mode == RRC_MODE_PASSIVE,
	};
	struct rrc_worker_calls calls = {
		.cut = on_cut,
		.resume = on_resume,
		.record = on_record,
		.ctx = p,
	};

	p->worker = rrc_worker_new(&ko, &calls, err);
	return p->worker ? 0 : err->code;
}

/* Before the first thread is made: one that does not block them would die of them, and we with it. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int open_events(struct rrc_protect *p, const sigset_t *set, struct rrc_error *err)
{
	struct itimerspec tick = { { 0, RRC_TICK_NS }, { 0, RRC_TICK_NS } };
	int bad = 0;

	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	p->signals = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	p->init_fd = (int)syscall(SYS_pidfd_open, p->container.pid, 0);
	if (p->epoll < 0 || p->timer < 0 || p->signals < 0 || p->init_fd < 0 ||
	    timerfd_settime(p->timer, 0, &tick, NULL))
		return rrc_fail(err, errno, "cannot set the event loop up: %s", strerror(errno));
	bad |= rrc_protect_watch(p, p->timer, EPOLLIN);
	bad |= rrc_protect_watch(p, p->signals, EPOLLIN);
	bad |= rrc_protect_watch(p, p->init_fd, EPOLLIN);
	bad |= rrc_protect_watch(p, rrc_worker_fd(p->worker), EPOLLIN);
	bad |= rrc_protect_watch(p, rrc_ring_fd(rrc_recorder_ring(p->recorder)), EPOLLIN);
	if (p->control)
		bad |= rrc_protect_watch(p, rrc_control_fd(p->control), EPOLLIN);
	return bad ? rrc_fail(err, EIO, "cannot set the event loop up") : 0;
}

/* A late answer costs the lease: before everything else on its CPU, but it never spins. */
static void raise_priority(void)
{
	struct sched_param sp = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &sp))
		rrc_log(RRC_LOG_DEBUG, "no real-time priority: %s", strerror(errno));
}

static int set_up(struct rrc_protect *p, struct rrc_error *err)
{
	sigset_t set;
	int ret;

	block_signals(&set);
	ret = find(p, err);
	if (!ret)
		ret = rrc_rundir_make(p->run_dir, sizeof(p->run_dir), p->name, err);
	if (!ret) {
		p->control = rrc_control_open(p->run_dir, err);
		ret = p->control ? 0 : err->code;
	}
	if (!ret)
		rrc_rundir_clear(p->run_dir);
	if (!ret && p->o->out) {
		p->out = rrc_outdir_open(p->o->out, err);
		ret = p->out ? 0 : err->code;
	}
	if (!ret)
		ret = open_network(p, err);
	if (!ret)
		ret = choose_engine(p, err);
	if (!ret)
		ret = open_recorder(p, err);
	if (!ret)
		ret = open_worker(p, err);
	if (!ret)
		ret = open_events(p, &set, err);
	p->first = 1;
	if (!ret && p->o->backup)
		ret = rrc_protect_join(p, RRC_CONNECT_MS, err);
	if (!ret && p->o->backup)
		ret = rrc_protect_open_gate(p, err);
	return ret;
}

/* What was said last is at the backup, and out of the gate, before protection ends. */
static void flush_out(struct rrc_protect *p)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + RRC_BYE_MS * 1000000ull;

	rrc_protect_drain(p, rrc_now_ns(CLOCK_MONOTONIC));
	while (p->have_backup && p->state == RRC_STATE_PROTECTED && p->o->mode == RRC_MODE_HYBRID &&
	       p->backup.acked < rrc_collector_pos(p->collector) &&
	       rrc_now_ns(CLOCK_MONOTONIC) < end) {
		enum rrc_backup_news news;
		struct epoll_event ev;

		if (epoll_wait(p->epoll, &ev, 1, 10) < 0 ||
		    rrc_backup_read(&p->backup, &news, NULL) < 0)
			break;
	}
	rrc_protect_release(p, rrc_now_ns(CLOCK_MONOTONIC));
}

static int end_recording(struct rrc_protect *p, struct rrc_error *err)
{
	if (!p->err.code && rrc_protect_drain(p, rrc_now_ns(CLOCK_MONOTONIC)))
		*err = p->err;
	else if (!p->err.code && p->committed)
		rrc_outdir_end(p->out, p->committed, rrc_collector_pos(p->collector), err);
	return err->code;
}

/* 0: everything may go on without us. Else the container must stay as silent as it is (rule 7). */
static int part(struct rrc_protect *p, int failed, struct rrc_error *err)
{
	uint64_t whole = p->worker ? rrc_worker_finish(p->worker) : 0;

	if (whole && p->out)
		p->committed = whole;
	if (p->state == RRC_STATE_SILENT)
		return -EBUSY;
	if (!p->collector)
		return 0;
	if (p->out)
		return end_recording(p, err);
	/* Rule 6: we cannot go on, so nothing may leave any more; the backup hears the link end, and serves. */
	if (failed && p->state != RRC_STATE_OPEN)
		return -EIO;
	flush_out(p);
	if (p->have_backup)
		return rrc_backup_bye(&p->backup, RRC_BYE_MS, err);
	if (p->state == RRC_STATE_HELD)
		return rrc_fail(
			err, EBUSY,
			"the backup does not answer and may have taken over: the container "
			"stays silent; when you know that it has not, run rrc-trace --detach %s",
			p->name);
	return 0;
}

static void tear_down(struct rrc_protect *p, int silent)
{
	if (silent) {
		rrc_gate_abandon(p->gate);
	} else if (p->gate) {
		if (p->recorder)
			rrc_recorder_lease_set(p->recorder, 0);
		rrc_gate_close(p->gate);
	}
	rrc_execwatch_stop(p->watch, !p->ended);
	if (!silent && p->recorder && p->ifname[0] && p->net_fd >= 0)
		rrc_recorder_detach_tc(p->net_fd, p->ifname, NULL);
	rrc_backup_close(&p->backup);
	rrc_worker_free(p->worker);
	rrc_collector_free(p->collector);
	rrc_changes_free(p->changes);
	rrc_hold_free(p->hold);
	if (p->recorder)
		rrc_recorder_close(p->recorder);
	rrc_outdir_close(p->out);
	for (size_t i = 0; i < 4; i++) {
		int fd = (int[]){ p->epoll, p->timer, p->signals, p->init_fd }[i];

		if (fd >= 0)
			close(fd);
	}
}

/* The command's exit code, after it was started by us. */
static int finish_command(struct rrc_protect *p, struct rrc_error *err)
{
	int status, reaped;

	if (!p->ended) {
		rrc_spawn_kill(&p->spawn);
		return 128 + SIGTERM;
	}
	reaped = p->watch ? rrc_execwatch_init_status(p->watch, &status) : 0;
	return rrc_spawn_finish(&p->spawn, reaped ? &status : NULL, err);
}

static void tell_unwatched(void *ctx, const char *name)
{
	const struct rrc_protect *p = ctx;

	rrc_log(RRC_LOG_INFO, "%s: copied whole at each checkpoint, as nobody can watch it: %s",
		p->name, name);
}

int rrc_protect(const struct rrc_options *o, struct rrc_error *err)
{
	struct rrc_protect p = { .o = o,
				 .net_fd = -1,
				 .epoll = -1,
				 .timer = -1,
				 .signals = -1,
				 .init_fd = -1,
				 .backup = { .log.fd = -1, .bulk.fd = -1 } };
	struct rrc_error parting = { 0 };
	int ret, code = 0, silent;

	ret = set_up(&p, err);
	if (!ret) {
		raise_priority();
		ret = rrc_protect_loop(&p, err);
	}
	silent = part(&p, ret < 0, &parting);
	if (p.collector)
		rrc_protect_status(&p, rrc_now_ns(CLOCK_MONOTONIC));
	if (p.collector && o->explain)
		rrc_explain(rrc_collector_stats(p.collector));
	if (p.worker && o->explain)
		rrc_worker_explain(p.worker, tell_unwatched, &p);
	if (p.spawned)
		code = finish_command(&p, ret ? NULL : err);
	tear_down(&p, silent);
	if (!ret && silent) {
		*err = parting;
		ret = silent;
	}
	rrc_control_answer(p.control, ret ? err->msg : "");
	if (p.control) {
		rrc_control_close(p.control);
		rrc_rundir_end(p.run_dir, ret);
	}
	if (p.net_fd >= 0)
		close(p.net_fd);
	rrc_event(ret ? "failed" : "ended", "\"epoch\":%llu", (unsigned long long)p.committed);
	return ret ? ret : code;
}

int rrc_unprotect(const char *container, struct rrc_error *err)
{
	struct rrc_container c;
	struct rrc_netcfg net;
	char dir[PATH_MAX], name[80], path[64];
	rrc_autoclose int netns = -1;
	int ret = rrc_container_find(container, &c, err);

	if (ret)
		return ret;
	snprintf(name, sizeof(name), "%.79s", c.name[0] ? c.name : c.id);
	snprintf(dir, sizeof(dir), "%s/%s", RRC_RUN_DIR, name);
	ret = rrc_control_detach(dir, err);
	if (ret != -ENOENT)
		return ret;
	/* Nobody is there: what a killed run left. */
	rrc_locks_off(c.pidns);
	ret = rrc_execwatch_undo(c.pidns, err);
	if (!ret && c.own_netns) {
		snprintf(path, sizeof(path), "/proc/%d/ns/net", c.pid);
		netns = open(path, O_RDONLY | O_CLOEXEC);
		if (netns < 0)
			return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
		ret = rrc_gate_cleanup(netns, err);
		if (!ret && !rrc_netcfg_read(netns, NULL, &net, NULL))
			ret = rrc_recorder_detach_tc(netns, net.ifname, err);
	}
	rrc_rundir_end(dir, 0);
	return ret ? ret : rrc_recorder_cleanup_stale(name, err);
}
