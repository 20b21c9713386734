/* SPDX-License-Identifier: MIT */
/* An OCI bundle gets the in-process recorder, see prepare.h. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "prepare.h"
#include "util.h"

#ifndef RRC_LIBDIR
#define RRC_LIBDIR "/usr/local/lib/rrc"
#endif
#define RRC_INSIDE	"/usr/lib/rrc" /* in the container */
#define RRC_PRELOAD_VAR "LD_PRELOAD="

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

static int copy_file(const char *from, const char *to, struct rrc_error *err)
{
	rrc_autoclose int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	char buf[65536];
	ssize_t n;

	if (in < 0)
		return rrc_fail(err, errno, "%s: %s", from, strerror(errno));
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0755);
	if (out < 0)
		return rrc_fail(err, errno, "%s: %s", to, strerror(errno));
	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			return rrc_fail(err, errno ? errno : ENOSPC, "%s: %s", to,
					strerror(errno ? errno : ENOSPC));
	return n ? rrc_fail(err, errno, "%s: %s", from, strerror(errno)) : 0;
}

/* Directories below the container's root. Its own links must not lead us out of it. */
static int make_dirs(const char *root, char *path, size_t size, struct rrc_error *err)
{
	static const char *const parts[] = { "/usr", "/lib", "/rrc" };
	size_t len = (size_t)snprintf(path, size, "%s", root);
	struct stat st;

	for (size_t i = 0; i < RRC_ARRAY_SIZE(parts); i++) {
		if (len + strlen(parts[i]) >= size)
			return rrc_fail(err, ENAMETOOLONG, "%s: name too long", root);
		strcpy(path + len, parts[i]);
		len += strlen(parts[i]);
		if (mkdir(path, 0755) && errno != EEXIST)
			return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
		if (lstat(path, &st) || !S_ISDIR(st.st_mode))
			return rrc_fail(err, ENOTDIR, "%s is no directory", path);
	}
	return 0;
}

/* Puts the library first in the variable, if it is not there. 0: done; 1: nothing to do. */
static int add_variable(struct json_object *env)
{
	size_t n = json_object_array_length(env);
	char text[PATH_MAX + 64];

	for (size_t i = 0; i < n; i++) {
		const char *v = json_object_get_string(json_object_array_get_idx(env, i));

		if (!v || strncmp(v, RRC_PRELOAD_VAR, strlen(RRC_PRELOAD_VAR)))
			continue;
		if (strstr(v, RRC_PRELOAD_NAME))
			return 1;
		if (snprintf(text, sizeof(text), RRC_PRELOAD_VAR "%s/%s:%s", RRC_INSIDE,
			     RRC_PRELOAD_NAME, v + strlen(RRC_PRELOAD_VAR)) >= (int)sizeof(text))
			return -ENAMETOOLONG;
		return json_object_array_put_idx(env, i, json_object_new_string(text)) ? -ENOMEM
										       : 0;
	}
	snprintf(text, sizeof(text), RRC_PRELOAD_VAR "%s/%s", RRC_INSIDE, RRC_PRELOAD_NAME);
	return json_object_array_add(env, json_object_new_string(text)) ? -ENOMEM : 0;
}

static int change_config(struct json_object *config, const char *path, struct rrc_error *err)
{
	struct json_object *process, *env;
	char new[PATH_MAX + 8];
	int ret;

	if (!json_object_object_get_ex(config, "process", &process))
		return rrc_fail(err, EINVAL, "%s names no process", path);
	if (!json_object_object_get_ex(process, "env", &env)) {
		env = json_object_new_array();
		json_object_object_add(process, "env", env);
	}
	if (!json_object_is_type(env, json_type_array))
		return rrc_fail(err, EINVAL, "%s: process.env is no list", path);
	ret = add_variable(env);
	if (ret)
		return ret > 0 ? 0 : rrc_fail(err, ret, "%s: %s", path, strerror(-ret));
	snprintf(new, sizeof(new), "%s.rrc", path);
	if (json_object_to_file_ext(new, config, JSON_C_TO_STRING_PRETTY) || rename(new, path)) {
		ret = errno ? errno : EIO;
		unlink(new);
		return rrc_fail(err, ret, "%s: %s", path, strerror(ret));
	}
	return 0;
}

static int root_of(struct json_object *config, const char *bundle, char *root, size_t size,
		   struct rrc_error *err)
{
	struct json_object *r, *p;
	const char *path;
	int n;

	if (!json_object_object_get_ex(config, "root", &r) ||
	    !json_object_object_get_ex(r, "path", &p))
		return rrc_fail(err, EINVAL, "%s/config.json names no root", bundle);
	path = json_object_get_string(p);
	n = path[0] == '/' ? snprintf(root, size, "%s", path)
			   : snprintf(root, size, "%s/%s", bundle, path);
	return n < (int)size ? 0 : rrc_fail(err, ENAMETOOLONG, "%s: name too long", path);
}

int rrc_prepare(const char *bundle, struct rrc_error *err)
{
	char config_path[PATH_MAX], root[PATH_MAX], lib[PATH_MAX], inside[PATH_MAX + 32];
	struct json_object *config;
	int ret;

	if (snprintf(config_path, sizeof(config_path), "%s/config.json", bundle) >=
	    (int)sizeof(config_path))
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", bundle);
	ret = rrc_preload_path(lib, sizeof(lib), err);
	if (ret)
		return ret;
	config = json_object_from_file(config_path);
	if (!config)
		return rrc_fail(err, EINVAL, "%s cannot be read: is %s an OCI bundle?", config_path,
				bundle);
	ret = root_of(config, bundle, root, sizeof(root), err);
	if (!ret)
		ret = make_dirs(root, inside, sizeof(inside) - sizeof(RRC_PRELOAD_NAME) - 1, err);
	if (!ret) {
		strcat(inside, "/" RRC_PRELOAD_NAME);
		ret = copy_file(lib, inside, err);
	}
	if (!ret)
		ret = change_config(config, config_path, err);
	json_object_put(config);
	return ret;
}
