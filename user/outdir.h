/* SPDX-License-Identifier: MIT */
/*
 * A recording in a directory (`-o DIR`): ckpt-NNNNNN/ with manifest and images for each checkpoint,
 * log-NNNNNN with the frames from its cut to the next, and `end`, which says where the log ends.
 */
#ifndef RRC_OUTDIR_H
#define RRC_OUTDIR_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct rrc_outdir;

/* The directory is made, or must be empty. */
struct rrc_outdir *rrc_outdir_open(const char *dir, struct rrc_error *err);
void rrc_outdir_close(struct rrc_outdir *o);

/* Where checkpoint `number` goes. */
const char *rrc_outdir_checkpoint(struct rrc_outdir *o, uint64_t number);

/* The frames from now on belong behind checkpoint `number`. */
int rrc_outdir_cut(struct rrc_outdir *o, uint64_t number, struct rrc_error *err);

/* Appends a frame. */
int rrc_outdir_write(struct rrc_outdir *o, const void *frame, size_t len);

/* The recording ends in good order: its newest whole checkpoint is `number`, its log ends at `pos`.
 * Without this a log that was cut between two frames could not be told from a whole one. */
int rrc_outdir_end(struct rrc_outdir *o, uint64_t number, uint64_t pos, struct rrc_error *err);

#endif
