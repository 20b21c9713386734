/* SPDX-License-Identifier: MIT */
/*
 * Container lookup: who answers to an id or a name, and what the kernel says about its processes. What
 * the runtimes' state directories hold is read in runtimes.c.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "container.h"
#include "ptrace.h"
#include "runtimes.h"
#include "util.h"

#define LIST_MAX 8 /* containers that an error message names */

static int ns_inode(pid_t pid, const char *ns, uint64_t *ino)
{
	char path[64];
	struct stat st;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, ns);
	else
		snprintf(path, sizeof(path), "/proc/self/ns/%s", ns);
	if (stat(path, &st) < 0)
		return -errno;
	*ino = st.st_ino;
	return 0;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2]) &&
		    isdigit((unsigned char)s[3])) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

/* The overlay's upper directory if the line of mountinfo is an overlay at "/"; false if it is another. */
static bool overlay_root(char *line, char *upper, size_t len)
{
	char *field[6] = { 0 }, *save = NULL, *sep, *type, *opt;
	size_t i;

	sep = strstr(line, " - ");
	if (!sep)
		return false;
	*sep = 0;
	for (i = 0; i < RRC_ARRAY_SIZE(field); i++)
		field[i] = strtok_r(i ? NULL : line, " ", &save);
	if (!field[4] || strcmp(field[4], "/"))
		return false;
	upper[0] = 0; /* a later mount at "/" hides an earlier one */
	type = strtok_r(sep + 3, " ", &save);
	if (!type || strcmp(type, "overlay"))
		return true;
	strtok_r(NULL, " ", &save);
	for (opt = strtok_r(NULL, ",\n", &save); opt; opt = strtok_r(NULL, ",\n", &save))
		if (!strncmp(opt, "upperdir=", 9)) {
			snprintf(upper, len, "%s", opt + 9);
			unescape(upper);
		}
	return true;
}

static int read_upper(pid_t pid, char *upper, size_t len)
{
	rrc_autofclose FILE *f = NULL;
	rrc_autofree char *line = NULL;
	char path[64];
	size_t cap = 0;

	upper[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&line, &cap, f) > 0)
		overlay_root(line, upper, len);
	return 0;
}

/* Fills in what the kernel knows about out->pid. */
static int inspect(struct rrc_container *out, struct rrc_error *err)
{
	uint64_t ours = 0;
	struct stat st;
	int ret;

	ret = ns_inode(out->pid, "pid", &out->pidns);
	ret = ret ?: ns_inode(out->pid, "net", &out->netns);
	ret = ret ?: ns_inode(out->pid, "mnt", &out->mntns);
	if (ret == -ENOENT || ret == -ESRCH)
		return rrc_fail(err, -ESRCH, "there is no process %d", out->pid);
	if (ret)
		return rrc_fail(err, ret, "the namespaces of process %d cannot be read: %s",
				out->pid, strerror(-ret));
	ret = ns_inode(0, "pid", &ours);
	if (ret)
		return rrc_fail(err, ret, "our own namespaces cannot be read: %s", strerror(-ret));
	if (ours == out->pidns)
		return rrc_fail(
			err, -EINVAL,
			"process %d shares this host's process ids; only what has a pid namespace of its own "
			"can be protected: a container, `unshare -p -f CMD`, or `rrc-trace ... -- CMD`",
			out->pid);
	out->own_netns = ns_inode(0, "net", &ours) == 0 && ours != out->netns;
	out->own_mntns = ns_inode(0, "mnt", &ours) == 0 && ours != out->mntns;
	if (!out->own_mntns)
		strcpy(out->rootfs, "/");
	else if (!out->rootfs[0] || stat(out->rootfs, &st) < 0 || !S_ISDIR(st.st_mode))
		snprintf(out->rootfs, sizeof(out->rootfs), "/proc/%d/root", out->pid);
	if (!out->own_mntns)
		return 0;
	ret = read_upper(out->pid, out->upper, sizeof(out->upper));
	if (ret)
		return rrc_fail(err, ret, "the mounts of process %d cannot be read: %s", out->pid,
				strerror(-ret));
	return 0;
}

int rrc_container_from_pid(pid_t pid, struct rrc_container *out, struct rrc_error *err)
{
	rrc_autofree pid_t *all = NULL;
	int n, ret;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	if (pid <= 0)
		return rrc_fail_exit(err, RRC_EXIT_USAGE, -EINVAL, "%d is no process id", pid);
	ret = inspect(out, err);
	if (ret)
		return ret;
	n = rrc_pidns_processes(out->pidns, &all);
	if (n <= 0 || rrc_ns_tid(all[0]) != 1)
		return rrc_fail(err, -ESRCH, "the pid namespace of process %d has no process 1",
				pid);
	snprintf(out->id, sizeof(out->id), "pid-%d", pid);
	strcpy(out->runtime, "none");
	if (all[0] == pid)
		return 0;
	out->pid = all[0];
	out->rootfs[0] = 0;
	return inspect(out, err);
}

static void describe(const struct rrc_known *k, char *buf, size_t len)
{
	snprintf(buf, len, "%.12s%s%s%s (%s, %s)", k->id, k->name[0] ? " \"" : "", k->name,
		 k->name[0] ? "\"" : "", k->runtime, rrc_known_state(k));
}

