/* SPDX-License-Identifier: MIT */
/*
 * Reads the state files of container runtimes. They belong to others, so anything may be in them:
 * their size and depth are bounded, every field is checked for its type.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtimes.h"
#include "util.h"

#define STATE_MAX   (8u << 20) /* bytes of one state file */
#define STATE_DEPTH 32
#define KNOWN_MAX   10000

typedef struct json_object json;

enum format {
	FORMAT_RUNC,
	FORMAT_CRUN
};

/* Where state lies; the directory above the file is the container's id. */
static const struct place {
	const char *runtime, *pattern;
	enum format format;
} places[] = {
	{ "docker", "/run/docker/runtime-*/moby/*/state.json", FORMAT_RUNC },
	{ "docker", "/run/containerd/runc/moby/*/state.json", FORMAT_RUNC },
	{ "containerd", "/run/containerd/runc/*/*/state.json", FORMAT_RUNC },
	{ "runc", "/run/runc/*/state.json", FORMAT_RUNC },
	{ "runc", "/run/user/*/runc/*/state.json", FORMAT_RUNC },
	{ "crun", "/run/crun/*/status", FORMAT_CRUN },
	{ "crun", "/run/user/*/crun/*/status", FORMAT_CRUN },
};

/* Storage of podman and the like: names of containers that runc or crun run. */
static const char *const storages[] = {
	"/var/lib/containers/storage/overlay-containers/containers.json",
	"/var/lib/containers/storage/vfs-containers/containers.json",
	"/home/*/.local/share/containers/storage/overlay-containers/containers.json",
	"/root/.local/share/containers/storage/overlay-containers/containers.json",
};

static void json_putp(json **o)
{
	if (*o)
		json_object_put(*o);
}

/* NULL when the file is not there, too large, or no JSON object or array. */
static json *read_json(const char *path)
{
	rrc_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	rrc_autofree char *buf = NULL;
	struct json_tokener *tok;
	struct stat st;
	size_t have = 0;
	ssize_t n;
	json *o;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > STATE_MAX)
		return NULL;
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return NULL;
	while (have < (size_t)st.st_size) {
		n = read(fd, buf + have, (size_t)st.st_size - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	tok = json_tokener_new_ex(STATE_DEPTH);
	if (!tok)
		return NULL;
	buf[have] = 0;
	o = json_tokener_parse_ex(tok, buf, (int)have + 1);
	json_tokener_free(tok);
	return o;
}

static json *get(json *o, const char *key, json_type type)
{
	json *v;

	if (!o || !json_object_is_type(o, json_type_object) ||
	    !json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, type))
		return NULL;
	return v;
}

/* Copies a string field; one that does not fit or has a NUL in it is left out. */
static void get_string(json *o, const char *key, char *to, size_t len)
{
	json *v = get(o, key, json_type_string);
	size_t n = v ? (size_t)json_object_get_string_len(v) : 0;

	if (n && n < len && strlen(json_object_get_string(v)) == n)
		memcpy(to, json_object_get_string(v), n + 1);
}

static void parse_runc(json *o, struct rrc_known *k)
{
	json *config = get(o, "config", json_type_object);
	json *labels = get(config, "labels", json_type_array);
	json *pid = get(o, "init_process_pid", json_type_int);
	json *start = get(o, "init_process_start", json_type_int);
	size_t i;

	get_string(config, "rootfs", k->rootfs, sizeof(k->rootfs));
	for (i = 0; labels && i < json_object_array_length(labels); i++) {
		const char *l = json_object_get_string(json_object_array_get_idx(labels, i));

		if (l && !strncmp(l, "bundle=", 7) && strlen(l + 7) < sizeof(k->bundle))
			strcpy(k->bundle, l + 7);
	}
	k->pid = pid ? json_object_get_int(pid) : 0;
	k->start = start ? json_object_get_uint64(start) : 0;
	k->damaged = !pid;
}

static void parse_crun(json *o, struct rrc_known *k)
{
	json *pid = get(o, "pid", json_type_int);
	json *start = get(o, "process-start-time", json_type_int);

	get_string(o, "rootfs", k->rootfs, sizeof(k->rootfs));
	get_string(o, "bundle", k->bundle, sizeof(k->bundle));
	k->pid = pid ? json_object_get_int(pid) : 0;
	k->start = start ? json_object_get_uint64(start) : 0;
	k->damaged = !pid;
}

static struct rrc_known *find_known(const struct rrc_known_list *list, const char *id)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		if (!strcmp(list->known[i].id, id))
			return &list->known[i];
	return NULL;
}

static int add_known(struct rrc_known_list *list, const struct place *place, const char *path)
{
	RRC_CLEANUP(json_putp) json *o = NULL;
	const char *end = strrchr(path, '/'), *id;
	struct rrc_known *k;
	size_t len;

	for (id = end; id > path && id[-1] != '/'; id--)
		;
	len = (size_t)(end - id);
	if (!len || len >= sizeof(k->id) || list->n >= KNOWN_MAX || strlen(path) >= sizeof(k->path))
		return 0;
	if (list->n == list->cap) {
		size_t cap = list->cap ? 2 * list->cap : 16;
		void *p = reallocarray(list->known, cap, sizeof(*k));

		if (!p)
			return -ENOMEM;
		list->known = p;
		list->cap = cap;
	}
	k = &list->known[list->n];
	memset(k, 0, sizeof(*k));
	memcpy(k->id, id, len);
	if (find_known(list, k->id))
		return 0; /* the more general pattern finds it again */
	list->n++;
	strcpy(k->runtime, place->runtime);
	strcpy(k->path, path);
	o = read_json(path);
	if (!o)
		k->damaged = 1;
	else if (place->format == FORMAT_RUNC)
		parse_runc(o, k);
	else
		parse_crun(o, k);
	return 0;
}

