/* SPDX-License-Identifier: MIT */
/* Where our own programs are, and other programs' answers. What the kernel offers: probe.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "host.h"
#include "util.h"

extern char **environ;

int rrc_host_exe_dir(char *dir, size_t len, struct rrc_error *err)
{
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return rrc_fail(err, -errno, "/proc/self/exe: %s", strerror(errno));
	self[n] = 0;
	slash = strrchr(self, '/');
	if (!slash || (size_t)(slash - self) >= len)
		return rrc_fail(err, -ENAMETOOLONG, "%s: not a path that can be used", self);
	*slash = 0;
	memcpy(dir, self, (size_t)(slash - self) + 1);
	return 0;
}

int rrc_host_helper(const char *name, char *path, size_t len, struct rrc_error *err)
{
	static const char *const places[] = { "", "/../lib/rrc" };
	char dir[PATH_MAX], *real;
	size_t i;
	int ret;

	ret = rrc_host_exe_dir(dir, sizeof(dir), err);
	if (ret)
		return ret;
	for (i = 0; i < RRC_ARRAY_SIZE(places); i++) {
		char *p = NULL;

		if (asprintf(&p, "%s%s/%s", dir, places[i], name) < 0)
			return rrc_fail(err, -ENOMEM, "no memory");
		real = realpath(p, NULL);
		free(p);
		if (real && access(real, X_OK) == 0 && strlen(real) < len) {
			strcpy(path, real);
			free(real);
			return 0;
		}
		free(real);
	}
	return rrc_fail(err, -ENOENT, "%s is neither in %s nor in %s/../lib/rrc", name, dir, dir);
}

int rrc_host_run(char *const argv[], char *out, size_t len)
{
	posix_spawn_file_actions_t fa;
	int p[2], status, ret;
	size_t have = 0;
	char rest[512];
	ssize_t n;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	posix_spawn_file_actions_adddup2(&fa, p[1], 2);
	ret = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(p[1]);
	if (ret) {
		close(p[0]);
		return -ret;
	}
	for (;;) {
		int room = have + 1 < len;

		n = read(p[0], room ? out + have : rest, room ? len - 1 - have : sizeof(rest));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (room)
			have += (size_t)n;
	}
	close(p[0]);
	if (len)
		out[have] = 0;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Asks CRIU itself; the answer depends on kernel and build, not on versions that we could compare. */
static int criu_passes(char *path)
{
	char *argv[] = { path, "check", NULL };

	return access(path, X_OK) == 0 && rrc_host_run(argv, NULL, 0) == 0;
}

/* The next "DIR/criu" of a list of directories; 0 at its end. */
static int next_in_path(const char **dirs, char *path, size_t len)
{
	const char *end;
	int n;

	if (!**dirs)
		return 0;
	end = strchrnul(*dirs, ':');
	n = (int)(end - *dirs);
	if (n == 0 || snprintf(path, len, "%.*s/criu", n, *dirs) >= (int)len)
		path[0] = 0;
	*dirs = *end ? end + 1 : end;
	return 1;
}

int rrc_host_criu(char *path, size_t len, struct rrc_error *err)
{
	static const char *const near[] = { "/criu/criu", "/../lib/rrc/criu/criu" };
	const char *env = getenv("RRC_CRIU"), *dirs[] = { getenv("PATH") ?: "", "/usr/sbin:/sbin" };
	char dir[PATH_MAX];
	size_t i;
	int ret;

	if (env && *env) {
		if (access(env, X_OK) < 0 || strlen(env) >= len)
			return rrc_fail_exit(err, RRC_EXIT_HOST, -EINVAL, "RRC_CRIU=%s: %s", env,
					     strerror(errno));
		strcpy(path, env);
		return 0;
	}
	ret = rrc_host_exe_dir(dir, sizeof(dir), err);
	if (ret)
		return ret;
	for (i = 0; i < RRC_ARRAY_SIZE(near); i++)
		if (snprintf(path, len, "%s%s", dir, near[i]) < (int)len && criu_passes(path))
			return 0;
	if (snprintf(path, len, "/usr/local/lib/rrc/criu/criu") < (int)len && criu_passes(path))
		return 0;
	for (i = 0; i < RRC_ARRAY_SIZE(dirs); i++)
		while (next_in_path(&dirs[i], path, len))
			if (criu_passes(path))
				return 0;
	path[0] = 0;
	return rrc_fail_exit(
		err, RRC_EXIT_HOST, -ENOENT,
		"no CRIU works on this kernel as this user; `make deps` gets one (`criu check` says why "
		"one does not work; RRC_CRIU=PATH names another)");
}
