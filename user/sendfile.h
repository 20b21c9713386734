/* SPDX-License-Identifier: MIT */
/*
 * sendfile(2) sends bytes that the program never had in its memory, so its record has none. They
 * are output all the same, and what the client has not acknowledged at a cut must come from the log:
 * the collector reads them from the file and adds them. The recorder gives the file's inode number in
 * args[4] and its position at exit in args[5].
 */
#ifndef RRC_SENDFILE_H
#define RRC_SENDFILE_H

#include <stdint.h>

#include "record.h"

struct rrc_sendfile;

struct rrc_sendfile *rrc_sendfile_new(uint64_t pidns);
void rrc_sendfile_free(struct rrc_sendfile *s);

/* Takes note of a file that the program opened (openat, open). */
void rrc_sendfile_opened(struct rrc_sendfile *s, const struct rrc_rec *rec);

/* The record of a sendfile that sent something, with its bytes as one more IN segment; a barrier if they
 * cannot be had. Valid until the next call. */
const struct rrc_rec *rrc_sendfile_complete(struct rrc_sendfile *s, const struct rrc_rec *rec);

#endif
