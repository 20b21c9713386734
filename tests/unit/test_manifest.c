/* SPDX-License-Identifier: MIT */
/* The manifest: sections come back, damage and names that lead outside do not get through. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manifest.h"

static struct rrc_manifest *sample(void)
{
	struct rrc_manifest_info info = {
		.number = 3, .cut_pos = 4096, .init_tid = 1, .name = "web"
	};
	struct rrc_manifest_socket s = { .pid = 1, .fd = 9, .cookie = 77 };
	struct rrc_manifest_file f = { .size = 5, .sum = 6 };
	struct rrc_manifest *m = rrc_manifest_new(&info);

	cr_assert(m);
	cr_assert_eq(rrc_manifest_add(m, RRC_SECTION_FILE, &f, sizeof(f), "img/core-1.img", 14), 0);
	cr_assert_eq(rrc_manifest_add(m, RRC_SECTION_SOCKET, &s, sizeof(s), NULL, 0), 0);
	cr_assert_eq(rrc_manifest_add_text(m, RRC_SECTION_COMMAND, "redis-server"), 0);
	return m;
}

Test(manifest, comes_back)
{
	struct rrc_manifest *m = sample(), *back;
	const struct rrc_manifest_socket *s;
	struct rrc_error err = { 0 };
	size_t len, iter = 0, n;
	const void *bytes = rrc_manifest_bytes(m, &len);

	back = rrc_manifest_load(bytes, len, &err);
	cr_assert(back, "%s", err.msg);
	cr_assert_eq(rrc_manifest_info(back)->number, 3u);
	cr_assert_str_eq(rrc_manifest_text(back, RRC_SECTION_COMMAND), "redis-server");
	s = rrc_manifest_next(back, RRC_SECTION_SOCKET, &iter, &n);
	cr_assert(s && s->fd == 9 && s->cookie == 77);
	cr_assert_null(rrc_manifest_next(back, RRC_SECTION_SOCKET, &iter, &n));
	rrc_manifest_free(m);
	rrc_manifest_free(back);
}

Test(manifest, damage_and_cuts_are_found)
{
	struct rrc_manifest *m = sample();
	struct rrc_error err = { 0 };
	size_t len;
	const void *bytes = rrc_manifest_bytes(m, &len);
	uint8_t *copy = malloc(len);

	memcpy(copy, bytes, len);
	for (size_t cut = 0; cut < len; cut++)
		cr_assert_null(rrc_manifest_load(copy, cut, &err), "cut at %zu", cut);
	for (size_t bit = 0; bit < len * 8; bit++) {
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_null(rrc_manifest_load(copy, len, &err), "bit %zu", bit);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(copy);
	rrc_manifest_free(m);
}

Test(manifest, names_stay_below_their_directory)
{
	static const char *const bad[] = { "",	   "/etc/passwd", "..", "../x", "a/../b",
					   "a//b", ".",		  "a/", "./a" };
	static const char *const good[] = { "a", "img/pages-1.img", "..a", "a..b/c" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert(rrc_manifest_name_ok(bad[i], strlen(bad[i])), "%s", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		cr_assert_eq(rrc_manifest_name_ok(good[i], strlen(good[i])), 0, "%s", good[i]);
}

Test(manifest, a_changed_file_is_named)
{
	struct rrc_manifest_info info = { .number = 1 };
	char dir[] = "/tmp/rrc-manifest-XXXXXX", path[64];
	struct rrc_manifest *m = rrc_manifest_new(&info);
	struct rrc_error err = { 0 };
	FILE *f;

	cr_assert(mkdtemp(dir) && m);
	snprintf(path, sizeof(path), "%s/a", dir);
	f = fopen(path, "w");
	cr_assert(f && fputs("hello", f) >= 0 && fclose(f) == 0);
	cr_assert_eq(rrc_manifest_add_files(m, dir, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_manifest_verify_dir(m, dir, &err), 0, "%s", err.msg);
	f = fopen(path, "w");
	cr_assert(f && fputs("hellO", f) >= 0 && fclose(f) == 0);
	cr_assert_eq(rrc_manifest_verify_dir(m, dir, &err), -EBADMSG);
	cr_assert(strstr(err.msg, "/a is damaged"), "%s", err.msg);
	unlink(path);
	rmdir(dir);
	rrc_manifest_free(m);
}
