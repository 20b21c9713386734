// SPDX-License-Identifier: MIT
/*
 * Loads the recorder (bpf/) for one container, fills its tables from lib/syscalls.h, pins its maps.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "ptrace.h"
#include "recorder.h"
#include "recorder_int.h"
#include "rrc.skel.h"
#include "syscalls.h"
#include "util.h"

#define RING_BYTES  (64u << 20)
#define BPFFS	    "/sys/fs/bpf"
#define BPFFS_MAGIC 0xcafe4a11
#define VMLINUX_BTF "/sys/kernel/btf/vmlinux"

struct rrc_recorder {
	struct rrc_bpf *skel;
	struct rrc_ring *ring;
	struct rrc_stats *stats; /* mapped */
	struct rrc_lease *lease; /* mapped */
	char pin[PATH_MAX]; /* "": not pinned */
};

/* libbpf prints on its own; in a library's place it says nothing. */
libbpf_print_fn_t rrc_libbpf_silence(bool verbose)
{
	return verbose ? NULL : libbpf_set_print(NULL);
}

void rrc_libbpf_restore(libbpf_print_fn_t old)
{
	if (old)
		libbpf_set_print(old);
}

/* What the running kernel offers, by its own BTF. */
static void probe_kernel(struct rrc_bpf *skel, const struct rrc_recorder_opts *opts)
{
	struct btf *btf = opts->old_kernel ? NULL : btf__load_vmlinux_btf();

	skel->rodata->cfg_user_dynptr =
		btf && btf__find_by_name_kind(btf, "bpf_probe_read_user_dynptr", BTF_KIND_FUNC) > 0;
	skel->rodata->cfg_rdonly_cast =
		btf && btf__find_by_name_kind(btf, "bpf_rdonly_cast", BTF_KIND_FUNC) > 0;
	btf__free(btf);
}

static void configure(struct rrc_bpf *skel, const struct rrc_recorder_opts *opts)
{
	size_t ring = opts->ring_bytes ?: RING_BYTES;
	uint64_t odd = 0;

	skel->rodata->cfg_pidns = (__u32)opts->pidns;
	skel->rodata->cfg_netns = (__u32)opts->netns;
	skel->rodata->cfg_flag_unpatched = opts->flag_unpatched;
	skel->rodata->cfg_wake_bytes = (__u32)(opts->wake_bytes ?: ring / 8);
	probe_kernel(skel, opts);
	getentropy(&odd, sizeof(odd));
	skel->rodata->cfg_scramble = odd | 1;
	for (unsigned int nr = 0; nr < RRC_NSYS; nr++)
		memcpy((void *)&skel->rodata->cfg_rows[nr], rrc_sysrow(nr),
		       sizeof(struct rrc_sysrow));
	bpf_map__set_max_entries(skel->maps.rrc_events, (__u32)ring);
}

static int fill_commands(struct rrc_bpf *skel, struct rrc_error *err)
{
	int fd = bpf_map__fd(skel->maps.rrc_cmds);
	const struct rrc_cmdrow *rows;
	size_t n;

	rows = rrc_cmdrows(&n);
	for (size_t i = 0; i < n; i++) {
		__u64 key = RRC_CMD_KEY(rows[i].nr, rows[i].cmd);

		if (bpf_map_update_elem(fd, &key, &rows[i], BPF_ANY))
			return rrc_fail(err, -errno, "recorder: table of commands: %m");
	}
	return 0;
}

static void *map_array(struct bpf_map *map, size_t size, struct rrc_error *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, (size + page - 1) & ~(page - 1), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(map), 0);

	if (p != MAP_FAILED)
		return p;
	rrc_fail(err, -errno, "cannot map %s: %m", bpf_map__name(map));
	return NULL;
}

static void unmap_array(void *p, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (p)
		munmap(p, (size + page - 1) & ~(page - 1));
}

static int pin_path(char *path, const char *name, const char *map, struct rrc_error *err)
{
	if (!*name || strchr(name, '/') || *name == '.')
		return rrc_fail(err, -EINVAL, "\"%s\" cannot name a directory", name);
	if (snprintf(path, PATH_MAX, "%s/%s%s%s", RRC_PIN_ROOT, name, map ? "/" : "", map ?: "") >=
	    PATH_MAX)
		return rrc_fail(err, -ENAMETOOLONG, "name of the container is too long");
	return 0;
}

static int mount_bpffs(struct rrc_error *err)
{
	struct statfs fs;

	if (!statfs(BPFFS, &fs) && (unsigned long)fs.f_type == BPFFS_MAGIC)
		return 0;
	if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return rrc_fail_exit(err, RRC_EXIT_HOST, -errno, "cannot mount bpffs on %s: %m",
				     BPFFS);
	return 0;
}

