// SPDX-License-Identifier: MIT
/* Any sections as a delta, with any mapping calls before it: refused, or all of it can be read and kept. */
#include <sys/mman.h>

#include "copy.h"
#include "delta.h"
#include "fuzz.h"
#include "syscalls.h"
#include "util.h"

static volatile unsigned int sink; /* so that reading is not optimised away */

static int on_thread(void *ctx, const struct rrc_delta_thread *t, const uint8_t *xsave,
		     struct rrc_error *err)
{
	(void)ctx;
	(void)err;
	must(t->pid && t->tid);
	for (uint32_t i = 0; i < t->xsave_len; i++)
		sink += xsave[i];
	return 0;
}

static int on_page(void *ctx, uint32_t pid, uint64_t addr, const uint8_t *data,
		   struct rrc_error *err)
{
	(void)ctx;
	(void)err;
	must(pid && !(addr & (RRC_DELTA_PAGE - 1)) && addr < 1ull << 47);
	for (size_t i = 0; data && i < RRC_DELTA_PAGE; i++)
		sink += data[i];
	return 0;
}

static int on_lines(void *ctx, uint32_t pid, const struct rrc_delta_changed *c, const uint8_t *data,
		    struct rrc_error *err)
{
	uint8_t page[RRC_DELTA_PAGE] = "";

	rrc_delta_put_lines(page, c->lines, data);
	must(c->lines);
	return on_page(ctx, pid, c->addr, page, err);
}

/* A call that changes mappings, with any arguments. */
static struct rrc_rec call(struct input *in)
{
	static const uint16_t nrs[] = { RRC_NR_munmap, RRC_NR_mmap, RRC_NR_mremap, RRC_NR_madvise };
	struct rrc_rec r = { .size = sizeof(r),
			     .kind = RRC_REC_SYSCALL,
			     .tid = 1,
			     .pid = take_num(in, 3),
			     .nr = nrs[take_num(in, RRC_ARRAY_SIZE(nrs))] };

	r.args[0] = (uint64_t)take_num(in, 1u << 24) << take_num(in, 41);
	r.args[1] = (uint64_t)take_num(in, 1u << 24) << take_num(in, 41);
	r.args[2] = r.nr == RRC_NR_madvise ? MADV_DONTNEED : take_num(in, 1u << 24);
	r.ret = take_num(in, 2) ? 0 : (int64_t)r.args[0];
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct rrc_rec rec = call(&in);
	struct rrc_delta_head head = { .magic = RRC_DELTA_MAGIC,
				       .version = RRC_FORMAT_VERSION,
				       .number = 2,
				       .after = 1,
				       .length = in.len };
	struct rrc_delta_reader r = { .thread = on_thread, .page = on_page, .lines = on_lines };
	uint8_t *copy = malloc(sizeof(head) + in.len);
	struct rrc_copy *c = rrc_copy_new();
	struct rrc_error err = { 0 };

	must(copy && c);
	memcpy(copy, &head, sizeof(head));
	memcpy(copy + sizeof(head), in.p, in.len);
	if (!rrc_delta_read(copy, sizeof(head) + in.len, &r, &err)) {
		for (int i = 0; i < 2; i++) {
			struct rrc_copy_epoch *e = rrc_copy_prepare(c, &rec, sizeof(rec), copy,
								    sizeof(head) + in.len, &err);

			must(e || err.code);
			if (e)
				rrc_copy_take(c, e);
		}
	}
	rrc_copy_free(c);
	free(copy);
	return 0;
}
