// SPDX-License-Identifier: MIT
/* user/outdir.c and replayer/recording.c: what one writes the other reads, and damage does not get through. */
#include <errno.h>

#include "help.h"
#include "manifest.h"
#include "outdir.h"
#include "reclog.h"
#include "recording.h"
#include "wire.h"

#define FIRST_CUT 1000u

struct rec_dir {
	char *top;
	const char *dir;
	struct rrc_outdir *out;
	struct rrc_packer *packer;
	uint64_t pos;
	struct rrc_error err;
};

/* The image of a checkpoint, and its manifest when all is there. */
static void put_ckpt(struct rec_dir *r, uint64_t number, uint64_t cut_pos)
{
	struct rrc_manifest_info info = { .number = number, .cut_pos = cut_pos };
	const char *ckpt = rrc_outdir_checkpoint(r->out, number);
	struct rrc_manifest *m = rrc_manifest_new(&info);

	cr_assert_eq(mkdir(ckpt, 0700), 0);
	help_write(help_path("%s/core", ckpt), "core image", 10);
	cr_assert_eq(rrc_manifest_add_files(m, ckpt, &r->err), 0, "%s", r->err.msg);
	cr_assert_eq(rrc_manifest_save_dir(m, ckpt, &r->err), 0, "%s", r->err.msg);
	rrc_manifest_free(m);
}

/* A cut, if number, and n deaths of thread tid as one frame. */
static void put_frame(struct rec_dir *r, uint64_t number, uint32_t tid, int n)
{
	struct help_log l = { .len = 0 };
	const void *frame;
	long len;

	if (number) {
		help_rec(&l, RRC_REC_CUT, 0)->args[0] = number;
		cr_assert_eq(rrc_outdir_cut(r->out, number, &r->err), 0, "%s", r->err.msg);
	}
	for (int i = 0; i < n; i++)
		help_rec(&l, RRC_REC_DEATH, tid)->exit_ns = r->pos + (uint64_t)i;
	len = rrc_packer_log(r->packer, l.bytes, (uint32_t)l.len, r->pos, 0, &frame);
	cr_assert_gt(len, 0);
	cr_assert_eq(rrc_outdir_write(r->out, frame, (size_t)len), 0);
	r->pos += l.len;
}

/* Checkpoints 1 and 3; 2 failed behind its cut. Two frames behind 1 and 2, one behind 3. */
static void make(struct rec_dir *r)
{
	memset(r, 0, sizeof(*r));
	r->top = help_dir();
	r->dir = strdup(help_path("%s/out", r->top));
	r->out = rrc_outdir_open(r->dir, &r->err);
	r->packer = rrc_packer_new();
	cr_assert(r->out && r->packer, "%s", r->err.msg);
	r->pos = FIRST_CUT;
	put_ckpt(r, 1, r->pos);
	put_frame(r, 1, 11, 3);
	put_frame(r, 0, 12, 40); /* long enough to be packed */
	put_frame(r, 2, 21, 2);
	put_frame(r, 0, 22, 1);
	put_ckpt(r, 3, r->pos);
	put_frame(r, 3, 31, 2);
	cr_assert_eq(rrc_outdir_end(r->out, 3, r->pos, &r->err), 0, "%s", r->err.msg);
}

static void drop(struct rec_dir *r)
{
	rrc_outdir_close(r->out);
	rrc_packer_free(r->packer);
	help_remove(r->top);
	free((char *)r->dir);
	free(r->top);
}

/* Reads all that a replay would. 0 or what was wrong. */
static int read_all(const char *dir, struct rrc_error *err)
{
	uint64_t *numbers = NULL;
	int n = rrc_recording_list(dir, &numbers, err), ret = n < 0 ? n : 0;

	for (int i = 0; i < n && !ret; i++) {
		struct rrc_manifest *m = rrc_recording_manifest(dir, numbers[i], err);
		struct rrc_epoch_log log;

		ret = m ? rrc_recording_log(dir, numbers[i], &log, err) : -EBADMSG;
		rrc_manifest_free(m);
		if (!ret)
			rrc_epoch_log_free(&log);
	}
	free(numbers);
	if (!ret && rrc_recording_ended(dir, err) != 1)
		ret = -EBADMSG;
	return ret;
}

Test(recording, comes_back)
{
	struct rrc_epoch_log log;
	const struct rrc_rec *rec;
	struct rec_dir r;
	uint64_t *numbers;
	size_t off = 0, n = 0, cuts = 0;

	make(&r);
	cr_assert_eq(rrc_recording_list(r.dir, &numbers, &r.err), 2);
	cr_assert(numbers[0] == 1 && numbers[1] == 3);
	free(numbers);
	cr_assert_eq(rrc_recording_log(r.dir, 1, &log, &r.err), 0, "%s", r.err.msg);
	cr_assert_eq(log.pos, FIRST_CUT + sizeof(struct rrc_rec), "behind the cut");
	while ((rec = rrc_reclog_next(log.buf, log.len, &off, &r.err))) {
		cuts += rec->kind == RRC_REC_CUT;
		n++;
	}
	/* The log of the checkpoint that failed belongs to the one before; its cut is in it. */
	cr_assert(n == 3 + 40 + 1 + 2 + 1 && cuts == 1, "%zu records, %zu cuts", n, cuts);
	rrc_epoch_log_free(&log);
	cr_assert_eq(rrc_recording_log(r.dir, 3, &log, &r.err), 0, "%s", r.err.msg);
	cr_assert_eq(log.len, 2 * sizeof(struct rrc_rec));
	cr_assert_eq(log.last_ns, r.pos - 3 * sizeof(struct rrc_rec) + 1);
	rrc_epoch_log_free(&log);
	cr_assert_eq(rrc_recording_ended(r.dir, &r.err), 1);
	cr_assert_eq(read_all(r.dir, &r.err), 0, "%s", r.err.msg);
	drop(&r);
}

