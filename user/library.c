/* SPDX-License-Identifier: MIT */
/* The in-process recorder's file in a container: in the writable layer, so that checkpoints carry it. See library.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "library.h"
#include "util.h"

#ifndef RRC_LIBDIR
#define RRC_LIBDIR "/usr/local/lib/rrc"
#endif
/* What the loader loads into every program (ld.so(8)). */
#define LIST_DIR "/etc"
#define LIST	 "ld.so.preload"
#define LIST_MAX 65536

int rrc_preload_path(char *buf, size_t size, struct rrc_error *err)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	if (n > 0) {
		buf[n] = 0;
		slash = strrchr(buf, '/');
		if (slash && (size_t)(slash + 1 - buf) + sizeof(RRC_PRELOAD_NAME) <= size) {
			strcpy(slash + 1, RRC_PRELOAD_NAME);
			if (!access(buf, R_OK))
				return 0;
		}
	}
	snprintf(buf, size, "%s", RRC_LIBDIR "/" RRC_PRELOAD_NAME);
	if (!access(buf, R_OK))
		return 0;
	return rrc_fail(err, ENOENT, "%s is not installed: run make install", buf);
}

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

/* Opens a directory below root, made if need be. */
static int open_dir(int root, const char *dir)
{
	int fd = open_inside(root, "/", O_PATH | O_DIRECTORY, 0);
	char path[64] = "";

	while (fd >= 0 && *dir) {
		size_t n = strcspn(dir + 1, "/") + 1;
		const char *part = path + strlen(path) + 1;
		int next;

		strncat(path, dir, n);
		dir += n;
		next = open_inside(root, path, O_PATH | O_DIRECTORY, 0);
		/* for every user of the container, whatever our umask is */
		if (next == -ENOENT && !mkdirat(fd, part, 0755) && !fchmodat(fd, part, 0755, 0))
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

static int same(int dir, const char *name, const struct image *im)
{
	/* Not to wait for a writer if it is a pipe there. */
	rrc_autoclose int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
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
static int write_file(int dir, const char *name, const struct image *im, mode_t mode)
{
	rrc_autoclose int fd = -1;
	size_t done = 0;
	char new[64];
	int ret;

	snprintf(new, sizeof(new), "%s.new", name);
	unlinkat(dir, new, 0);
	fd = openat(dir, new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
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
	if (fchmod(fd, mode) || renameat(dir, new, dir, name))
		return -errno;
	return 0;
}

static int put_below(const char *root_path, const struct image *im)
{
	rrc_autoclose int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC), dir = -1;

	if (root < 0)
		return -errno;
	dir = open_dir(root, RRC_LIBRARY_DIR);
	if (dir < 0)
		return dir;
	return same(dir, RRC_PRELOAD_NAME, im) ? 0 : write_file(dir, RRC_PRELOAD_NAME, im, 0755);
}

int rrc_library_put(const char *root, struct rrc_error *err)
{
	char lib[PATH_MAX];
	struct image im = { 0 };
	int ret = rrc_preload_path(lib, sizeof(lib), err);

	if (!ret)
		ret = load(lib, &im, err);
	if (ret)
		return ret;
	ret = put_below(root, &im);
	munmap((void *)im.bytes, im.len);
	return ret ? rrc_fail(err, ret, "%s" RRC_LIBRARY ": %s", root, strerror(-ret)) : 0;
}

/* What the list names now, with room for one more; "" if there is none. NULL: it is nothing that we can change. */
static char *read_list(int root)
{
	char *text = calloc(1, LIST_MAX + sizeof(RRC_LIBRARY "\n"));
	rrc_autoclose int fd = open_inside(root, LIST_DIR "/" LIST, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;

	if (text && fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size < LIST_MAX &&
	    read(fd, text, LIST_MAX) == st.st_size)
		return text;
	if (text && fd == -ENOENT)
		return text;
	free(text);
	return NULL;
}

int rrc_library_list(const char *root_path, struct rrc_error *err)
{
	rrc_autoclose int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC), dir = -1;
	static const char ours[] = RRC_LIBRARY "\n";
	rrc_autofree char *text = NULL;
	int ret;

	if (root < 0)
		return rrc_fail(err, errno, "%s: %s", root_path, strerror(errno));
	text = read_list(root);
	if (!text)
		return rrc_fail(err, EINVAL, "%s" LIST_DIR "/" LIST " is no list of libraries",
				root_path);
	if (strstr(text, RRC_PRELOAD_NAME))
		return 0;
	memmove(text + sizeof(ours) - 1, text, strlen(text) + 1);
	memcpy(text, ours, sizeof(ours) - 1);
	dir = open_dir(root, LIST_DIR);
	ret = dir < 0 ? dir : write_file(dir, LIST, &(struct image){ text, strlen(text) }, 0644);
	return ret ? rrc_fail(err, ret, "%s" LIST_DIR "/" LIST ": %s", root_path, strerror(-ret))
		   : 0;
}

int rrc_library_listed(const char *root_path)
{
	rrc_autoclose int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	rrc_autofree char *text = root < 0 ? NULL : read_list(root);

	return text && strstr(text, RRC_PRELOAD_NAME);
}

static int shares_root(pid_t pid)
{
	struct stat ours, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root/", pid);
	return !stat("/", &ours) && !stat(path, &its) && ours.st_dev == its.st_dev &&
	       ours.st_ino == its.st_ino;
}

int rrc_library_for(const struct rrc_container *c, pid_t pid, char *path, size_t size,
		    struct rrc_error *err)
{
	char root[64];
	int ret;

	if (!c->own_mntns && shares_root(pid))
		return rrc_preload_path(path, size, err);
	snprintf(path, size, "%s", RRC_LIBRARY);
	snprintf(root, sizeof(root), "/proc/%d/root", pid);
	ret = rrc_library_put(root, err);
	/* Mounted read-only for the container, but perhaps not for the host. */
	if (ret == -EROFS && c->rootfs[0])
		ret = rrc_library_put(c->rootfs, err);
	if (ret == -EROFS)
		return rrc_fail_exit(
			err, RRC_EXIT_HOST, ret,
			"process %d has threads, and its root is read-only, so their recorder cannot be put "
			"there: rrc-trace --prepare BUNDLE before it starts, or --mode passive",
			pid);
	return ret;
}
