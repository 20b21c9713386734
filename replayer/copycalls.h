/* SPDX-License-Identifier: MIT */
/* The calls that a copy is to be given again, kept few: what undid itself is left out. */
#ifndef RRC_COPYCALLS_H
#define RRC_COPYCALLS_H

#include <stddef.h>

#include "err.h"
#include "record.h"

struct rrc_copycalls {
	struct rrc_rec **list;
	size_t n, size, bytes;
};

/* Room for so many more; 0 or -ENOMEM. */
int rrc_copycalls_reserve(struct rrc_copycalls *c, size_t more);

/* Takes rec (of malloc), for which room was reserved; what it makes pointless goes. */
void rrc_copycalls_add(struct rrc_copycalls *c, struct rrc_rec *rec);

/* All of a log that leave something; err must not be set yet. */
int rrc_copycalls_read(struct rrc_copycalls *c, const void *log, size_t len, struct rrc_error *err);

void rrc_copycalls_free(struct rrc_copycalls *c);

#endif
