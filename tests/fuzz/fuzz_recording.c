// SPDX-License-Identifier: MIT
/*
 * A recording's directory as the input says: its manifest, logs and end, with checksums put right. It is
 * refused with a reason, or the log can be walked to its end.
 */
#include <xxhash.h>

#include "fuzz.h"
#include "manifest.h"
#include "recording.h"
#include "reclog.h"
#include "wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

static char top[64];

static void tidy(void)
{
	remove_all(top);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	snprintf(top, sizeof(top), "%s/rrc-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	must(mkdtemp(top) != NULL);
	atexit(tidy);
	return 0;
}

/* Frames one behind the other, or bytes that are none. */
static void make_log(const char *dir, struct input *in, uint32_t number)
{
	uint64_t pos = take_num(in, 16) ? 208 : take_num(in, 1024);
	uint32_t frames = take_num(in, 4), odd = take_num(in, 8);
	uint8_t buf[8192];
	size_t len = 0;
	char path[160];

	for (uint32_t i = 0; i < frames; i++) {
		struct rrc_rec cut = { .size = sizeof(cut), .kind = RRC_REC_CUT };
		size_t n = take_num(in, 1024), head = i || !take_num(in, 8) ? 0 : sizeof(cut);
		uint8_t payload[2048];
		struct rrc_frame f;

		memcpy(payload, &cut, head);
		memcpy(payload + head, take_bytes(in, &n), n);
		n += head;
		rrc_frame_seal(&f, take_num(in, 16) ? RRC_FRAME_LOG : take_num(in, 16),
			       !take_num(in, 4), payload, (uint32_t)n,
			       take_num(in, 4) ? (uint32_t)n : take_num(in, 65536), pos, 0);
		pos += f.raw;
		memcpy(buf + len, &f, sizeof(f));
		memcpy(buf + len + sizeof(f), payload, n);
		len += sizeof(f) + n;
	}
	if (odd == 1 && len)
		buf[take_num(in, (uint32_t)len)] ^= (uint8_t)(1 + take_num(in, 255));
	if (odd == 2)
		len = take_num(in, (uint32_t)len + 1);
	snprintf(path, sizeof(path), "%s/log-%06u", dir, number);
	write_file(path, buf, len);
}

static void make_ckpt(const char *dir, struct input *in, uint32_t number)
{
	struct rrc_manifest_info info = { .number = number, .cut_pos = 208 };
	char path[160];
	struct rrc_manifest *m;
	size_t n = take_num(in, 64);
	const void *text = take_bytes(in, &n);

	if (!take_num(in, 8))
		info.number = take_num(in, 16);
	if (!take_num(in, 4))
		info.cut_pos = take_num(in, 4096);
	m = rrc_manifest_new(&info);
	must(m && !rrc_manifest_add(m, take_num(in, 10), text, n, NULL, 0));
	snprintf(path, sizeof(path), "%s/ckpt-%06u", dir, number);
	must(!mkdir(path, 0700));
	must(!rrc_manifest_save_dir(m, path, NULL));
	rrc_manifest_free(m);
}

static void make_end(const char *dir, struct input *in)
{
	char path[160];
	struct rrc_frame f;

	rrc_frame_seal(&f, take_num(in, 8) ? RRC_FRAME_BYE : take_num(in, 16), 0, "", 0, 0,
		       take_num(in, 4096), 1 + take_num(in, 3));
	snprintf(path, sizeof(path), "%s/end", dir);
	write_file(path, &f, take_num(in, 8) ? sizeof(f) : take_num(in, sizeof(f)));
}

static void read_back(const char *dir)
{
	struct rrc_error err = { 0 };
	uint64_t *numbers = NULL;
	int n = rrc_recording_list(dir, &numbers, &err);

	must(n > 0 || err.msg[0]);
	for (int i = 0; i < n; i++) {
		struct rrc_manifest *m = rrc_recording_manifest(dir, numbers[i], &err);
		struct rrc_epoch_log log;
		size_t off = 0, records = 0;

		must(m || err.msg[0]);
		rrc_manifest_free(m);
		memset(&err, 0, sizeof(err));
		if (rrc_recording_log(dir, numbers[i], &log, &err)) {
			must(err.code && err.msg[0]);
			continue;
		}
		while (rrc_reclog_next(log.buf, log.len, &off, &err))
			records++;
		must(off == log.len && !err.code && records <= log.len / 8);
		rrc_epoch_log_free(&log);
	}
	free(numbers);
	memset(&err, 0, sizeof(err));
	must(rrc_recording_ended(dir, &err) >= 0 || err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size < 4096 ? size : 4096 };
	char dir[96];

	snprintf(dir, sizeof(dir), "%s/r", top);
	must(!mkdir(dir, 0700));
	for (uint32_t i = 1, n = 1 + take_num(&in, 3); i <= n; i++) {
		if (take_num(&in, 8))
			make_log(dir, &in, i);
		if (take_num(&in, 4))
			make_ckpt(dir, &in, i);
	}
	if (take_num(&in, 2))
		make_end(dir, &in);
	read_back(dir);
	remove_all(dir);
	return 0;
}
