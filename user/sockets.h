/* SPDX-License-Identifier: MIT */
/* Which descriptors of the frozen container are TCP connections, and those of them that no log knows. */
#ifndef RRC_SOCKETS_H
#define RRC_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "err.h"
#include "manifest.h"

struct rrc_sockets {
	struct rrc_manifest_socket *held;
	size_t n, size;
	struct rrc_conns *conns; /* snapshots, if asked for */
};

/* read_state: also read every established connection once (tcprepair.h). */
int rrc_sockets_collect(struct rrc_sockets *s, uint64_t pidns, int read_state,
			struct rrc_error *err);
void rrc_sockets_free(struct rrc_sockets *s);

#endif
