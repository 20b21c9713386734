// SPDX-License-Identifier: MIT
/* The states of closing, see closing.h. Nothing sets a state: each is reached as it was reached before. */
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "closing.h"

/* Who closed first decides what the kernel waits for at the end, and for how long. */
static bool we_closed_first(const struct rrc_conn *conn)
{
	switch (conn->s.state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
		return true;
	default:
		return false;
	}
}

/* All of the client's acknowledgements, also that of our FIN. */
static uint64_t acknowledged(const struct rrc_conn *conn)
{
	return conn->s.acked + rrc_conn_fin_acked(conn);
}

static int give_fin(struct rrc_rawlink *link, const struct rrc_conn *conn, uint64_t ack)
{
	return rrc_rawlink_inject(link, conn, RRC_TCP_FIN, conn->s.fin_pos, ack, NULL, 0);
}

int rrc_closing_resume(struct rrc_rawlink *link, struct rrc_tcp_fix *fix,
		       const struct rrc_conn *conn, bool held, struct rrc_error *err)
{
	/* The client of one that is gone may answer our FIN with a reset: behind its own FIN that
	 * takes nothing from the application. */
	bool fin_in = rrc_conn_fin_in(conn),
	     first = we_closed_first(conn) && !(conn->s.gone && held);
	int ret = 0;

	if (fin_in && !first)
		ret = give_fin(link, conn, conn->s.acked);
	if (!ret && rrc_tcp_resume(fix, conn, err))
		return err->code;
	if (!ret && rrc_conn_fin_sent(conn)) {
		shutdown(fix->sock, SHUT_WR);
		if (fin_in && first)
			ret = give_fin(link, conn, acknowledged(conn));
		else if (rrc_conn_fin_acked(conn))
			ret = rrc_rawlink_inject(link, conn, 0, conn->s.rcvd + fin_in,
						 acknowledged(conn), NULL, 0);
	}
	if (ret)
		return rrc_fail(err, ret, "give the client's end to the kernel: %s",
				strerror(-ret));
	if (conn->s.shut_rd)
		shutdown(fix->sock, SHUT_RD);
	return 0;
}
