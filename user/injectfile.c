/* SPDX-License-Identifier: MIT */
/* The library's file in a running container: in the writable layer, so that checkpoints carry it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "inject.h"
#include "prepare.h"
#include "util.h"

#define RRC_INSIDE "/usr/lib/rrc" /* in the container, as rrc-trace --prepare does it */

/* Below the container's root, whose links must not lead out of it. */
static int open_inside(int root, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* Opens /usr/lib/rrc below root, made if need be. */
static int open_dir(int root)
{
	static const char *const parts[] = { "usr", "lib", "rrc" };
	int fd = open_inside(root, "/", O_PATH | O_DIRECTORY, 0);
	char path[32] = "";

	for (size_t i = 0; fd >= 0 && i < RRC_ARRAY_SIZE(parts); i++) {
		int next;

		strcat(strcat(path, "/"), parts[i]);
		next = open_inside(root, path, O_PATH | O_DIRECTORY, 0);
		/* for every user of the container, whatever our umask is */
		if (next == -ENOENT && !mkdirat(fd, parts[i], 0755) &&
		    !fchmodat(fd, parts[i], 0755, 0))
			next = open_inside(root, path, O_PATH | O_DIRECTORY, 0);
		else if (next == -ENOENT)
			next = -errno;
		close(fd);
		fd = next;
	}
	return fd;
}

struct image {
	const void *bytes;
	size_t len;
};

static int load(const char *path, struct image *im, struct rrc_error *err)
{
	rrc_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st))
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	*im = (struct image){ p, (size_t)st.st_size };
	return 0;
}

static int same(int dir, const struct image *im)
{
	rrc_autoclose int fd = openat(dir, RRC_PRELOAD_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int equal = 0;
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) || (size_t)st.st_size != im->len)
		return 0;
	p = mmap(NULL, im->len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return 0;
	equal = !memcmp(p, im->bytes, im->len);
	munmap(p, im->len);
	return equal;
}

/* A file of another version stays with who has it mapped: the new one takes its name. */
static int write_file(int dir, const struct image *im)
{
	static const char new[] = RRC_PRELOAD_NAME ".new";
	rrc_autoclose int fd = -1;
	size_t done = 0;
	int ret;

	unlinkat(dir, new, 0);
	fd = openat(dir, new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0755);
	if (fd < 0)
		return -errno;
	while (done < im->len) {
		ssize_t n = write(fd, (const char *)im->bytes + done, im->len - done);

		if (n <= 0) {
			ret = n ? -errno : -ENOSPC;
			unlinkat(dir, new, 0);
			return ret;
		}
		done += (size_t)n;
	}
	if (fchmod(fd, 0755) || renameat(dir, new, dir, RRC_PRELOAD_NAME))
		return -errno;
	return 0;
}

static int put_below(const char *root_path, const struct image *im)
{
	rrc_autoclose int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC), dir = -1;

	if (root < 0)
		return -errno;
	dir = open_dir(root);
	if (dir < 0)
		return dir;
	return same(dir, im) ? 0 : write_file(dir, im);
}

static int shares_root(pid_t pid)
{
	struct stat ours, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root/", pid);
	return !stat("/", &ours) && !stat(path, &its) && ours.st_dev == its.st_dev &&
	       ours.st_ino == its.st_ino;
}

int rrc_inject_file(const struct rrc_container *c, pid_t pid, char *path, size_t size,
		    struct rrc_error *err)
{
	char lib[PATH_MAX], root[64];
	struct image im = { 0 };
	int ret = rrc_preload_path(lib, sizeof(lib), err);

	if (ret)
		return ret;
	snprintf(path, size, "%s", RRC_INSIDE "/" RRC_PRELOAD_NAME);
	if (!c->own_mntns && shares_root(pid)) {
		if (snprintf(path, size, "%s", lib) >= (int)size)
			return rrc_fail(err, ENAMETOOLONG, "%s: name too long", lib);
		return 0;
	}
	ret = load(lib, &im, err);
	if (ret)
		return ret;
	snprintf(root, sizeof(root), "/proc/%d/root", pid);
	ret = put_below(root, &im);
	/* Mounted read-only for the container, but perhaps not for the host. */
	if (ret == -EROFS && c->rootfs[0])
		ret = put_below(c->rootfs, &im);
	munmap((void *)im.bytes, im.len);
	if (ret == -EROFS)
		return rrc_fail_exit(
			err, RRC_EXIT_HOST, ret,
			"process %d has threads, and its root is read-only, so their recorder cannot be put "
			"there: rrc-trace --prepare BUNDLE before it starts, or --mode passive",
			pid);
	return ret ? rrc_fail(err, ret, "%s%s: %s", root, path, strerror(-ret)) : 0;
}
