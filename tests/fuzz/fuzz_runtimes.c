// SPDX-License-Identifier: MIT
/*
 * State files of container runtimes, of any content: which file is told by the first byte, the rest is in
 * it. Every container that is read has names that end, whatever the file says.
 */
#include "fuzz.h"
#include "runtimes.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* One of each kind; the first two are there always, so that the others have something to name. */
static const char *const files[] = {
	"/run/runc/c1/state.json",
	"/run/crun/c2/status",
	"/var/lib/containers/storage/overlay-containers/containers.json",
	"/var/lib/docker/containers/c1/config.v2.json",
};

static char top[64];

static void tidy(void)
{
	remove_all(top);
}

static void put(size_t i, const void *bytes, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", top, files[i]);
	write_file(path, bytes, len);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[256];

	(void)argc;
	(void)argv;
	snprintf(top, sizeof(top), "%s/rrc-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	must(mkdtemp(top) != NULL);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s%s", top, files[i]);
		for (char *p = path + strlen(top) + 1; (p = strchr(p, '/')); p++) {
			*p = 0;
			mkdir(path, 0700);
			*p = '/';
		}
	}
	atexit(tidy);
	return 0;
}

static void ends(const char *text, size_t size)
{
	must(memchr(text, 0, size) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rrc_known_list list = { 0 };
	size_t which = size ? data[0] % 4 : 0;

	put(0, "{\"init_process_pid\":1,\"config\":{}}", 35);
	put(1, "{\"pid\":1}", 9);
	put(2, "[]", 2);
	put(3, "{}", 2);
	put(which, size ? data + 1 : data, size ? size - 1 : 0);
	must(!rrc_known_read(top, &list, NULL));
	must(list.n == 2);
	for (size_t i = 0; i < list.n; i++) {
		const struct rrc_known *k = &list.known[i];

		ends(k->id, sizeof(k->id));
		ends(k->name, sizeof(k->name));
		ends(k->runtime, sizeof(k->runtime));
		ends(k->bundle, sizeof(k->bundle));
		ends(k->rootfs, sizeof(k->rootfs));
		must(rrc_known_state(k) != NULL);
	}
	rrc_known_free(&list);
	return 0;
}
