// SPDX-License-Identifier: MIT
/* lib/err.c and lib/log.c: what an error says at the edge, and lines that any JSON reader takes. */
#include <errno.h>
#include <json-c/json.h>

#include "help.h"
#include "log.h"

Test(err, context_goes_before)
{
	struct rrc_error err = { 0 };

	cr_assert_eq(rrc_fail(&err, ENOENT, "%s: gone", "f"), -ENOENT);
	cr_assert_eq(err.exit, RRC_EXIT_FAILED);
	cr_assert_eq(rrc_wrap(&err, "checkpoint %d", 3), -ENOENT);
	cr_assert_str_eq(err.msg, "checkpoint 3: f: gone");
	/* Whatever sign it comes with, and none at all. */
	cr_assert_eq(rrc_fail(&err, -EIO, "x"), -EIO);
	cr_assert_eq(rrc_fail(&err, 0, "x"), -EINVAL, "an error is never 0");
	cr_assert_eq(rrc_fail_exit(&err, RRC_EXIT_HOST, ENOSYS, "no module"), -ENOSYS);
	cr_assert_eq(rrc_wrap(&err, "here"), -ENOSYS);
	cr_assert_eq(err.exit, RRC_EXIT_HOST);
	cr_assert_eq(rrc_fail(NULL, EBUSY, "nobody listens"), -EBUSY);
	cr_assert_lt(rrc_wrap(NULL, "nobody listens"), 0);
}

Test(err, long_ones_are_cut)
{
	struct rrc_error err = { 0 };
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	cr_assert_eq(rrc_fail(&err, EIO, "%s", text), -EIO);
	cr_assert_eq(strlen(err.msg), sizeof(err.msg) - 1);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(rrc_wrap(&err, "%s", text), -EIO);
	cr_assert_eq(strlen(err.msg), sizeof(err.msg) - 1);
}

/* Every string, in room of every size: what comes out is a JSON string. */
Test(log, json_strings)
{
	char all[256], buf[2000];

	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = 0;
	for (size_t size = 3; size < sizeof(buf); size++) {
		struct json_object *o;

		memset(buf, '!', sizeof(buf));
		o = json_tokener_parse(rrc_json_string(buf, size, all));
		cr_assert(o && json_object_is_type(o, json_type_string), "size %zu: %s", size, buf);
		cr_assert(memchr(buf, 0, size), "size %zu", size);
		if (size == sizeof(buf) - 1)
			cr_assert(!strncmp(json_object_get_string(o), all, 0x7e));
		json_object_put(o);
	}
	cr_assert_str_eq(rrc_json_string(buf, sizeof(buf), "a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
	cr_assert_str_eq(rrc_json_string(buf, 2, "abc"), "\"\"");
}

/* Lines as a script reads them: one object each, at once. */
Test(log, event_lines)
{
	char *dir = help_dir(), name[64], *text;
	const char *path = help_path("%s/out", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), old = dup(1);
	struct json_object *o, *v;

	fflush(stdout);
	dup2(fd, 1);
	rrc_log_setup("test", RRC_LOG_ERROR, 0);
	rrc_event("silent", "%s", "");
	rrc_log_setup("test", RRC_LOG_ERROR, 1);
	rrc_event("left", "\"name\":%s,\"epoch\":%u", rrc_json_string(name, sizeof(name), "a\"b"),
		  7u);
	dup2(old, 1);
	close(old);
	close(fd);
	text = help_read(path, NULL);
	o = json_tokener_parse(text);
	cr_assert(o && strchr(text, '\n') == text + strlen(text) - 1, "%s", text);
	cr_assert(json_object_object_get_ex(o, "event", &v));
	cr_assert_str_eq(json_object_get_string(v), "left");
	cr_assert(json_object_object_get_ex(o, "name", &v));
	cr_assert_str_eq(json_object_get_string(v), "a\"b");
	json_object_put(o);
	free(text);
	help_remove(dir);
	free(dir);
}
