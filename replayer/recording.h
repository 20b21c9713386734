/* SPDX-License-Identifier: MIT */
/*
 * A checkpoint directory and the log behind it, read: everything is checked before it is used. The
 * same layout in a recording (`rrc-trace -o`) and in the backup's state directory.
 */
#ifndef RRC_RECORDING_H
#define RRC_RECORDING_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "manifest.h"

/* Records in memory, position `pos` at their start. */
struct rrc_epoch_log {
	uint8_t *buf;
	size_t len, size;
	uint64_t pos;
	uint64_t last_ns; /* exit_ns of the last record; 0: none */
};

/* Numbers of the checkpoints in a recording, ascending; *numbers is the caller's to free. Returns how
 * many (at least 1) or negative. */
int rrc_recording_list(const char *dir, uint64_t **numbers, struct rrc_error *err);

/* Manifest of one checkpoint, all its files verified. NULL on failure. */
struct rrc_manifest *rrc_recording_manifest(const char *dir, uint64_t number,
					    struct rrc_error *err);

/* 1: the recording ended in good order, and its newest checkpoint is there. 0: nothing says so; what
 * recorded was stopped in the middle. Negative: damaged. */
int rrc_recording_ended(const char *dir, struct rrc_error *err);

/* Directory of one checkpoint into buf. */
int rrc_recording_path(const char *dir, uint64_t number, char *buf, size_t size);

/* The log behind checkpoint `number`, up to the next checkpoint that is there: every frame and record
 * checked, the cut itself left out. Missing parts are an error. */
int rrc_recording_log(const char *dir, uint64_t number, struct rrc_epoch_log *log,
		      struct rrc_error *err);
void rrc_epoch_log_free(struct rrc_epoch_log *log);

/* Appends the records of one (verified) log frame. The first record of a log must be a cut, which is
 * left out. -EBADMSG: gap, or damaged records. */
struct rrc_frame;
int rrc_epoch_log_add(struct rrc_epoch_log *log, const struct rrc_frame *f, const uint8_t *payload,
		      struct rrc_error *err);

#endif
