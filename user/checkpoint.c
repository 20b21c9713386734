/* SPDX-License-Identifier: MIT */
/* What all checkpoint engines share, and the engine `stop`; see checkpoint.h and engines.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "criu.h"
#include "engines.h"
#include "fault.h"
#include "execwatch.h"
#include "fsdelta.h"
#include "host.h"
#include "log.h"
#include "netcfg.h"
#include "record.h"
#include "recorder.h"
#include "timens.h"
#include "util.h"

#define RRC_GAP_TRIES 20 /* half a second each */

struct rrc_checkpointer {
	struct rrc_checkpointer_opts o;
	void *engine;
	char criu[PATH_MAX];
	int criu_net;
	struct rrc_fsdelta *fs;
	int files_due; /* some changed since the last whole checkpoint that the receiver has */
	uint64_t kept; /* the last one is at the receiver: its number; 0: it is not */
	uint64_t taken;
	int taken_whole;
	char net_text[RRC_NET_TEXT_MAX];
	char command[4096];
	unsigned int
		put_off; /* times that the first one could not be taken for bytes out of order */
};

static void read_command(pid_t pid, char *buf, size_t size)
{
	char path[64];
	rrc_autoclose int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, buf, size - 1);
	n = n < 0 ? 0 : n;
	for (ssize_t i = 0; i + 1 < n; i++)
		if (!buf[i])
			buf[i] = ' ';
	buf[n] = 0;
}

struct rrc_checkpointer *rrc_checkpointer_new(const struct rrc_checkpointer_opts *o,
					      struct rrc_error *err)
{
	struct rrc_checkpointer *k = calloc(1, sizeof(*k));
	const struct rrc_container *c = o->container;

	if (!k) {
		rrc_fail(err, ENOMEM, "no memory");
		return NULL;
	}
	k->o = *o;
	k->criu_net = -1;
	if (rrc_host_criu(k->criu, sizeof(k->criu), err))
		goto fail;
	k->criu_net = rrc_netns_new(err);
	if (k->criu_net < 0)
		goto fail;
	if (c->own_mntns) {
		k->fs = rrc_fsdelta_new(c->upper[0] ? c->upper : c->rootfs);
		if (!k->fs) {
			rrc_fail(err, ENOMEM, "no memory");
			goto fail;
		}
	}
	read_command(c->pid, k->command, sizeof(k->command));
	if (o->engine->open) {
		k->engine = o->engine->open(&k->o, err);
		if (!k->engine)
			goto fail;
	}
	return k;
fail:
	rrc_checkpointer_free(k);
	return NULL;
}

void rrc_checkpointer_free(struct rrc_checkpointer *k)
{
	if (!k)
		return;
	if (k->engine)
		k->o.engine->close(k->engine);
	if (k->criu_net >= 0)
		close(k->criu_net);
	rrc_fsdelta_free(k->fs);
	free(k);
}

int rrc_taking_manifest(struct rrc_taking *t, uint32_t flags, struct rrc_error *err)
{
	const struct rrc_container *c = t->k->o.container;
	struct rrc_manifest_info info = {
		.number = t->number,
		.cut_pos = t->cut.pos,
		.mono_ns = t->cut.mono_ns,
		.real_ns = t->cut.real_ns,
		.boot_ns = t->cut.boot_ns,
		.timens_mono_ns = rrc_timens_offset(c->pid, "monotonic"),
		.timens_boot_ns = rrc_timens_offset(c->pid, "boottime"),
		.init_tid = 1,
		.flags = (c->own_mntns ? RRC_MANIFEST_OWN_ROOT : 0u) |
			 (c->own_mntns && !c->upper[0] ? RRC_MANIFEST_FS_WHOLE : 0u) |
			 (t->k->o.passive ? RRC_MANIFEST_PASSIVE : 0u) | flags,
	};
	struct rrc_manifest *m;
	struct utsname u;
	int ret = 0;

	if (uname(&u))
		return rrc_fail(err, errno, "uname: %s", strerror(errno));
	snprintf(info.kernel, sizeof(info.kernel), "%.71s", u.release);
	snprintf(info.name, sizeof(info.name), "%.79s", c->name[0] ? c->name : c->id);
	m = t->manifest = rrc_manifest_new(&info);
	if (!m)
		return rrc_fail(err, ENOMEM, "no memory for a manifest");
	ret |= rrc_manifest_add_text(m, RRC_SECTION_COMMAND, t->k->command);
	ret |= rrc_manifest_add_text(m, RRC_SECTION_ROOT, c->own_mntns ? c->rootfs : "");
	ret |= rrc_manifest_add_text(m, RRC_SECTION_NETCFG, t->k->net_text);
	for (size_t i = 0; i < t->outside.n; i++)
		ret |= rrc_manifest_add_text(m, RRC_SECTION_INHERIT, t->outside.key[i]);
	for (size_t i = 0; i < t->cut.nrestarts; i++)
		ret |= rrc_manifest_add(m, RRC_SECTION_RESTART, t->cut.restarts[i],
					t->cut.restarts[i]->size, NULL, 0);
	for (size_t i = 0; i < t->sockets.n; i++)
		ret |= rrc_manifest_add(m, RRC_SECTION_SOCKET, &t->sockets.held[i],
					sizeof(t->sockets.held[i]), NULL, 0);
	return ret ? rrc_fail(err, ENOMEM, "no memory for a manifest") : 0;
}

