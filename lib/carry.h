/* SPDX-License-Identifier: MIT */
/*
 * What a record leaves in the kernel, and how a copy of the container that did not execute the program comes
 * to have it too. Both ends must agree on it: the primary takes a checkpoint as a delta only if every
 * record since the one before can be carried over, the backup then does so.
 */
#ifndef RRC_CARRY_H
#define RRC_CARRY_H

#include "record.h"

enum rrc_carry {
	RRC_CARRY_NOTHING = 0, /* memory and registers say it all */
	RRC_CARRY_CALL, /* the call is made again in the copy, its arguments put in place */
	RRC_CARRY_READ, /* bytes were taken from a pipe, eventfd or unix socket, or the file's offset moved */
	RRC_CARRY_WRITE, /* bytes were put into a file, pipe, eventfd or unix socket */
	RRC_CARRY_OFFSET, /* only a file's offset moved */
	RRC_CARRY_ACCEPT, /* a closed socket at a new descriptor */
	RRC_CARRY_WHOLE, /* cannot be: the next checkpoint is a whole one */
	RRC_CARRIES,
};

/* Of a checked record. */
enum rrc_carry rrc_carry_of(const struct rrc_rec *rec);

/* "nothing", "call", … */
const char *rrc_carry_name(enum rrc_carry c);

/* Which descriptor is which TCP connection may have changed. A server that reads /proc now and then opens and closes
 * others all the time. */
int rrc_carry_connections(const struct rrc_rec *rec);

/* Changes mappings: which memory is watched for writes must be looked at. */
int rrc_carry_mappings(const struct rrc_rec *rec);

#endif
