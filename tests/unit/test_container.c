/* SPDX-License-Identifier: MIT */
/* user/container.c and runtimes.c: each runtime's state, what is damaged in it, and a real container. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "runtimes.h"
#include "spawn.h"

#define ID_A "aaaa1111000000000000000000000000000000000000000000000000000000aa"
#define ID_B "aaaa2222000000000000000000000000000000000000000000000000000000bb"

static char root[] = "/tmp/rrc-container-XXXXXX";
static struct rrc_spawn proc; /* what the fixtures' containers consist of */

static unsigned long long start_time(pid_t pid)
{
	unsigned long long start = 0;
	char path[64], buf[1024];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	cr_assert(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = 0;
	fclose(f);
	cr_assert(
		sscanf(strrchr(buf, ')') + 1,
		       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		       &start) == 1);
	return start;
}

/* Makes root/path with its directories. */
static void put(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *path, const char *fmt, ...)
{
	char full[PATH_MAX], cmd[PATH_MAX + 32];
	va_list ap;
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	snprintf(cmd, sizeof(cmd), "mkdir -p \"$(dirname %s)\"", full);
	cr_assert(system(cmd) == 0);
	f = fopen(full, "w");
	cr_assert(f);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

static void put_runc(const char *dir, const char *id, pid_t pid, unsigned long long start)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s/state.json", dir, id);
	put(path,
	    "{\"id\":\"%s\",\"init_process_pid\":%d,\"init_process_start\":%llu,\"config\":{\"rootfs\":"
	    "\"/somewhere/rootfs\",\"labels\":[\"x=y\",\"bundle=/bundles/%.4s\"]}}",
	    id, pid, start, id);
}

static void setup(void)
{
	static char *argv[] = { "true", NULL };
	struct rrc_error err = { 0 };

	if (geteuid())
		cr_skip_test("needs root");
	cr_assert(rrc_spawn(&proc, argv, &err) == 0, "%s", err.msg);
	cr_assert(mkdtemp(root));
}

static void teardown(void)
{
	char cmd[PATH_MAX];

	rrc_spawn_kill(&proc);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	cr_expect(system(cmd) == 0);
}

TestSuite(container, .init = setup, .fini = teardown, .timeout = 30);

static void expect_found(const char *want, const char *id, const char *name, const char *runtime)
{
	struct rrc_container c;
	struct rrc_error err = { 0 };

	cr_assert(rrc_container_find_at(root, want, &c, &err) == 0, "%s: %s", want, err.msg);
	cr_expect_str_eq(c.id, id);
	cr_expect_str_eq(c.name, name);
	cr_expect_str_eq(c.runtime, runtime);
	cr_expect(c.pid == proc.init);
	cr_expect(c.pidns == proc.pidns);
	cr_expect(c.own_mntns == 0 && c.own_netns == 0);
	cr_expect_str_eq(c.rootfs, "/");
}

static void expect_error(const char *want, int code, const char *part)
{
	struct rrc_container c;
	struct rrc_error err = { 0 };
	int ret = rrc_container_find_at(root, want, &c, &err);

	cr_expect(ret == code, "%s: %d, not %d: %s", want, ret, code, err.msg);
	cr_expect(strstr(err.msg, part), "%s: \"%s\" is not in \"%s\"", want, part, err.msg);
}

Test(container, runc_by_id_and_prefix)
{
	struct rrc_container c;

	put_runc("run/runc", ID_A, proc.init, start_time(proc.init));
	expect_found(ID_A, ID_A, "", "runc");
	expect_found("aa", ID_A, "", "runc");
	cr_assert(rrc_container_find_at(root, ID_A, &c, NULL) == 0);
	cr_expect_str_eq(c.bundle, "/bundles/aaaa");
}

Test(container, each_runtime)
{
	unsigned long long start = start_time(proc.init);

	put_runc("run/docker/runtime-runc/moby", ID_A, proc.init, start);
	put("var/lib/docker/containers/" ID_A "/config.v2.json",
	    "{\"ID\":\"" ID_A "\",\"Name\":\"/web\",\"State\":{}}");
	put_runc("run/containerd/runc/k8s.io", "cd1", proc.init, start);
	put_runc("run/user/1000/runc", "rootless", proc.init, start);
	put("run/crun/" ID_B "/status",
	    "{\"pid\":%d,\"process-start-time\":%llu,\"bundle\":\"/b\",\"rootfs\":\"/b/r\"}",
	    proc.init, start);
	put("run/crun/plain/status", "{\"pid\":%d}", proc.init);
	put("var/lib/containers/storage/overlay-containers/containers.json",
	    "[{\"id\":\"" ID_B "\",\"names\":[\"db\"]},{\"id\":\"gone\",\"names\":[\"old\"]}]");
	expect_found("web", ID_A, "web", "docker");
	expect_found("db", ID_B, "db", "podman");
	expect_found("cd1", "cd1", "", "containerd");
	expect_found("rootless", "rootless", "", "runc");
	expect_found("plain", "plain", "", "crun");
	expect_error("old", -ENOENT, "there is no container \"old\"");
}

Test(container, ambiguous_lists_the_candidates)
{
	put_runc("run/runc", ID_A, proc.init, 0);
	put_runc("run/runc", ID_B, proc.init, 0);
	put_runc("run/runc", "other", proc.init, 0);
	expect_error("aaaa", -EEXIST, "aaaa11110000");
	expect_error("aaaa", -EEXIST, "aaaa22220000");
	expect_found("aaaa1", ID_A, "", "runc");
}

Test(container, a_full_id_is_not_a_prefix_of_another)
{
	put_runc("run/runc", "web", proc.init, 0);
	put_runc("run/runc", "web2", proc.init, 0);
	expect_found("web", "web", "", "runc");
}

Test(container, unknown_lists_what_there_is)
{
	expect_error("x", -ENOENT, "no container is known");
	put_runc("run/runc", "one", proc.init, 0);
	expect_error("x", -ENOENT, "one");
	expect_error("", -ENOENT, "one");
}

Test(container, stopped_is_refused)
{
	/* The id is in use again by another process: the start time tells. */
	put_runc("run/runc", "reused", proc.init, start_time(proc.init) + 1);
	put_runc("run/runc", "created", 0, 0);
	expect_error("reused", -ESRCH, "not running");
	expect_error("created", -ESRCH, "not running");
}

Test(container, host_pid_namespace_is_refused)
{
	put_runc("run/runc", "shared", getpid(), 0);
	expect_error("shared", -EINVAL, "shares this host's process ids");
}

Test(container, damaged_state)
{
	char path[PATH_MAX];
	char deep[400];

	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	put("run/runc/cut/state.json", "{\"id\":\"cut\",\"init_process_pid\":");
	put("run/runc/empty/state.json", "%s", "");
	put("run/runc/wrong/state.json", "{\"init_process_pid\":\"12\",\"config\":[1,2]}");
	put("run/runc/deep/state.json", "%s", deep);
	put("run/crun/text/status", "hello");
	put("run/runc/huge/state.json", "{\"init_process_pid\":%d}", proc.init);
	snprintf(path, sizeof(path), "%s/run/runc/huge/state.json", root);
	cr_assert(truncate(path, 1l << 40) == 0);
	put("var/lib/containers/storage/overlay-containers/containers.json", "{\"id\":[");
	expect_error("cut", -EBADMSG, "damaged");
	expect_error("empty", -EBADMSG, "damaged");
	expect_error("wrong", -EBADMSG, "damaged");
	expect_error("deep", -EBADMSG, "damaged");
	expect_error("text", -EBADMSG, "damaged");
	expect_error("huge", -EBADMSG, "damaged");
}

Test(container, odd_values)
{
	put("run/runc/negative/state.json", "{\"init_process_pid\":-5}");
	put("run/runc/big/state.json", "{\"init_process_pid\":99999999999999999999}");
	put("run/runc/labels/state.json",
	    "{\"init_process_pid\":%d,\"config\":{\"labels\":[null,3,{\"a\":1}],\"rootfs\":7}}",
	    proc.init);
	expect_error("negative", -ESRCH, "not running");
	expect_error("big", -ESRCH, "not running");
	expect_found("labels", "labels", "", "runc");
}

Test(container, list)
{
	struct rrc_error err = { 0 };
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	put_runc("run/runc", "one", proc.init, 0);
	put_runc("run/runc", "two", 0, 0);
	cr_assert(rrc_container_list(root, f, 1, &err) == 0);
	fclose(f);
	cr_expect(
		strstr(text,
		       "{\"id\":\"one\",\"name\":\"\",\"runtime\":\"runc\",\"state\":\"running\","),
		"%s", text);
	cr_expect(
		strstr(text,
		       "{\"id\":\"two\",\"name\":\"\",\"runtime\":\"runc\",\"state\":\"stopped\",\"pid\":0}"),
		"%s", text);
	free(text);
}

Test(container, from_pid)
{
	struct rrc_container c;
	struct rrc_error err = { 0 };

	cr_assert(rrc_container_from_pid(proc.cmd, &c, &err) == 0, "%s", err.msg);
	cr_expect(c.pid == proc.init);
	cr_expect(c.pidns == proc.pidns);
	cr_expect_str_eq(c.runtime, "none");
	cr_expect(rrc_container_from_pid(getpid(), &c, &err) == -EINVAL);
	cr_expect(strstr(err.msg, "shares this host's process ids"));
	cr_expect(rrc_container_from_pid(0, &c, &err) == -EINVAL);
	cr_expect(rrc_container_from_pid(0x3fffffff, &c, &err) == -ESRCH);
}

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
	char cmd[4 * PATH_MAX];
	va_list ap;
	int ret;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	ret = system(cmd);
	return WIFEXITED(ret) ? WEXITSTATUS(ret) : 128;
}