static struct bpf_map **pinned_maps(struct rrc_bpf *skel, struct bpf_map *out[6])
{
	out[0] = skel->maps.rrc_stats;
	out[1] = skel->maps.rrc_threads;
	out[2] = skel->maps.rrc_conns;
	out[3] = skel->maps.rrc_events;
	out[4] = skel->maps.rrc_barriers;
	out[5] = skel->maps.rrc_lease;
	return out;
}

static int pin_all(struct rrc_recorder *rec, const char *name, struct rrc_error *err)
{
	struct bpf_map *maps[6];
	char path[PATH_MAX];
	int ret;

	ret = mount_bpffs(err);
	if (ret)
		return ret;
	ret = pin_path(path, name, NULL, err);
	if (ret)
		return ret;
	if (mkdir(RRC_PIN_ROOT, 0700) && errno != EEXIST)
		return rrc_fail(err, -errno, "%s: %m", RRC_PIN_ROOT);
	if (mkdir(path, 0700))
		return rrc_fail(
			err, -errno,
			errno == EEXIST
				? "%s is there: the container is protected already, or a killed run left it"
				: "%s: %m",
			path);
	memcpy(rec->pin, path, sizeof(path));
	pinned_maps(rec->skel, maps);
	for (size_t i = 0; i < RRC_ARRAY_SIZE(maps); i++) {
		pin_path(path, name, bpf_map__name(maps[i]), NULL);
		ret = bpf_map__pin(maps[i], path);
		if (ret)
			return rrc_fail(err, ret, "cannot pin %s: %s", path, strerror(-ret));
	}
	return 0;
}

static int load(struct rrc_recorder *rec, const struct rrc_recorder_opts *opts,
		struct rrc_error *err)
{
	int ret;

	rec->skel = rrc_bpf__open();
	if (!rec->skel)
		return rrc_fail(err, -errno, "cannot open the recorder's programs: %m");
	configure(rec->skel, opts);
	ret = rrc_bpf__load(rec->skel);
	if (ret == -EPERM)
		return rrc_fail_exit(
			err, RRC_EXIT_HOST, ret,
			"loading the recorder's programs needs root (CAP_BPF, CAP_PERFMON)");
	if (ret)
		return rrc_fail_exit(err, RRC_EXIT_HOST, ret,
				     "this kernel refuses the recorder's programs: %s",
				     strerror(-ret));
	return fill_commands(rec->skel, err);
}

struct rrc_recorder *rrc_recorder_open(const struct rrc_recorder_opts *opts, struct rrc_error *err)
{
	struct rrc_recorder *rec;
	libbpf_print_fn_t print;
	int ret;

