/* SPDX-License-Identifier: MIT */
/*
 * The backup as the primary sees it: two connections, one for the log and one for checkpoints, and
 * what its answers allow. Used by the collector's thread, but for rrc_backup_send_checkpoint.
 */
#ifndef RRC_BACKUP_H
#define RRC_BACKUP_H

#include <stdint.h>

#include "checkpoint.h"
#include "err.h"
#include "link.h"

struct rrc_backup {
	struct rrc_link log, bulk;
	uint64_t lease_ns, silence_ns; /* as the backup told */
	uint64_t acked; /* it keeps everything before this position */
	uint64_t answered; /* time stamp of the newest frame of ours that it answered */
	uint64_t sent; /* when we said something last */
	int half; /* some bytes of the checkpoint's files were sent */
};

enum rrc_backup_news {
	RRC_BACKUP_NONE,
	RRC_BACKUP_ACK,
	RRC_BACKUP_TAKEN_OVER, /* it serves: we must stay silent */
};

int rrc_backup_connect(struct rrc_backup *b, const char *address, const char *name, int passive,
		       int timeout_ms, struct rrc_error *err);
void rrc_backup_close(struct rrc_backup *b);

/* Takes in what it said. Negative errno: the link is gone or damaged. */
int rrc_backup_read(struct rrc_backup *b, enum rrc_backup_news *news, struct rrc_error *err);

/* A sign of life, when nothing else was said. */
int rrc_backup_beat(struct rrc_backup *b, uint64_t now);

/* Protection ends in good order; waits until the backup knows. */
int rrc_backup_bye(struct rrc_backup *b, int timeout_ms, struct rrc_error *err);

/* Sends a checkpoint, its files from dir but for a delta, and waits until it is committed. Blocks: for the checkpoint thread. */
int rrc_backup_send_checkpoint(struct rrc_backup *b, const struct rrc_checkpoint *c,
			       const char *dir, uint64_t *bytes, struct rrc_error *err);

#endif
