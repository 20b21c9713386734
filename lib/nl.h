/* SPDX-License-Identifier: MIT */
/* The two things that every user of rtnetlink here needs: a socket in a namespace, a request. */
#ifndef RRC_NL_H
#define RRC_NL_H

#include <libmnl/libmnl.h>

#include "err.h"

#define RRC_NL_MSG 2048 /* room for any request that we make */

/* A socket in namespace netns, or in the caller's (-1); NULL with *err set. */
struct mnl_socket *rrc_nl_open(int netns, struct rrc_error *err);

/* Begins a request in buf (RRC_NL_MSG bytes). */
struct nlmsghdr *rrc_nl_msg(char *buf, uint16_t type, uint16_t flags);

/* Sends it and calls cb for each answer up to the last; without cb: waits for the acknowledgement.
 * 0 or a negative errno. */
int rrc_nl_talk(struct mnl_socket *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data);

#endif
