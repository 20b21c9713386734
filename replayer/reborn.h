/* SPDX-License-Identifier: MIT */
/*
 * Connections that the application has not accepted: recreated in the restored listener, with their
 * old sequence numbers and the bytes that came in, by bpf/reborn.bpf.c. Also handshakes that were under way:
 * whatever the client's kernel believes then, its next segment is taken.
 */
#ifndef RRC_REBORN_USER_H
#define RRC_REBORN_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"
#include "err.h"
#include "packet.h"
#include "rawlink.h"
#include "tcprepair.h"

struct rrc_reborn;

/* Loads the program, which takes some milliseconds: in advance. NULL with *err set; -EOPNOTSUPP: this
 * kernel cannot. */
struct rrc_reborn *rrc_reborn_load(struct rrc_error *err);
void rrc_reborn_free(struct rrc_reborn *r);

/* Puts it on the link, and takes it off; connections that were recreated need it no more. */
int rrc_reborn_attach(struct rrc_reborn *r, int netns, uint32_t ifindex, struct rrc_error *err);
void rrc_reborn_detach(struct rrc_reborn *r);

/* Says what the connection was like. Before the link's ingress is open. */
int rrc_reborn_expect(struct rrc_reborn *r, const struct rrc_conn *conn, uint32_t tsval);

/* The same of a client whose SYN is known alone. rcv_wscale is what our kernel answers with. */
int rrc_reborn_expect_syn(struct rrc_reborn *r, const struct rrc_packet *syn, uint8_t rcv_wscale);

/* Before its SYN is answered by hand. False: do not, somebody has said something since. */
bool rrc_reborn_answers(const struct rrc_reborn *r, const struct rrc_packet *syn);

/* Makes it: what the client sent, once more, into our own kernel. 0, or -ECONNREFUSED when there is
 * no listener any more or its queue is full. */
int rrc_reborn_make(struct rrc_reborn *r, struct rrc_rawlink *link, const struct rrc_conn *conn);

#endif
