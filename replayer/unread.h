/* SPDX-License-Identifier: MIT */
/* Datagrams that had come in and were not read: given to the restored sockets once more. */
#ifndef RRC_UNREAD_H
#define RRC_UNREAD_H

#include "conn.h"
#include "rawlink.h"

/* With the link's ingress open. Returns how many. */
uint32_t rrc_unread_datagrams(int netns, struct rrc_rawlink *link, const struct rrc_conns *conns);

#endif
