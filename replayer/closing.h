/* SPDX-License-Identifier: MIT */
/* How a rebuilt connection is brought to the state of closing that it was in. */
#ifndef RRC_CLOSING_H
#define RRC_CLOSING_H

#include "conn.h"
#include "err.h"
#include "rawlink.h"
#include "tcprepair.h"

/*
 * held: by the application, which may have something to read still.
 *
 * Of a rebuilt and released connection whose packets can come in: sends what the client lacks, closes
 * our side if it was closed, gives the kernel the client's FIN and its acknowledgement of ours. Our FIN goes out
 * (again); a client that has it throws it away.
 */
int rrc_closing_resume(struct rrc_rawlink *link, struct rrc_tcp_fix *fix,
		       const struct rrc_conn *conn, bool held, struct rrc_error *err);

#endif
