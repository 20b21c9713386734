// SPDX-License-Identifier: MIT
/*
 * Any bytes as a log: the reader must refuse them or give records that can be printed in both ways
 * without a byte outside being touched.
 */
#include <assert.h>
#include <string.h>

#include "reclog.h"
#include "recprint.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Opened once; throws away what it gets. */
static FILE *sink;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	sink = fopen("/dev/null", "w");
	return sink ? 0 : -1;
}

static void use(const struct rrc_rec *rec, size_t pos)
{
	const uint8_t *data;
	const struct rrc_seg *seg;
	unsigned int sum = 0;

	for (unsigned int row = 0; row < RRC_REC_MAX_SEG; row++) {
		seg = rrc_rec_seg(rec, row, &data);
		for (uint32_t i = 0; seg && i < seg->len; i++)
			sum += data[i];
	}
	/* The sum is used, so that reading is not optimised away. */
	assert(!rrc_rec_print_since(sink, rec, 0, pos, sum));
	assert(!rrc_rec_print(sink, rec, 1, pos));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly this size, so that a byte too far is seen. */
	uint8_t *log = malloc(size ? size : 1);
	const struct rrc_rec *rec;
	struct rrc_error err = { 0 };
	size_t off = 0, before = 0;

	if (!log)
		return 0;
	memcpy(log, data, size);
	while ((rec = rrc_reclog_next(log, size, &off, &err))) {
		assert(off > before && off <= size);
		use(rec, before);
		before = off;
	}
	/* All of it was read, or the reason was said. */
	assert(off == size || (err.code && err.msg[0]));
	free(log);
	return 0;
}
