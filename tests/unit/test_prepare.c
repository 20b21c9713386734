// SPDX-License-Identifier: MIT
/* An OCI bundle that gets the in-process recorder. */
#include <criterion/criterion.h>
#include <json-c/json.h>

#include "../../user/library.h"
#include "../../user/prepare.h"
#include "help.h"

static char bundle[] = "/tmp/rrc-prepare-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", bundle, name);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

static void begin(void)
{
	char root[256], lib[512];
	struct rrc_error err = { 0 };

	if (rrc_preload_path(lib, sizeof(lib), &err))
		cr_skip_test("the library is not built: %s", err.msg);
	cr_assert_not_null(mkdtemp(bundle));
	snprintf(root, sizeof(root), "%s/rootfs", bundle);
	mkdir(root, 0755);
}

static void end(void)
{
	nftw(bundle, help_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The LD_PRELOAD entries of the configuration; how many there are. */
static int preloads(char *value, size_t size)
{
	struct json_object *c, *p, *env;
	char path[256];
	int n = 0;

	snprintf(path, sizeof(path), "%s/config.json", bundle);
	c = json_object_from_file(path);
	cr_assert_not_null(c);
	json_object_object_get_ex(c, "process", &p);
	json_object_object_get_ex(p, "env", &env);
	for (size_t i = 0; i < json_object_array_length(env); i++) {
		const char *v = json_object_get_string(json_object_array_get_idx(env, i));

		if (strncmp(v, "LD_PRELOAD=", 11))
			continue;
		snprintf(value, size, "%s", v);
		n++;
	}
	json_object_put(c);
	return n;
}

#define CONFIG(env) \
	"{\"process\":{\"args\":[\"x\"]" env "},\"root\":{\"path\":\"rootfs\"},\"hostname\":\"h\"}"

Test(prepare, library_and_variable, .init = begin, .fini = end)
{
	char path[300], value[256];
	struct rrc_error err = { 0 };

	put("config.json", CONFIG(",\"env\":[\"A=1\"]"));
	cr_assert_eq(rrc_prepare(bundle, &err), 0, "%s", err.msg);
	cr_assert_eq(preloads(value, sizeof(value)), 1);
	cr_assert(strstr(value, RRC_PRELOAD_NAME));
	snprintf(path, sizeof(path), "%s/rootfs/usr/lib/rrc/%s", bundle, RRC_PRELOAD_NAME);
	cr_assert_eq(access(path, R_OK), 0);
}

Test(prepare, twice_is_once, .init = begin, .fini = end)
{
	char first[256], second[256];
	struct rrc_error err = { 0 };

	put("config.json", CONFIG(",\"env\":[\"A=1\"]"));
	cr_assert_eq(rrc_prepare(bundle, &err), 0);
	preloads(first, sizeof(first));
	cr_assert_eq(rrc_prepare(bundle, &err), 0);
	cr_assert_eq(preloads(second, sizeof(second)), 1);
	cr_assert_str_eq(first, second);
}

Test(prepare, what_was_preloaded_stays, .init = begin, .fini = end)
{
	char value[256];
	struct rrc_error err = { 0 };

	put("config.json", CONFIG(",\"env\":[\"LD_PRELOAD=/lib/other.so\"]"));
	cr_assert_eq(rrc_prepare(bundle, &err), 0);
	cr_assert_eq(preloads(value, sizeof(value)), 1);
	cr_assert(strstr(value, RRC_PRELOAD_NAME ":/lib/other.so"), "%s", value);
}

Test(prepare, no_environment_yet, .init = begin, .fini = end)
{
	char value[256];
	struct rrc_error err = { 0 };

	put("config.json", CONFIG(""));
	cr_assert_eq(rrc_prepare(bundle, &err), 0);
	cr_assert_eq(preloads(value, sizeof(value)), 1);
}

Test(prepare, what_is_no_bundle_is_refused, .init = begin, .fini = end)
{
	static const char *const wrong[] = {
		"",
		"[]",
		"{",
		"{\"process\":{}}",
		"{\"root\":{\"path\":\"rootfs\"}}",
		CONFIG(",\"env\":\"A=1\""),
	};
	struct rrc_error err = { 0 };

	cr_assert_lt(rrc_prepare(bundle, &err), 0, "no configuration at all");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(&err, 0, sizeof(err));
		put("config.json", wrong[i]);
		cr_assert_lt(rrc_prepare(bundle, &err), 0, "%s", wrong[i]);
		cr_assert(err.msg[0]);
	}
}

/* A link in the container's own files must not lead us to write on the host. */
Test(prepare, links_are_not_followed_out, .init = begin, .fini = end)
{
	char link[300], outside[] = "/tmp/rrc-outside-XXXXXX", made[300];
	struct rrc_error err = { 0 };

	cr_assert_not_null(mkdtemp(outside));
	snprintf(link, sizeof(link), "%s/rootfs/usr", bundle);
	cr_assert_eq(symlink(outside, link), 0);
	put("config.json", CONFIG(""));
	cr_assert_lt(rrc_prepare(bundle, &err), 0);
	snprintf(made, sizeof(made), "%s/lib", outside);
	cr_assert_neq(access(made, F_OK), 0, "it wrote to %s", made);
	rmdir(outside);
}

/* What a runtime says to a hook about this bundle. */
static int hook(const char *state, struct rrc_error *err)
{
	FILE *in = tmpfile();
	int ret;

	cr_assert_not_null(in);
	fputs(state, in);
	rewind(in);
	ret = rrc_hook(in, err);
	fclose(in);
	return ret;
}

static void read_list(char *text, size_t size)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/rootfs/etc/ld.so.preload", bundle);
	f = fopen(path, "r");
	cr_assert_not_null(f);
	text[fread(text, 1, size - 1, f)] = 0;
	fclose(f);
}

