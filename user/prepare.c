/* SPDX-License-Identifier: MIT */
/* An OCI bundle gets the in-process recorder, see prepare.h. */
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <string.h>

#include "library.h"
#include "prepare.h"
#include "util.h"

#define RRC_PRELOAD_VAR "LD_PRELOAD="

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
		if (snprintf(text, sizeof(text), RRC_PRELOAD_VAR "%s/%s:%s", RRC_LIBRARY_DIR,
			     RRC_PRELOAD_NAME, v + strlen(RRC_PRELOAD_VAR)) >= (int)sizeof(text))
			return -ENAMETOOLONG;
		return json_object_array_put_idx(env, i, json_object_new_string(text)) ? -ENOMEM
										       : 0;
	}
	snprintf(text, sizeof(text), RRC_PRELOAD_VAR "%s/%s", RRC_LIBRARY_DIR, RRC_PRELOAD_NAME);
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

/* 0: its root file system, as this host sees it. */
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

/* The caller puts *config in any case. */
static int read_bundle(const char *bundle, char *path, size_t size, struct json_object **config,
		       char *root, size_t root_size, struct rrc_error *err)
{
	if (snprintf(path, size, "%s/config.json", bundle) >= (int)size)
		return rrc_fail(err, ENAMETOOLONG, "%s: name too long", bundle);
	*config = json_object_from_file(path);
	if (!*config)
		return rrc_fail(err, EINVAL, "%s cannot be read: is %s an OCI bundle?", path,
				bundle);
	return root_of(*config, bundle, root, root_size, err);
}

int rrc_prepare(const char *bundle, struct rrc_error *err)
{
	char path[PATH_MAX], root[PATH_MAX];
	struct json_object *config = NULL;
	int ret = read_bundle(bundle, path, sizeof(path), &config, root, sizeof(root), err);

	if (!ret)
		ret = rrc_library_put(root, err);
	if (!ret)
		ret = change_config(config, path, err);
	json_object_put(config);
	return ret;
}

/* The state that a runtime gives a hook (OCI runtime specification, "State"): its bundle. */
static int bundle_of(FILE *in, char *bundle, size_t size, struct rrc_error *err)
{
	struct json_object *state = json_object_from_fd(fileno(in)), *b;
	const char *path = NULL;
	int ret = 0;

	if (state && json_object_object_get_ex(state, "bundle", &b))
		path = json_object_get_string(b);
	if (!path)
		ret = rrc_fail(
			err, EINVAL,
			"no container's state on standard input: --hook is for an OCI runtime "
			"(stage createContainer)");
	else if (snprintf(bundle, size, "%s", path) >= (int)size)
		ret = rrc_fail(err, ENAMETOOLONG, "%s: name too long", path);
	json_object_put(state);
	return ret;
}

int rrc_hook(FILE *in, struct rrc_error *err)
{
	char bundle[PATH_MAX], path[PATH_MAX], root[PATH_MAX];
	struct json_object *config = NULL;
	int ret = bundle_of(in, bundle, sizeof(bundle), err);

	if (!ret)
		ret = read_bundle(bundle, path, sizeof(path), &config, root, sizeof(root), err);
	if (!ret)
		ret = rrc_library_put(root, err);
	if (!ret)
		ret = rrc_library_list(root, err);
	json_object_put(config);
	return ret;
}
