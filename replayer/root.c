/* SPDX-License-Identifier: MIT */
/* Root file systems for restored containers, see root.h. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "root.h"
#include "tar.h"
#include "util.h"

#define RRC_ISOLATE_DIR "/run/rrc-isolated-%d" /* of the process that started the replay */

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void rrc_root_remove(const char *dir)
{
	nftw(dir, unlink_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Removes name below the directory `layer`. No link in it leads anywhere: what is behind one is not there. */
static int remove_below(int layer, char *name)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };
	char *slash = strrchr(name, '/'), path[PATH_MAX];
	rrc_autoclose int dir = -1;

	if (slash)
		*slash = 0;
	dir = (int)syscall(SYS_openat2, layer, slash ? name : ".", &how, sizeof(how));
	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, slash ? slash + 1 : name);
	rrc_root_remove(path);
	return 0;
}

/* Removes the listed names below layer; the list comes from outside. */
static int remove_listed(const char *list, const char *layer, struct rrc_error *err)
{
	rrc_autoclose int dir = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
	rrc_autofclose FILE *f = fopen(list, "re");
	rrc_autofree char *name = NULL;
	size_t size = 0;
	ssize_t n;
	int ret;

	if (!f)
		return errno == ENOENT ? 0 : rrc_fail(err, errno, "%s: %s", list, strerror(errno));
	if (dir < 0)
		return rrc_fail(err, errno, "%s: %s", layer, strerror(errno));
	while ((n = getdelim(&name, &size, 0, f)) > 0) {
		if (name[n - 1] || rrc_manifest_name_ok(name, strlen(name)))
			return rrc_fail(err, EBADMSG, "%s names a file outside of the container",
					list);
		ret = remove_below(dir, name);
		if (ret)
			return rrc_fail(err, ret, "%s/%s: %s", layer, name, strerror(-ret));
	}
	return 0;
}

int rrc_root_apply(const char *ckpt_dir, const char *layer, struct rrc_error *err)
{
	char tar[PATH_MAX], list[PATH_MAX];
	int ret;

	snprintf(tar, sizeof(tar), "%s/fs.tar", ckpt_dir);
	snprintf(list, sizeof(list), "%s/fs.deleted", ckpt_dir);
	if (mkdir(layer, 0755) && errno != EEXIST)
		return rrc_fail(err, errno, "%s: %s", layer, strerror(errno));
	ret = remove_listed(list, layer, err);
	if (!ret && !access(tar, F_OK))
		ret = rrc_tar_unpack(tar, layer, err);
	return ret;
}

static int make(const char *fmt, const char *dir, char *out, size_t size, struct rrc_error *err)
{
	if (snprintf(out, size, fmt, dir) >= (int)size)
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", dir);
	if (mkdir(out, 0755) && errno != EEXIST)
		return rrc_fail(err, errno, "%s: %s", out, strerror(errno));
	return 0;
}

int rrc_root_mount(const char *base, const char *layer, const char *work, char *path, size_t size,
		   struct rrc_error *err)
{
	char scratch[PATH_MAX], upper[PATH_MAX], ovl[PATH_MAX], opts[4 * PATH_MAX];
	int have_layer = layer && !access(layer, F_OK), ret;

	ret = make("%s/scratch", work, scratch, sizeof(scratch), err);
	/* In memory: an upper layer must not lie on the file system that it covers. */
	if (!ret && mount("rrc", scratch, "tmpfs", 0, "mode=755"))
		ret = rrc_fail(err, errno, "%s: cannot mount a tmpfs: %s", scratch,
			       strerror(errno));
	if (!ret)
		ret = make("%s/scratch/upper", work, upper, sizeof(upper), err);
	if (!ret)
		ret = make("%s/scratch/work", work, ovl, sizeof(ovl), err);
	if (!ret)
		ret = make("%s/root", work, path, size, err);
	if (ret)
		return ret;
	if (!have_layer && !base)
		return rrc_fail(err, ENOENT,
				"the checkpoint has no files, and no --rootfs was given");
	snprintf(opts, sizeof(opts), "lowerdir=%s%s%s,upperdir=%s,workdir=%s",
		 have_layer ? layer : "", have_layer && base ? ":" : "", base ? base : "", upper,
		 ovl);
	if (mount("rrc", path, "overlay", 0, opts))
		return rrc_fail(
			err, errno, "%s: cannot mount an overlay (%s): %s%s", path, opts,
			strerror(errno),
			errno == ELOOP
				? "; the state directory must not lie on the file system of --rootfs"
				: "");
	return 0;
}