Test(prepare, hook_names_the_library_once_and_keeps_others, .init = begin, .fini = end)
{
	char state[300], path[400], text[256], root[300];
	struct rrc_error err = { 0 };

	snprintf(root, sizeof(root), "%s/rootfs", bundle);
	snprintf(state, sizeof(state), "{\"id\":\"x\",\"bundle\":\"%s\"}", bundle);
	put("config.json", CONFIG(""));
	cr_assert_not(rrc_library_listed(root));
	snprintf(path, sizeof(path), "%s/rootfs/etc", bundle);
	mkdir(path, 0755);
	put("rootfs/etc/ld.so.preload", "/lib/other.so\n");
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(hook(state, &err), 0, "%s", err.msg);
		read_list(text, sizeof(text));
		cr_assert_str_eq(text, RRC_LIBRARY "\n/lib/other.so\n");
	}
	cr_assert(rrc_library_listed(root));
	snprintf(path, sizeof(path), "%s" RRC_LIBRARY, root);
	cr_assert_eq(access(path, R_OK), 0);
}

Test(prepare, hook_refuses_what_it_cannot_understand, .init = begin, .fini = end)
{
	char state[300], fifo[300];
	struct rrc_error err = { 0 };

	put("config.json", CONFIG(""));
	cr_assert_lt(hook("", &err), 0);
	cr_assert_lt(hook("{\"id\":\"x\"}", &err), 0);
	cr_assert_lt(hook("{\"bundle\":\"/nowhere\"}", &err), 0);
	/* A list that nobody can read must not hold us up. */
	snprintf(fifo, sizeof(fifo), "%s/rootfs/etc", bundle);
	mkdir(fifo, 0755);
	strcat(fifo, "/ld.so.preload");
	cr_assert_eq(mkfifo(fifo, 0644), 0);
	snprintf(state, sizeof(state), "{\"bundle\":\"%s\"}", bundle);
	err.msg[0] = 0;
	cr_assert_lt(hook(state, &err), 0);
	cr_assert(err.msg[0]);
}