static int save_conns(struct rrc_taking *t, struct rrc_error *err)
{
	char path[PATH_MAX];
	rrc_autofree uint8_t *buf = NULL;
	rrc_autofclose FILE *f = NULL;
	size_t len;
	int ret = rrc_conns_save(t->sockets.conns, &buf, &len, err);

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/conns", t->dir);
	f = fopen(path, "we");
	if (!f || fwrite(buf, 1, len, f) != len || fflush(f))
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	return 0;
}

/* The container's files, which only a whole checkpoint has. */
static int take_files(struct rrc_taking *t, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	int ret;

	k->files_due |= t->cut.files_changed;
	if (!k->fs || !(t->first || k->files_due))
		return 0;
	if (t->first)
		rrc_fsdelta_reset(k->fs);
	ret = rrc_fsdelta_take(k->fs, t->dir, err);
	return ret < 0 ? ret : 0;
}

/* The first one reads connections, and cannot read all of them at any time: it is taken later then. Bytes out of
 * order that stay so are a client's that is gone, or wants to be waited for: not for ever. */
static int connections_ready(struct rrc_taking *t, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	struct rrc_waiting w;
	int ret;

	if (!t->first || !k->o.recorder || !k->o.ifname)
		return 0;
	ret = rrc_recorder_waiting(k->o.recorder, k->o.net_fd, &w, err);
	if (ret)
		return ret;
	if (!w.unaccepted && (!w.gaps || k->put_off >= RRC_GAP_TRIES))
		return 0;
	k->put_off += !w.unaccepted;
	rrc_event("waiting", "\"unaccepted\":%u,\"gaps\":%u", w.unaccepted, w.gaps);
	return rrc_fail(err, EAGAIN,
			w.unaccepted ? "connections wait to be accepted"
				     : "bytes have come out of order");
}

/* Everything stands still: what must be read together is read here. */
static int at_cut(struct rrc_taking *t, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	struct rrc_netcfg net;
	int ret = 0;

	t->times.pause = rrc_now_ns(CLOCK_MONOTONIC);
	if (k->o.watch)
		ret = rrc_execwatch_patch_frozen(k->o.watch, err);
	rrc_fault(RRC_FAULT_FROZEN);
	if (ret >= 0)
		ret = k->o.cut_begin(k->o.ctx, t->number, 0);
	if (ret >= 0)
		ret = k->o.cut_end(k->o.ctx, &t->cut, err);
	rrc_fault(RRC_FAULT_CUT);
	/* Behind the cut: what comes now is in the log. */
	if (ret >= 0)
		ret = connections_ready(t, err);
	if (ret < 0)
		return ret;
	if (k->o.ifname && t->first) {
		ret = rrc_netcfg_read(k->o.net_fd, k->o.ifname, &net, err);
		if (!ret && rrc_netcfg_print(&net, k->net_text, sizeof(k->net_text)) < 0)
			ret = rrc_fail(err, E2BIG,
				       "the container has too many addresses and routes");
	}
	/* A connection's state follows from the log; only those that are older are read from the kernel. */
	if (!ret)
		ret = rrc_sockets_collect(&t->sockets, k->o.container->pidns,
					  t->first || k->o.passive, err);
	if (!ret && t->sockets.conns)
		ret = save_conns(t, err);
	if (!ret)
		ret = take_files(t, err);
	if (!ret && t->at_cut)
		ret = t->at_cut(t->ctx, err);
	return ret ? ret : rrc_taking_manifest(t, 0, err);
}

static int hook(void *ctx, enum rrc_criu_point point, struct rrc_error *err)
{
	struct rrc_taking *t = ctx;
	int ret;

	if (point == RRC_CRIU_FROZEN) {
		ret = at_cut(t, err);
		/* Nothing was injected yet: what runs on now must be recorded again. */
		if (ret)
			t->k->o.resume(t->k->o.ctx, NULL);
		return ret;
	}
	ret = t->k->o.resume(t->k->o.ctx, err);
	t->times.pause = rrc_now_ns(CLOCK_MONOTONIC) - t->times.pause;
	return ret;
}