/* "; there are: a, b, c and 4 more" of those that match (all if NULL). */
static void describe_all(const struct rrc_known_list *list, const bool *match, char *buf,
			 size_t len)
{
	char one[320];
	size_t i, shown = 0, more = 0, used = 0;

	buf[0] = 0;
	for (i = 0; i < list->n; i++) {
		if (match && !match[i])
			continue;
		if (shown == LIST_MAX) {
			more++;
			continue;
		}
		describe(&list->known[i], one, sizeof(one));
		if (used + strlen(one) + 32 > len) {
			more++;
			continue;
		}
		used += (size_t)snprintf(buf + used, len - used, "%s%s", shown++ ? ", " : "", one);
	}
	if (more)
		snprintf(buf + used, len - used, " and %zu more", more);
}

/* Full id before name before prefix: what somebody wrote in full is meant. */
static size_t match_all(const struct rrc_known_list *list, const char *want, bool *match)
{
	size_t i, n = 0;
	int how;

	for (how = 0; how < 3 && !n; how++)
		for (i = 0; i < list->n; i++) {
			const struct rrc_known *k = &list->known[i];

			match[i] = how == 0   ? !strcmp(k->id, want)
				   : how == 1 ? !strcmp(k->name, want)
					      : !strncmp(k->id, want, strlen(want));
			n += match[i];
		}
	return n;
}

static int choose(const struct rrc_known_list *list, const char *want,
		  const struct rrc_known **found, struct rrc_error *err)
{
	rrc_autofree bool *match = calloc(list->n + 1, sizeof(*match));
	char there[700];
	size_t n, i;

	if (!match)
		return rrc_fail(err, -ENOMEM, "no memory");
	n = want[0] ? match_all(list, want, match) : 0;
	if (n == 0) {
		describe_all(list, NULL, there, sizeof(there));
		return rrc_fail(err, -ENOENT, "there is no container \"%.128s\"; %s%s", want,
				list->n ? "there are: " : "no container is known on this host",
				there);
	}
	if (n > 1) {
		describe_all(list, match, there, sizeof(there));
		return rrc_fail(err, -EEXIST, "\"%.128s\" may be: %s", want, there);
	}
	for (i = 0; !match[i]; i++)
		;
	*found = &list->known[i];
	return 0;
}

int rrc_container_find_at(const char *root, const char *want, struct rrc_container *out,
			  struct rrc_error *err)
{
	struct rrc_known_list list __attribute__((cleanup(rrc_known_free))) = { 0 };
	const struct rrc_known *k = NULL;
	int ret;

	memset(out, 0, sizeof(*out));
	ret = rrc_known_read(root, &list, err);
	if (ret)
		return ret;
	ret = choose(&list, want, &k, err);
	if (ret)
		return ret;
	if (k->damaged)
		return rrc_fail(err, -EBADMSG, "the state of container %s is damaged: %s", k->id,
				k->path);
	if (!rrc_known_running(k))
		return rrc_fail(err, -ESRCH, "container %s is not running", k->id);
	snprintf(out->id, sizeof(out->id), "%s", k->id);
	snprintf(out->name, sizeof(out->name), "%s", k->name);
	snprintf(out->runtime, sizeof(out->runtime), "%s", k->runtime);
	snprintf(out->bundle, sizeof(out->bundle), "%s", k->bundle);
	snprintf(out->rootfs, sizeof(out->rootfs), "%s", k->rootfs);
	out->pid = k->pid;
	ret = inspect(out, err);
	if (ret)
		return err ? rrc_wrap(err, "container %s", k->id) : ret;
	if (rrc_ns_tid(out->pid) != 1)
		return rrc_fail(
			err, -EINVAL,
			"container %s: its first process is not process 1 of its pid namespace; containers that "
			"share one cannot be protected",
			k->id);
	return 0;
}

int rrc_container_find(const char *want, struct rrc_container *out, struct rrc_error *err)
{
	return rrc_container_find_at("", want, out, err);
}

int rrc_container_list(const char *root, FILE *f, int json, struct rrc_error *err)
{
	struct rrc_known_list list __attribute__((cleanup(rrc_known_free))) = { 0 };
	struct json_object *arr = json ? json_object_new_array() : NULL;
	int ret = rrc_known_read(root, &list, err);
	size_t i;

	for (i = 0; i < list.n; i++) {
		const struct rrc_known *k = &list.known[i];

		if (json) {
			struct json_object *o = json_object_new_object();

			json_object_object_add(o, "id", json_object_new_string(k->id));
			json_object_object_add(o, "name", json_object_new_string(k->name));
			json_object_object_add(o, "runtime", json_object_new_string(k->runtime));
			json_object_object_add(o, "state",
					       json_object_new_string(rrc_known_state(k)));
			json_object_object_add(o, "pid", json_object_new_int(k->pid));
			json_object_array_add(arr, o);
		} else {
			fprintf(f, "%-14.12s %-20s %-11s %-8s %d\n", k->id,
				k->name[0] ? k->name : "-", k->runtime, rrc_known_state(k), k->pid);
		}
	}
	if (json) {
		fprintf(f, "%s\n", json_object_to_json_string_ext(arr, JSON_C_TO_STRING_PLAIN));
		json_object_put(arr);
	}
	return ret;
}