/* Calls fn for every file of root + pattern. */
static int each(const char *root, const char *pattern, int (*fn)(void *arg, const char *path),
		void *arg)
{
	char full[PATH_MAX];
	glob_t g;
	size_t i;
	int ret = 0;

	if ((size_t)snprintf(full, sizeof(full), "%s%s", root, pattern) >= sizeof(full))
		return -ENAMETOOLONG;
	if (glob(full, 0, NULL, &g) == 0)
		for (i = 0; i < g.gl_pathc && !ret; i++)
			ret = fn(arg, g.gl_pathv[i]);
	globfree(&g);
	return ret;
}

struct scan {
	struct rrc_known_list *list;
	const struct place *place;
};

static int on_state(void *arg, const char *path)
{
	struct scan *scan = arg;

	return add_known(scan->list, scan->place, path);
}

static int on_storage(void *arg, const char *path)
{
	RRC_CLEANUP(json_putp) json *o = read_json(path);
	struct scan *scan = arg;
	size_t i;

	if (!o || !json_object_is_type(o, json_type_array))
		return 0;
	for (i = 0; i < json_object_array_length(o); i++) {
		json *c = json_object_array_get_idx(o, i),
		     *names = get(c, "names", json_type_array);
		char id[sizeof(scan->list->known->id)] = "";
		struct rrc_known *k;
		const char *name = NULL;

		get_string(c, "id", id, sizeof(id));
		k = id[0] ? find_known(scan->list, id) : NULL;
		if (names && json_object_array_length(names) > 0)
			name = json_object_get_string(json_object_array_get_idx(names, 0));
		if (!k)
			continue;
		strcpy(k->runtime, "podman");
		if (name && strlen(name) < sizeof(k->name))
			strcpy(k->name, name);
	}
	return 0;
}

static int on_docker(void *arg, const char *path)
{
	RRC_CLEANUP(json_putp) json *o = read_json(path);
	struct scan *scan = arg;
	char id[sizeof(scan->list->known->id)] = "", name[sizeof(scan->list->known->name)] = "";
	struct rrc_known *k;

	get_string(o, "ID", id, sizeof(id));
	get_string(o, "Name", name, sizeof(name));
	k = id[0] ? find_known(scan->list, id) : NULL;
	if (k && name[0])
		strcpy(k->name, name[0] == '/' ? name + 1 : name);
	return 0;
}

/* A runtime that an unprivileged user runs keeps its state where XDG_RUNTIME_DIR says. */
static int read_xdg(struct scan *scan)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	static const struct place own[] = {
		{ "runc", "/runc/*/state.json", FORMAT_RUNC },
		{ "crun", "/crun/*/status", FORMAT_CRUN },
	};
	size_t i;
	int ret = 0;

	if (!xdg || xdg[0] != '/')
		return 0;
	for (i = 0; i < RRC_ARRAY_SIZE(own) && !ret; i++) {
		scan->place = &own[i];
		ret = each(xdg, own[i].pattern, on_state, scan);
	}
	return ret;
}

int rrc_known_read(const char *root, struct rrc_known_list *list, struct rrc_error *err)
{
	struct scan scan = { .list = list };
	size_t i;
	int ret = 0;

	for (i = 0; i < RRC_ARRAY_SIZE(places) && !ret; i++) {
		scan.place = &places[i];
		ret = each(root, places[i].pattern, on_state, &scan);
	}
	if (!ret && !root[0])
		ret = read_xdg(&scan);
	for (i = 0; i < RRC_ARRAY_SIZE(storages) && !ret; i++)
		ret = each(root, storages[i], on_storage, &scan);
	if (!ret)
		ret = each(root, "/var/lib/docker/containers/*/config.v2.json", on_docker, &scan);
	if (ret)
		return rrc_fail(err, ret, "the runtimes' state cannot be read: %s", strerror(-ret));
	return 0;
}

void rrc_known_free(struct rrc_known_list *list)
{
	free(list->known);
	memset(list, 0, sizeof(*list));
}

/* State letter and start time of a process; negative errno when it is not there. */
static int proc_stat(pid_t pid, char *state, unsigned long long *start)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], buf[1024], *p;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = 0;
	p = strrchr(buf, ')'); /* the name before it may contain anything */
	if (!p ||
	    sscanf(p + 1,
		   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   state, start) != 2)
		return -EIO;
	return 0;
}

int rrc_known_running(const struct rrc_known *k)
{
	unsigned long long start;
	char state;

	if (k->damaged || k->pid <= 0 || proc_stat(k->pid, &state, &start) < 0)
		return 0;
	return state != 'Z' && state != 'X' && (!k->start || k->start == start);
}

const char *rrc_known_state(const struct rrc_known *k)
{
	return k->damaged ? "damaged" : rrc_known_running(k) ? "running" : "stopped";
}