static int dump(struct rrc_taking *t, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	const struct rrc_container *c = k->o.container;
	char images[PATH_MAX];
	struct rrc_criu_dump d = {
		.criu = k->criu,
		.init = c->pid,
		.images = images,
		.run_dir = k->o.run_dir,
		.netns = k->criu_net,
		.container_netns = c->netns,
		.external = t->outside.external,
		.own_mounts = c->own_mntns,
		/* They follow from the log, unless they are older than it. */
		.skip_unaccepted = !t->first && !k->o.passive,
		.hook = hook,
		.ctx = t,
	};
	struct rrc_error late = { 0 };
	int ret;

	if ((mkdir(t->dir, 0700) && errno != EEXIST) ||
	    snprintf(images, sizeof(images), "%s/img", t->dir) >= (int)sizeof(images) ||
	    (mkdir(images, 0700) && errno != EEXIST))
		return rrc_fail(err, errno, "%s: %s", t->dir, strerror(errno));
	ret = connections_ready(t, err); /* nobody is stopped in vain */
	if (!ret)
		ret = rrc_outside_find(c->pidns, c->own_mntns, &t->outside, err);
	if (!ret && k->o.watch)
		ret = rrc_execwatch_release(k->o.watch, err);
	if (ret)
		return ret;
	ret = rrc_criu_dump(&d, err);
	/* One that came after we had looked. */
	if (ret && ret != -EAGAIN && connections_ready(t, &late) == -EAGAIN)
		ret = rrc_fail(err, EAGAIN, "%s", late.msg);
	/* A dump that failed behind the cut leaves the recorder off: whatever happened, it goes on. */
	if (ret)
		k->o.resume(k->o.ctx, NULL);
	if (k->o.watch && rrc_execwatch_resume(k->o.watch, ret ? NULL : err) && !ret)
		ret = err->code;
	return ret;
}

int rrc_stop_whole(struct rrc_taking *t, struct rrc_error *err)
{
	int ret = dump(t, err);

	if (!ret)
		ret = rrc_manifest_add_files(t->manifest, t->dir, err);
	return ret ? ret : rrc_manifest_save_dir(t->manifest, t->dir, err);
}

static int whole(void *engine, struct rrc_taking *t, struct rrc_error *err)
{
	(void)engine;
	return rrc_stop_whole(t, err);
}

const struct rrc_ckpt_engine rrc_ckpt_stop = { .name = "stop", .whole = whole };

/* Nobody has what was taken last: the next one is whole, and has all files. */
static void start_over(struct rrc_checkpointer *k)
{
	k->kept = 0;
	k->files_due = 1;
	if (k->fs)
		rrc_fsdelta_reset(k->fs);
}

static int take_whole(struct rrc_taking *t, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	int ret = k->o.engine->whole(k->engine, t, err);

	if (ret)
		start_over(k);
	return ret;
}

/* 1: there is none; else as rrc_checkpoint_take(). */
static int take_delta(struct rrc_taking *t, enum rrc_checkpoint_again *again, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	int ret;

	if (!k->o.engine->delta || !k->kept || rrc_changes_whole(k->o.changes, NULL, NULL))
		return 1;
	t->after = k->kept;
	ret = k->o.engine->delta(k->engine, t, err);
	k->files_due |= t->cut.files_changed;
	if (!ret || ret == -EBUSY) {
		*again = RRC_AGAIN_SOON;
		return ret;
	}
	k->kept = 0;
	*again = RRC_AGAIN_WHOLE;
	return ret;
}

int rrc_checkpoint_take(struct rrc_checkpointer *k, uint64_t number, enum rrc_checkpoint_kind kind,
			const char *dir, struct rrc_checkpoint *c, enum rrc_checkpoint_again *again,
			struct rrc_error *err)
{
	struct rrc_taking t = { .k = k,
				.o = &k->o,
				.number = number,
				.first = kind == RRC_CHECKPOINT_FIRST,
				.dir = dir };
	uint64_t start = rrc_now_ns(CLOCK_MONOTONIC);
	int ret = kind == RRC_CHECKPOINT_ANY ? take_delta(&t, again, err) : 1;

	if (ret == 1) {
		*again = RRC_AGAIN_LATER;
		ret = take_whole(&t, err);
	}
	rrc_sockets_free(&t.sockets);
	if (ret) {
		rrc_manifest_free(t.manifest);
		rrc_delta_free(t.delta);
		return rrc_wrap(err, "checkpoint %llu", (unsigned long long)number);
	}
	k->taken = number;
	k->taken_whole = !t.delta;
	*c = (struct rrc_checkpoint){ t.manifest, t.delta, t.times };
	c->times.whole = rrc_now_ns(CLOCK_MONOTONIC) - start;
	return 0;
}

void rrc_checkpoint_free(struct rrc_checkpoint *c)
{
	rrc_manifest_free(c->manifest);
	rrc_delta_free(c->delta);
	memset(c, 0, sizeof(*c));
}

void rrc_checkpoint_settled(struct rrc_checkpointer *k, int kept)
{
	if (!kept && k->taken_whole)
		start_over(k);
	else if (k->taken_whole)
		k->files_due = 0;
	k->kept = kept ? k->taken : 0;
}

void rrc_checkpointer_explain(struct rrc_checkpointer *k, void (*tell)(void *ctx, const char *name),
			      void *ctx)
{
	if (k->o.engine->explain)
		k->o.engine->explain(k->engine, tell, ctx);
}
