// SPDX-License-Identifier: MIT
/* The table of connections: handshakes that are under way, and what stays of connections that have ended. */
#include "unit_conn.h"

static void changes(struct rrc_conns *c, uint64_t cookie, int from, int to)
{
	apply(c,
	      (struct rrc_rec){ .kind = RRC_REC_CONN_STATE,
				.obj = cookie,
				.args = { (uint64_t)from, (uint64_t)to } },
	      NULL, 0);
}

static struct rrc_conns *again(struct rrc_conns *c)
{
	uint8_t *buf;
	size_t len;

	cr_assert_eq(rrc_conns_save(c, &buf, &len, &err), 0);
	rrc_conns_free(c);
	c = rrc_conns_load(buf, len, &err);
	cr_assert(c, "%s", err.msg);
	free(buf);
	return c;
}

/* The kernel's socket is done, but the client may ask for the last acknowledgement again. */
Test(conn, timewait)
{
	struct rrc_conns *c = one();
	struct rrc_conn *conn = rrc_conns_get(c, 7);

	in(c, 0, "ab");
	wrote(c, "bye");
	changes(c, 7, TCP_ESTABLISHED, TCP_FIN_WAIT1);
	packet(c, 40000, RRC_TCP_ACK, 2, "", 4, 10);
	changes(c, 7, TCP_FIN_WAIT1, TCP_FIN_WAIT2);
	changes(c, 7, TCP_FIN_WAIT2, TCP_CLOSE);
	c = again(c);
	conn = rrc_conns_get(c, 7);
	cr_assert(conn && conn->s.gone);
	cr_assert_eq(conn->s.state, TCP_FIN_WAIT2);
	cr_assert(rrc_conn_fin_acked(conn) && !rrc_conn_fin_in(conn));
	packet(c, 40000, RRC_TCP_ACK | RRC_TCP_FIN, 2, "", 4, 10);
	cr_assert(rrc_conn_fin_in(conn), "its packets still count");
	unread_is(c, "ab");
	born(c, birth_of(8, 40000));
	cr_assert_null(rrc_conns_get(c, 7), "its ports are in use again");
	rrc_conns_free(c);
}

Test(conn, ends_that_leave_nothing)
{
	struct rrc_conns *c = one();

	changes(c, 7, TCP_ESTABLISHED, TCP_CLOSE); /* reset */
	cr_assert_null(rrc_conns_get(c, 7));
	born(c, birth_of(8, 40000));
	changes(c, 8, TCP_ESTABLISHED, TCP_CLOSE_WAIT);
	changes(c, 8, TCP_CLOSE_WAIT, TCP_LAST_ACK); /* by close: nobody reads */
	changes(c, 8, TCP_LAST_ACK, TCP_CLOSE);
	cr_assert_null(rrc_conns_get(c, 8));
	born(c, birth_of(9, 40000));
	packet(c, 40000, RRC_TCP_RST, 0, "", 0, 10);
	changes(c, 9, TCP_ESTABLISHED, TCP_FIN_WAIT2);
	changes(c, 9, TCP_FIN_WAIT2, TCP_CLOSE);
	cr_assert_null(rrc_conns_get(c, 9), "the client has reset it");
	rrc_conns_free(c);
}

static int count_syn(const struct rrc_packet *syn, const struct rrc_rec_packet *head, uint64_t ns,
		     void *ctx)
{
	cr_assert_eq(syn->seq, ISN_IN - 1);
	cr_assert_eq(head->mac_src[0], 2);
	cr_assert_eq(ns, 42);
	++*(int *)ctx;
	return 0;
}

Test(conn, handshakes_under_way)
{
	struct rrc_conns *c = one();
	int n = 0;

	packet(c, 40001, RRC_TCP_SYN, (uint32_t)-1, "", 0, 10);
	packet(c, 40000, RRC_TCP_SYN, (uint32_t)-1, "", 0, 10); /* the port is in use again */
	packet(c, 40002, RRC_TCP_SYN | RRC_TCP_ACK, (uint32_t)-1, "", 0, 10);
	c = again(c);
	rrc_conns_each_syn(c, count_syn, &n);
	cr_assert_eq(n, 2);
	born(c, birth_of(8, 40000));
	born(c, birth_of(9, 40001));
	n = 0;
	rrc_conns_each_syn(c, count_syn, &n);
	cr_assert_eq(n, 0, "both are complete");
	rrc_conns_free(c);
}

/* A flood of SYNs takes nothing from a connection that is just being born. */
Test(conn, many_handshakes)
{
	struct rrc_conns *c = rrc_conns_new();

	packet(c, 40000, RRC_TCP_SYN, (uint32_t)-1, "", 0, 10);
	in(c, 0, "hello");
	for (uint16_t i = 0; i < 900; i++)
		packet(c, (uint16_t)(1000 + i), RRC_TCP_SYN, (uint32_t)-1, "", 0, 10);
	born(c, birth_of(7, 40000));
	unread_is(c, "hello");
	cr_assert_eq(rrc_conns_get(c, 7)->s.mac_peer[0], 2);
	for (uint16_t i = 0; i < 3000; i++)
		packet(c, (uint16_t)(1000 + i), RRC_TCP_SYN, (uint32_t)-1, "", 0, 10);
	born(c, birth_of(8, 3999));
	cr_assert_eq(rrc_conns_get(c, 8)->s.mac_peer[0], 2, "of its SYN alone");
	rrc_conns_free(c);
}

Test(conn, those_that_are_gone_are_bounded)
{
	struct rrc_conns *c = rrc_conns_new();

	for (uint32_t i = 0; i < RRC_CONN_GONE + 100; i++) {
		born(c, birth_of(100 + i, (uint16_t)(1000 + i)));
		changes(c, 100 + i, TCP_ESTABLISHED, TCP_FIN_WAIT2);
		changes(c, 100 + i, TCP_FIN_WAIT2, TCP_CLOSE);
	}
	cr_assert_eq(rrc_conns_count(c), RRC_CONN_GONE);
	cr_assert_null(rrc_conns_get(c, 100), "the oldest go first");
	c = again(c);
	cr_assert_eq(rrc_conns_count(c), RRC_CONN_GONE);
	rrc_conns_free(c);
}