void rrc_root_unmount(const char *work)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/root", work);
	umount2(path, MNT_DETACH);
	snprintf(path, sizeof(path), "%s/scratch", work);
	umount2(path, MNT_DETACH);
}

static int under(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

int rrc_root_in_use(const char *dir)
{
	rrc_autofclose FILE *f = fopen("/proc/self/mounts", "re");
	char line[4096], at[PATH_MAX], real[PATH_MAX];
	int n = 0;

	if (!realpath(dir, real))
		return errno == ENOENT ? 0 : -errno;
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		n |= sscanf(line, "%*s %4095s", at) == 1 && strcmp(at, real) && under(at, real);
	return n;
}

/* File systems that programs keep files on, as the mount table names them. */
static int is_disk(const char *type)
{
	static const char *const disks[] = { "ext2", "ext3",	"ext4",	 "xfs", "btrfs",
					     "f2fs", "overlay", "tmpfs", "zfs", "bcachefs" };

	for (size_t i = 0; i < RRC_ARRAY_SIZE(disks); i++)
		if (!strcmp(type, disks[i]))
			return 1;
	return 0;
}

/* Covers one mount point of the old root at the same place of the new one. */
static int cover(const char *dir, const char *new_root, const char *at, unsigned int i,
		 struct rrc_error *err)
{
	char upper[PATH_MAX], ovl[PATH_MAX], target[PATH_MAX], opts[4 * PATH_MAX];

	snprintf(upper, sizeof(upper), "%s/u%u", dir, i);
	snprintf(ovl, sizeof(ovl), "%s/w%u", dir, i);
	snprintf(target, sizeof(target), "%s%s", new_root, i ? at : "");
	mkdir(upper, 0755);
	mkdir(ovl, 0755);
	snprintf(opts, sizeof(opts), "lowerdir=%s,upperdir=%s,workdir=%s", at, upper, ovl);
	if (mount("rrc", target, "overlay", 0, opts))
		return rrc_fail(err, errno, "cannot lay a scratch layer over %s: %s", at,
				strerror(errno));
	return 0;
}

/* Kernel file systems, and what cannot be covered, stay as they are. */
static int bind(const char *new_root, const char *at)
{
	char target[PATH_MAX];

	if (snprintf(target, sizeof(target), "%s%s", new_root, at) >= (int)sizeof(target))
		return -ENAMETOOLONG;
	return mount(at, target, NULL, MS_BIND | MS_REC, NULL) ? -errno : 0;
}

void rrc_root_isolated_end(pid_t owner)
{
	char dir[64];

	snprintf(dir, sizeof(dir), RRC_ISOLATE_DIR, owner);
	rmdir(dir);
}

int rrc_root_isolate(pid_t owner, struct rrc_error *err)
{
	static const char *const kept[] = { "/proc", "/sys", "/dev", "/run" };
	char dir[64], root[80], line[4096], at[PATH_MAX], type[64];
	rrc_autofclose FILE *f = NULL;
	unsigned int n = 1;
	int ret;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return rrc_fail(err, errno, "cannot make a mount namespace: %s", strerror(errno));
	snprintf(dir, sizeof(dir), RRC_ISOLATE_DIR, owner);
	snprintf(root, sizeof(root), "%s/root", dir);
	mkdir(dir, 0700);
	if (mount("rrc", dir, "tmpfs", 0, "mode=700"))
		return rrc_fail(err, errno, "cannot mount a tmpfs: %s", strerror(errno));
	mkdir(root, 0755);
	f = fopen("/proc/self/mounts", "re");
	if (!f)
		return rrc_fail(err, errno, "/proc/self/mounts: %s", strerror(errno));
	ret = cover(dir, root, "/", 0, err);
	while (!ret && fgets(line, sizeof(line), f)) {
		int skip = 0;

		if (sscanf(line, "%*s %4095s %63s", at, type) != 2 || !strcmp(at, "/") ||
		    !is_disk(type))
			continue;
		for (size_t i = 0; i < RRC_ARRAY_SIZE(kept); i++)
			skip |= under(at, kept[i]);
		if (!skip && cover(dir, root, at, n++, NULL))
			bind(root, at);
	}
	for (size_t i = 0; !ret && i < RRC_ARRAY_SIZE(kept); i++)
		if (bind(root, kept[i]))
			ret = rrc_fail(err, errno, "cannot keep %s: %s", kept[i], strerror(errno));
	if (!ret &&
	    (chdir(root) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/")))
		ret = rrc_fail(err, errno, "cannot enter the scratch root: %s", strerror(errno));
	return ret;
}