/* Any byte of any file: a clear error, never another log. */
Test(recording, every_altered_byte_is_found, .timeout = 120)
{
	static const char *const files[] = { "log-000001",	     "log-000002",
					     "log-000003",	     "end",
					     "ckpt-000001/manifest", "ckpt-000003/core" };
	struct rec_dir r;

	make(&r);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		const char *path = strdup(help_path("%s/%s", r.dir, files[i]));
		size_t len;
		char *whole = help_read(path, &len);

		for (size_t at = 0; at < len; at++) {
			whole[at] ^= (char)(1 << at % 8);
			help_write(path, whole, len);
			whole[at] ^= (char)(1 << at % 8);
			memset(&r.err, 0, sizeof(r.err));
			cr_assert_lt(read_all(r.dir, &r.err), 0, "%s, byte %zu", files[i], at);
			cr_assert(r.err.msg[0], "%s, byte %zu: no reason", files[i], at);
		}
		for (size_t cut = 0; cut < len; cut++) {
			help_write(path, whole, cut);
			cr_assert_lt(read_all(r.dir, &r.err), 0, "%s, cut at %zu", files[i], cut);
		}
		unlink(path);
		/* Without `end` nothing says that it is whole; read_all wants that said. */
		cr_assert_lt(read_all(r.dir, &r.err), 0, "%s is missing", files[i]);
		help_write(path, whole, len);
		cr_assert_eq(read_all(r.dir, &r.err), 0, "%s", r.err.msg);
		free(whole);
		free((char *)path);
	}
	drop(&r);
}

Test(recording, frames_must_follow_each_other)
{
	struct rrc_epoch_log log = { 0 };
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_frame f;

	help_rec(&l, RRC_REC_DEATH, 1);
	rrc_frame_seal(&f, RRC_FRAME_LOG, 0, l.bytes, (uint32_t)l.len, (uint32_t)l.len, 500, 0);
	cr_assert_lt(rrc_epoch_log_add(&log, &f, l.bytes, &err), 0, "no cut");
	l.len = 0;
	help_rec(&l, RRC_REC_CUT, 0);
	cr_assert_eq(rrc_epoch_log_add(&log, &f, l.bytes, &err), 0, "%s", err.msg);
	cr_assert(log.len == 0 && log.pos == 500 + sizeof(struct rrc_rec));
	l.len = 0;
	help_rec(&l, RRC_REC_DEATH, 1);
	for (int by = -8; by <= 8; by += 16) {
		f.pos = log.pos + (uint64_t)by;
		cr_assert_eq(rrc_epoch_log_add(&log, &f, l.bytes, &err), -EBADMSG);
		cr_assert(strstr(err.msg, "gap"), "%s", err.msg);
	}
	f.pos = log.pos;
	f.type = RRC_FRAME_BEAT;
	cr_assert_lt(rrc_epoch_log_add(&log, &f, l.bytes, &err), 0);
	f.type = RRC_FRAME_LOG;
	cr_assert_eq(rrc_epoch_log_add(&log, &f, l.bytes, &err), 0, "%s", err.msg);
	cr_assert_eq(log.len, sizeof(struct rrc_rec));
	rrc_epoch_log_free(&log);
}

Test(outdir, only_an_empty_directory_is_taken)
{
	struct rrc_error err = { 0 };
	char *top = help_dir();
	struct rrc_outdir *o = rrc_outdir_open(top, &err);

	cr_assert(o, "%s", err.msg);
	rrc_outdir_close(o);
	help_write(help_path("%s/x", top), "x", 1);
	cr_assert_null(rrc_outdir_open(top, &err));
	cr_assert_eq(err.code, -ENOTEMPTY);
	cr_assert_null(rrc_outdir_open(help_path("%s/x", top), &err));
	cr_assert_null(rrc_outdir_open(help_path("%s/no/such", top), &err));
	help_remove(top);
	free(top);
}

/* A disk that is full is told, so that nothing is let out that is not kept. */
Test(outdir, a_full_disk_is_told)
{
	struct rrc_error err = { 0 };
	char *top = help_dir(), *page = calloc(1, 65536);
	struct rrc_outdir *o = rrc_outdir_open(top, &err);

	cr_assert(o);
	cr_assert_eq(symlink("/dev/full", help_path("%s/log-000001", top)), 0);
	cr_assert_eq(rrc_outdir_cut(o, 1, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_outdir_write(o, page, 65536), -ENOSPC);
	rrc_outdir_close(o);
	free(page);
	help_remove(top);
	free(top);
}