	if (access(VMLINUX_BTF, R_OK)) {
		rrc_fail_exit(err, RRC_EXIT_HOST, -errno,
			      VMLINUX_BTF ": %m; a kernel with CONFIG_DEBUG_INFO_BTF is needed");
		return NULL;
	}
	rec = calloc(1, sizeof(*rec));
	if (!rec) {
		rrc_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	print = rrc_libbpf_silence(opts->verbose);
	ret = load(rec, opts, err);
	if (!ret && opts->name)
		ret = pin_all(rec, opts->name, err);
	rrc_libbpf_restore(print);
	if (ret)
		goto fail;
	rec->stats = map_array(rec->skel->maps.rrc_stats, sizeof(*rec->stats), err);
	rec->lease = map_array(rec->skel->maps.rrc_lease, sizeof(*rec->lease), err);
	if (!rec->stats || !rec->lease)
		goto fail;
	rec->ring = rrc_ring_open(bpf_map__fd(rec->skel->maps.rrc_events), err);
	if (!rec->ring)
		goto fail;
	return rec;
fail:
	rrc_recorder_close(rec);
	return NULL;
}

int rrc_recorder_attach(struct rrc_recorder *rec, struct rrc_error *err)
{
	libbpf_print_fn_t print = rrc_libbpf_silence(false);
	int ret = rrc_bpf__attach(rec->skel);

	rrc_libbpf_restore(print);
	if (ret)
		return rrc_fail_exit(err, RRC_EXIT_HOST, ret,
				     "cannot attach to raw tracepoints: %s", strerror(-ret));
	return 0;
}

void rrc_recorder_on(struct rrc_recorder *rec, bool on)
{
	__atomic_store_n((uint32_t *)&rec->skel->bss->run_on, on, __ATOMIC_SEQ_CST);
}

void rrc_recorder_watched(struct rrc_recorder *rec, bool on)
{
	__atomic_store_n((uint32_t *)&rec->skel->bss->run_watched, on, __ATOMIC_SEQ_CST);
}

bool rrc_recorder_broken_off(struct rrc_recorder *rec, pid_t tid, uint64_t *began_ns)
{
	__u32 key = (__u32)tid;
	struct rrc_thread t;

	if (bpf_map_lookup_elem(bpf_map__fd(rec->skel->maps.rrc_threads), &key, &t))
		return false;
	*began_ns = t.again_ns;
	return t.again_ns;
}

int rrc_recorder_patched(struct rrc_recorder *rec, pid_t pid)
{
	int id = rrc_ns_tid(pid);
	__u32 key = (__u32)id;

	if (id < 0)
		return id;
	if (bpf_map_delete_elem(bpf_map__fd(rec->skel->maps.rrc_unpatched), &key) &&
	    errno != ENOENT)
		return -errno;
	return 0;
}

int rrc_recorder_unpatched(struct rrc_recorder *rec, pid_t pid)
{
	__u64 now = rrc_now_ns(CLOCK_MONOTONIC);
	int id = rrc_ns_tid(pid);
	__u32 key = (__u32)id;

	if (id < 0)
		return id;
	if (bpf_map_update_elem(bpf_map__fd(rec->skel->maps.rrc_unpatched), &key, &now, BPF_ANY))
		return -errno;
	__atomic_fetch_add((uint32_t *)&rec->skel->bss->run_unpatched_gen, 1, __ATOMIC_SEQ_CST);
	return 0;
}

struct rrc_ring *rrc_recorder_ring(struct rrc_recorder *rec)
{
	return rec->ring;
}

/* Counts on behalf of rrc_recorder_drain(). */
struct counting {
	rrc_ring_fn fn;
	void *ctx;
	uint64_t bytes, records;
};

static int count_record(void *ctx, const struct rrc_rec *r)
{
	struct counting *c = ctx;

	c->bytes += r->size;
	c->records++;
	return c->fn(c->ctx, r);
}

int rrc_recorder_drain(struct rrc_recorder *rec, rrc_ring_fn fn, void *ctx, enum rrc_drain mode)
{
	struct counting c = { .fn = fn, .ctx = ctx };
	int ret = rrc_ring_drain(rec->ring, count_record, &c, mode);

	rec->stats->drained_bytes += c.bytes;
	rec->stats->drained_records += c.records;
	return ret;
}

void rrc_recorder_stats(struct rrc_recorder *rec, struct rrc_stats *out)
{
	const volatile uint64_t *from = (const volatile uint64_t *)rec->stats;
	uint64_t *to = (uint64_t *)out;

	for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
		to[i] = from[i];
}

uint64_t rrc_recorder_barriers(struct rrc_recorder *rec, unsigned int nr)
{
	__u32 key = nr;
	__u64 n = 0;

	bpf_map_lookup_elem(bpf_map__fd(rec->skel->maps.rrc_barriers), &key, &n);
	return n;
}

int rrc_recorder_waiting_link(const struct rrc_recorder *rec)
{
	return bpf_link__fd(rec->skel->links.rrc_waiting);
}

void rrc_recorder_link_progs(struct rrc_recorder *rec, int *ingress, int *egress)
{
	*ingress = bpf_program__fd(rec->skel->progs.rrc_ingress);
	*egress = bpf_program__fd(rec->skel->progs.rrc_egress);
}

void rrc_recorder_lease_set(struct rrc_recorder *rec, uint64_t until_ns)
{
	/* The time first: an armed lease must never be seen with an old one. */
	if (until_ns)
		__atomic_store_n(&rec->lease->until_ns, until_ns, __ATOMIC_SEQ_CST);
	__atomic_store_n(&rec->lease->armed, until_ns != 0, __ATOMIC_SEQ_CST);
}

void rrc_recorder_lease_get(struct rrc_recorder *rec, struct rrc_lease *out)
{
	*out = *rec->lease;
}

static int unpin_dir(const char *path)
{
	static const char *const maps[] = { "rrc_stats",  "rrc_threads",  "rrc_conns",
					    "rrc_events", "rrc_barriers", "rrc_lease" };
	char file[PATH_MAX];

	for (size_t i = 0; i < RRC_ARRAY_SIZE(maps); i++) {
		if (snprintf(file, sizeof(file), "%s/%s", path, maps[i]) >= (int)sizeof(file))
			return -ENAMETOOLONG;
		if (unlink(file) && errno != ENOENT)
			return -errno;
	}
	if (rmdir(path) && errno != ENOENT)
		return -errno;
	return 0;
}

void rrc_recorder_close(struct rrc_recorder *rec)
{
	if (!rec)
		return;
	rrc_ring_close(rec->ring);
	unmap_array(rec->stats, sizeof(*rec->stats));
	unmap_array(rec->lease, sizeof(*rec->lease));
	rrc_bpf__destroy(rec->skel);
	if (*rec->pin)
		unpin_dir(rec->pin);
	free(rec);
}

int rrc_recorder_cleanup_stale(const char *name, struct rrc_error *err)
{
	char path[PATH_MAX];
	int ret = pin_path(path, name, NULL, err);

	if (ret)
		return ret;
	ret = unpin_dir(path);
	return ret ? rrc_fail(err, ret, "cannot remove %s: %s", path, strerror(-ret)) : 0;
}