/* runc itself wrote this state; the root is an overlay, so the writable layer is found as well. */
Test(container, real_runc)
{
	struct rrc_container c;
	struct rrc_error err = { 0 };
	char id[64], upper[PATH_MAX + 16];
	int ret;

	if (sh("command -v runc busybox >/dev/null"))
		cr_skip_test("needs runc and busybox");
	snprintf(id, sizeof(id), "rrc-unit-%d", getpid());
	snprintf(upper, sizeof(upper), "%s/up dir", root);
	cr_assert(
		sh("cd %s && mkdir -p low/bin low/proc low/dev low/sys 'up dir' work b/rootfs && "
		   "cp \"$(command -v busybox)\" low/bin/sh && "
		   "mount -t overlay rrc -o 'lowerdir=%s/low,upperdir=%s/up dir,workdir=%s/work' b/rootfs && "
		   "cd b && runc spec && sed -i 's/\"terminal\": true/\"terminal\": false/' config.json",
		   root, root, root, root) == 0);
	ret = sh("cd %s/b && sed -i 's/\"sh\"/\"sh\", \"-c\", \"read x; exit\"/' config.json && "
		 "mkfifo %s/in && (exec 3<>%s/in; runc run -d %s <&3 >/dev/null 2>&1)",
		 root, root, root, id);
	if (!ret)
		ret = rrc_container_find(id, &c, &err);
	else
		snprintf(err.msg, sizeof(err.msg), "runc run: %d", ret);
	sh("runc delete -f %s 2>/dev/null; umount %s/b/rootfs", id, root);
	cr_assert(ret == 0, "%s", err.msg);
	cr_expect_str_eq(c.id, id);
	cr_expect_str_eq(c.runtime, "runc");
	cr_expect(c.own_netns && c.own_mntns);
	cr_expect(strstr(c.rootfs, "/b/rootfs"), "%s", c.rootfs);
	cr_expect(strstr(c.bundle, root), "%s", c.bundle);
	cr_expect_str_eq(c.upper, upper); /* with its space */
	cr_expect(rrc_container_find(id, &c, &err) == -ENOENT);
}
