/* SPDX-License-Identifier: MIT */
/* A log in memory: records one after the other, read with bounds checked before use. */
#ifndef RRC_RECLOG_H
#define RRC_RECLOG_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "record.h"

/* Checks the record at buf[0..len): sizes, kinds, segments. Returns 0 or -EBADMSG with the reason. */
int rrc_rec_check(const void *buf, size_t len, struct rrc_error *err);

/* Of a checked record. */
const struct rrc_seg *rrc_rec_segs(const struct rrc_rec *rec);
const uint8_t *rrc_rec_payload(const struct rrc_rec *rec);

/* First segment of the given row (index 0), its bytes in *data; NULL if there is none. */
const struct rrc_seg *rrc_rec_seg(const struct rrc_rec *rec, unsigned int row,
				  const uint8_t **data);

/* First segment that the program gave, its bytes in *data; NULL if there is none. */
const struct rrc_seg *rrc_rec_input(const struct rrc_rec *rec, const uint8_t **data);

/* Of getdents: where the directory goes on behind the last entry; negative: there is none. */
int64_t rrc_rec_dents_end(const struct rrc_rec *rec);

/* Iterates: *off starts at 0; NULL at the end; *err is set when the rest is damaged. */
const struct rrc_rec *rrc_reclog_next(const void *log, size_t len, size_t *off,
				      struct rrc_error *err);

#endif
