/* SPDX-License-Identifier: MIT */
/* The checkpoint engine `stop`, see checkpoint.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "checkpoint.h"
#include "criu.h"
#include "execwatch.h"
#include "fsdelta.h"
#include "host.h"
#include "netcfg.h"
#include "outside.h"
#include "record.h"
#include "sockets.h"
#include "timens.h"
#include "util.h"

struct rrc_checkpointer {
	struct rrc_checkpointer_opts o;
	char criu[PATH_MAX];
	int criu_net;
	struct rrc_fsdelta *fs;
	char net_text[RRC_NET_TEXT_MAX];
	char command[4096];
};

/* One checkpoint in the making. */
struct taking {
	struct rrc_checkpointer *k;
	uint64_t number;
	int first;
	const char *dir;
	struct rrc_cut cut;
	struct rrc_sockets sockets;
	struct rrc_outside outside;
	struct rrc_manifest *manifest;
	uint64_t frozen_ns, resumed_ns;
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
	return k;
fail:
	rrc_checkpointer_free(k);
	return NULL;
}

void rrc_checkpointer_free(struct rrc_checkpointer *k)
{
	if (!k)
		return;
	if (k->criu_net >= 0)
		close(k->criu_net);
	rrc_fsdelta_free(k->fs);
	free(k);
}

static int begin_manifest(struct taking *t, struct rrc_error *err)
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
			 (t->k->o.passive ? RRC_MANIFEST_PASSIVE : 0u),
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

static int save_conns(struct taking *t, struct rrc_error *err)
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

/* Everything stands still: what must be read together is read here. */
static int at_cut(struct taking *t, struct rrc_error *err)
{
	struct rrc_checkpointer *k = t->k;
	struct rrc_netcfg net;
	int ret = 0;

	t->frozen_ns = rrc_now_ns(CLOCK_MONOTONIC);
	if (k->o.watch)
		ret = rrc_execwatch_patch_frozen(k->o.watch, err);
	if (ret >= 0)
		ret = k->o.cut(k->o.ctx, t->number, &t->cut, err);
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
	if (!ret && k->fs && t->first)
		rrc_fsdelta_reset(k->fs);
	if (!ret && k->fs && (t->first || t->cut.files_changed)) {
		ret = rrc_fsdelta_take(k->fs, t->dir, err);
		ret = ret < 0 ? ret : 0;
	}
	return ret ? ret : begin_manifest(t, err);
}

static int hook(void *ctx, enum rrc_criu_point point, struct rrc_error *err)
{
	struct taking *t = ctx;
	int ret;

	if (point == RRC_CRIU_FROZEN) {
		ret = at_cut(t, err);
		/* Nothing was injected yet: what runs on now must be recorded again. */
		if (ret)
			t->k->o.resume(t->k->o.ctx, NULL);
		return ret;
	}
	ret = t->k->o.resume(t->k->o.ctx, err);
	t->resumed_ns = rrc_now_ns(CLOCK_MONOTONIC);
	return ret;
}

static int dump(struct taking *t, struct rrc_error *err)
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
	int ret;

	if ((mkdir(t->dir, 0700) && errno != EEXIST) ||
	    snprintf(images, sizeof(images), "%s/img", t->dir) >= (int)sizeof(images) ||
	    (mkdir(images, 0700) && errno != EEXIST))
		return rrc_fail(err, errno, "%s: %s", t->dir, strerror(errno));
	ret = rrc_outside_find(c->pidns, c->own_mntns, &t->outside, err);
	if (!ret && k->o.watch)
		ret = rrc_execwatch_release(k->o.watch, err);
	if (ret)
		return ret;
	ret = rrc_criu_dump(&d, err);
	/* A dump that failed behind the cut leaves the recorder off: whatever happened, it goes on. */
	if (ret)
		k->o.resume(k->o.ctx, NULL);
	if (k->o.watch && rrc_execwatch_resume(k->o.watch, ret ? NULL : err) && !ret)
		ret = err->code;
	return ret;
}

struct rrc_manifest *rrc_checkpoint_take(struct rrc_checkpointer *k, uint64_t number, int first,
					 const char *dir, struct rrc_checkpoint_times *times,
					 struct rrc_error *err)
{
	struct taking t = { .k = k, .number = number, .first = first, .dir = dir };
	uint64_t start = rrc_now_ns(CLOCK_MONOTONIC);
	int ret = dump(&t, err);

	if (!ret)
		ret = rrc_manifest_add_files(t.manifest, dir, err);
	if (!ret)
		ret = rrc_manifest_save_dir(t.manifest, dir, err);
	rrc_sockets_free(&t.sockets);
	if (ret) {
		/* The files that this one read as changed are in no checkpoint: the next takes them all. */
		if (k->fs)
			rrc_fsdelta_reset(k->fs);
		rrc_manifest_free(t.manifest);
		rrc_wrap(err, "checkpoint %llu", (unsigned long long)number);
		return NULL;
	}
	*times = (struct rrc_checkpoint_times){
		.whole = rrc_now_ns(CLOCK_MONOTONIC) - start,
		.pause = t.resumed_ns - t.frozen_ns,
	};
	return t.manifest;
}
