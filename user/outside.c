/* SPDX-License-Identifier: MIT */
/* Descriptors that lead outside the container, see outside.h. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "outside.h"
#include "ptrace.h"
#include "util.h"

static int known(const struct rrc_outside *o, const char *key)
{
	for (size_t i = 0; i < o->n; i++)
		if (!strcmp(o->key[i], key))
			return 1;
	return 0;
}

static unsigned int mount_id(pid_t pid, int fd)
{
	char path[64], line[128];
	unsigned int id = 0;
	rrc_autofclose FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "mnt_id: %u", &id) == 1)
			break;
	return id;
}

/* Is the mount one of the process's own namespace? */
static int mount_is_inside(pid_t pid, unsigned int id)
{
	char path[64], line[4096];
	rrc_autofclose FILE *f = NULL;
	unsigned int have;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u", &have) == 1 && have == id)
			return 1;
	return 0;
}

/* Which ends of a pipe one process holds: bit 0 the one to read from, bit 1 the one to write to. */
static int pipe_ends(pid_t pid, ino_t ino)
{
	char path[64], fd_path[PATH_MAX];
	struct dirent *e;
	int ends = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		struct stat target, link;

		snprintf(fd_path, sizeof(fd_path), "%s/%s", path, e->d_name);
		if (stat(fd_path, &target) || !S_ISFIFO(target.st_mode) || target.st_ino != ino ||
		    lstat(fd_path, &link))
			continue;
		ends |= (link.st_mode & S_IRUSR ? 1 : 0) | (link.st_mode & S_IWUSR ? 2 : 0);
	}
	if (d)
		closedir(d);
	return ends;
}

/* Both ends are inside: a pipe between two processes of the container. */
static int pipe_is_inside(const pid_t *pids, int n, ino_t ino)
{
	int ends = 0;

	for (int i = 0; i < n && ends != 3; i++)
		ends |= pipe_ends(pids[i], ino);
	return ends == 3;
}

static void look(struct rrc_outside *o, const pid_t *pids, int npids, pid_t pid, int fd,
		 int own_mounts)
{
	char path[64], target[PATH_MAX], key[64] = "";
	int external = 1;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0 || stat(path, &st))
		return;
	target[n] = 0;
	if (S_ISFIFO(st.st_mode) && !strncmp(target, "pipe:[", 6)) {
		if (pipe_is_inside(pids, npids, st.st_ino))
			return;
		snprintf(key, sizeof(key), "%.60s", target);
		external = 0; /* a pipe is dumped as it is */
	} else if (S_ISCHR(st.st_mode) && major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143) {
		snprintf(key, sizeof(key), "tty[%lx:%lx]", (unsigned long)st.st_rdev,
			 (unsigned long)st.st_dev);
	} else if (S_ISREG(st.st_mode) && own_mounts && !mount_is_inside(pid, mount_id(pid, fd))) {
		snprintf(key, sizeof(key), "file[%x:%lx]", mount_id(pid, fd),
			 (unsigned long)st.st_ino);
	}
	if (!key[0] || known(o, key) || o->n == RRC_OUTSIDE_MAX)
		return;
	memcpy(o->key[o->n], key, sizeof(key));
	if (external)
		o->external[o->nexternal++] = o->key[o->n];
	o->n++;
}

int rrc_outside_find(uint64_t pidns, int own_mounts, struct rrc_outside *o, struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(pidns, &pids);

	memset(o, 0, sizeof(*o));
	if (n < 0)
		return rrc_fail(err, n, "cannot list the container's processes: %s", strerror(-n));
	for (int i = 0; i < n; i++)
		for (int fd = 0; fd < 3; fd++)
			look(o, pids, n, pids[i], fd, own_mounts);
	return 0;
}
