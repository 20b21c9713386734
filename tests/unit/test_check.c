/* SPDX-License-Identifier: MIT */
/* lib/host.c, lib/probe.c and user/check.c: answers that agree with each other and with the host. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "host.h"

static struct json_object *check_json(int *ret, struct rrc_error *err)
{
	struct json_object *o;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	cr_assert(f);
	*ret = rrc_check_print(f, 1, err);
	fclose(f);
	o = json_tokener_parse(text);
	cr_assert(o, "%s", text);
	free(text);
	return o;
}

static const char *string(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static int boolean(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	cr_assert(json_object_object_get_ex(o, key, &v), "%s", key);
	return json_object_get_boolean(v);
}

Test(check, verdict_follows_from_the_rows)
{
	struct rrc_error err = { 0 };
	struct json_object *o, *list = NULL;
	size_t i, missing = 0;
	int ret;

	o = check_json(&ret, &err);
	cr_assert(json_object_object_get_ex(o, "checks", &list));
	cr_assert(json_object_array_length(list) > 10);
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *c = json_object_array_get_idx(list, i);
		int yes = !strcmp(string(c, "state"), "yes");

		missing += boolean(c, "needed") && !yes;
		cr_expect(yes || string(c, "hint")[0], "%s says not how to get it",
			  string(c, "name"));
	}
	cr_expect(boolean(o, "ok") == !missing);
	cr_expect((ret == 0) == !missing);
	cr_expect(err.exit == (missing ? RRC_EXIT_HOST : 0));
	json_object_put(o);
}

/* Without privileges the answer must be exit code 3, and that root is what is missing. */
Test(check, an_ordinary_account_is_told)
{
	struct rrc_error err = { 0 };
	int status;
	pid_t pid;

	if (geteuid())
		cr_skip_test("needs root to drop it");
	pid = fork();
	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(90);
		_exit(rrc_host_require(&err) && strstr(err.msg, "CAP_SYS_ADMIN") ? err.exit : 91);
	}
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == RRC_EXIT_HOST, "status %x",
		  (unsigned int)status);
}

Test(check, run_gives_output_and_code)
{
	char *argv[] = { "sh", "-c", "echo to stdout; echo to stderr >&2; exit 9", NULL };
	char *killed[] = { "sh", "-c", "kill -KILL $$", NULL };
	char *none[] = { "/no/such/program", NULL };
	char out[64], small[5];

	cr_expect(rrc_host_run(argv, out, sizeof(out)) == 9);
	cr_expect_str_eq(out, "to stdout\nto stderr\n");
	cr_expect(rrc_host_run(argv, small, sizeof(small)) == 9);
	cr_expect_str_eq(small, "to s");
	cr_expect(rrc_host_run(killed, NULL, 0) == 128 + 9);
	cr_expect(rrc_host_run(none, NULL, 0) < 0);
}

Test(check, criu_by_name_is_taken_as_it_is)
{
	char path[PATH_MAX];
	struct rrc_error err = { 0 };

	setenv("RRC_CRIU", "/bin/true", 1);
	cr_expect(rrc_host_criu(path, sizeof(path), &err) == 0);
	cr_expect_str_eq(path, "/bin/true");
	setenv("RRC_CRIU", "/no/such/criu", 1);
	cr_expect(rrc_host_criu(path, sizeof(path), &err) < 0);
	cr_expect(err.exit == RRC_EXIT_HOST);
}

Test(check, kfunc_that_nobody_has)
{
	if (!rrc_host_btf())
		cr_skip_test("no kernel types");
	cr_expect(rrc_host_kfunc("rrc_no_such_function") == 0);
	cr_expect(rrc_host_kfunc("vfs_read") == 1);
}
