/* SPDX-License-Identifier: MIT */
/* Unix sockets of the tree: which is the other end of which, and a duplicate of one. */
#ifndef RRC_UNIXPEER_H
#define RRC_UNIXPEER_H

#include <sys/types.h>

#include "tracee.h"

/* Inode number of the other end; 0: none, or it is not of the tree. */
ino_t rrc_unix_peer(struct rrc_engine *e, ino_t ino);

/* A duplicate of the socket with this inode number, or negative errno. */
int rrc_unix_dup(struct rrc_engine *e, ino_t ino);

#endif
