// SPDX-License-Identifier: MIT
/*
 * Any sections as a manifest, with the checksum put right so that what is behind it is reached: it
 * is refused, or all of it can be read, its texts end, and no name leads out of a directory.
 */
#include <xxhash.h>

#include "fuzz.h"
#include "manifest.h"
#include "record.h"
#include "restore.h"
#include "util.h"

static volatile unsigned int sink; /* so that reading is not optimised away */

static void use(const struct rrc_manifest *m)
{
	struct rrc_engine_opts eo = { 0 };
	struct rrc_engine_held *held;
	const struct rrc_rec **restarts;
	unsigned int sum = 0;

	for (enum rrc_section_type type = RRC_SECTION_INFO; type <= RRC_SECTION_RESTART; type++) {
		size_t iter = 0, len;
		const uint8_t *body;

		while ((body = rrc_manifest_next(m, type, &iter, &len))) {
			for (size_t i = 0; i <= len; i++)
				sum += body[i];
			must(!body[len]);
			if (type == RRC_SECTION_FILE)
				must(!rrc_manifest_name_ok((const char *)body +
								   sizeof(struct rrc_manifest_file),
							   len - sizeof(struct rrc_manifest_file)));
		}
		sum += (unsigned int)strlen(rrc_manifest_text(m, type));
	}
	sink = sum;
	rrc_restore_engine_opts(m, &eo, &held, &restarts, NULL);
	free(held);
	free(restarts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rrc_section first = { RRC_SECTION_INFO, sizeof(struct rrc_manifest_info) };
	struct rrc_manifest_head head = { .magic = RRC_MANIFEST_MAGIC,
					  .version = RRC_FORMAT_VERSION };
	size_t info = RRC_ALIGN8(sizeof(first) + sizeof(struct rrc_manifest_info) + 1);
	uint8_t *copy = calloc(1, sizeof(head) + info + size);
	int with_info = size && data[0] & 1;
	struct rrc_manifest *m;
	size_t len = sizeof(head);

	must(copy != NULL);
	if (with_info) {
		memcpy(copy + len, &first, sizeof(first));
		len += info;
	}
	if (size > 1)
		memcpy(copy + len, data + 1, size - 1);
	len += size ? size - 1 : 0;
	head.length = len - sizeof(head);
	head.sum = XXH3_64bits(copy + sizeof(head), len - sizeof(head));
	memcpy(copy, &head, sizeof(head));
	m = rrc_manifest_load(copy, len, NULL);
	if (m)
		use(m);
	rrc_manifest_free(m);
	m = rrc_manifest_load(data, size, NULL); /* as it is */
	if (m)
		use(m);
	rrc_manifest_free(m);
	free(copy);
	return 0;
}
