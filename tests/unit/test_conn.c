// SPDX-License-Identifier: MIT
/* The table of connections: what records do to it, and that it survives being saved. */
#include "unit_conn.h"

Test(conn, data_in_every_order)
{
	static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					 { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	static const char *const parts[] = { "0123456789", "abcdefghijklmnop", "ABCDEFGH" };
	static const uint32_t offs[] = { 0, 10, 26 };

	for (size_t i = 0; i < RRC_ARRAY_SIZE(orders); i++) {
		struct rrc_conns *c = one();

		for (int j = 0; j < 3; j++)
			in(c, offs[orders[i][j]], parts[orders[i][j]]);
		unread_is(c, "0123456789abcdefghijklmnopABCDEFGH");
		rrc_conns_free(c);
	}
}

Test(conn, overlaps_and_repeats)
{
	struct rrc_conns *c = one();

	in(c, 0, "0123");
	in(c, 0, "0123");
	in(c, 8, "89");
	in(c, 2, "2345");
	in(c, 5, "5678");
	unread_is(c, "0123456789");
	call(c, __NR_read, 7, 0, 0, NULL, 0);
	in(c, 0, "0123"); /* read long ago */
	in(c, 6, "6789ab");
	unread_is(c, "789ab");
	rrc_conns_free(c);
}

Test(conn, reads_that_take_and_reads_that_do_not)
{
	struct rrc_conns *c = one();

	in(c, 0, "0123456789abcdef");
	call(c, __NR_recvfrom, 4, 4, MSG_PEEK, NULL, 0);
	unread_is(c, "0123456789abcdef");
	call(c, __NR_recvfrom, 4, 4, MSG_TRUNC, NULL, 0);
	call(c, __NR_recvmsg, 2, 0, 0, NULL, 0);
	call(c, __NR_recvmsg, 2, MSG_PEEK, 0, NULL, 0);
	call(c, __NR_readv, 1, 1, 0, NULL, 0);
	call(c, __NR_read, -11, 0, 0, NULL, 0);
	unread_is(c, "789abcdef");
	rrc_conns_free(c);
}

/* Re-execution has ended before these: they must neither take bytes nor add any. */
Test(conn, calls_that_are_not_executed_do_nothing)
{
	struct rrc_conns *c = one();
	struct seg out = { "lost", 4, 0, RRC_SEG_IN };
	struct rrc_rec rec = { .kind = RRC_REC_SYSCALL,
			       .fdkind = RRC_FD_TCP,
			       .obj = 7,
			       .tid = 1,
			       .pid = 1,
			       .nr = __NR_write,
			       .ret = 4,
			       .args = { 5 } };

	wrote(c, "sent");
	in(c, 0, "0123456789");
	call(c, __NR_read, 3, 0, 0, NULL, 0);
	cr_assert_eq(rrc_conns_apply_outside(c, make_rec(rec, &out, 1), &err), 0, "%s", err.msg);
	rec.nr = __NR_read;
	rec.ret = 5;
	cr_assert_eq(rrc_conns_apply_outside(c, make_rec(rec, NULL, 0), &err), 0, "%s", err.msg);
	rec = (struct rrc_rec){ .kind = RRC_REC_CONN_STATE,
				.obj = 7,
				.args = { TCP_LAST_ACK, TCP_CLOSE } };
	cr_assert_eq(rrc_conns_apply_outside(c, make_rec(rec, NULL, 0), &err), 0, "%s", err.msg);
	unread_is(c, "3456789");
	unacked_is(c, "sent");
	rrc_conns_free(c);
}

Test(conn, missing_bytes_that_were_read_do_not_matter)
{
	struct rrc_conns *c = one();

	in(c, 4, "4567");
	call(c, __NR_read, 6, 0, 0, NULL, 0);
	unread_is(c, "67");
	cr_assert_eq(rrc_conns_stats(c)->healed, 1);
	cr_assert_eq(rrc_conn_fault(rrc_conns_get(c, 7)), RRC_CONN_SOUND);
	rrc_conns_free(c);
}

Test(conn, acknowledgements)
{
	struct rrc_conns *c = one();
	struct rrc_conn *conn = rrc_conns_get(c, 7);

	wrote(c, "0123456789");
	wrote(c, "abcdefghijklmnopqrstuvwxyz");
	packet(c, 40000, RRC_TCP_ACK, 0, "", 12, 100);
	unacked_is(c, "cdefghijklmnopqrstuvwxyz");
	cr_assert_eq(conn->s.snd_wnd, 800);
	packet(c, 40000, RRC_TCP_ACK, 0, "", 5, 1); /* older */
	unacked_is(c, "cdefghijklmnopqrstuvwxyz");
	cr_assert_eq(conn->s.snd_wnd, 800);
	/* The client has bytes of a write that has not returned. */
	packet(c, 40000, RRC_TCP_ACK, 0, "", 40, 50);
	unacked_is(c, "");
	cr_assert_eq(conn->s.acked, 36);
	cr_assert_eq(conn->s.claimed, 40);
	wrote(c, "ABCDEFGH");
	unacked_is(c, "EFGH");
	/* Nobody can have that much. */
	packet(c, 40000, RRC_TCP_ACK, 0, "", 40 + 10000000, 50);
	cr_assert_eq(conn->s.claimed, 40);
	cr_assert_eq(rrc_conn_out_seq(conn, conn->s.acked), ISN_OUT + 40);
	rrc_conns_free(c);
}

Test(conn, only_data_segments_count)
{
	struct rrc_conns *c = one();
	struct seg msg[] = { { "hello", 5, 0, RRC_SEG_IN }, { "name", 4, 1, RRC_SEG_IN } };
	struct seg file[] = { { "offset!!", 8, 0, RRC_SEG_OUT }, { "page", 4, 1, RRC_SEG_IN } };

	cr_assert_eq(rrc_sysrow(__NR_sendmsg)->seg[0].len, RRC_LEN_MSGHDR);
	call(c, __NR_sendmsg, 5, 0, 0, msg, 2);
	call(c, __NR_sendfile, 4, 0, 0, file, 2);
	unacked_is(c, "hellopage");
	rrc_conns_free(c);
}

Test(conn, lost_bytes_are_a_fault_until_acknowledged)
{
	struct rrc_conns *c = one();
	struct rrc_conn *conn = rrc_conns_get(c, 7);

	wrote(c, "0123");
	call(c, __NR_sendfile, 1000, 0, 0, NULL, 0);
	cr_assert_eq(rrc_conn_fault(conn), RRC_CONN_OUT_LOST);
	wrote(c, "after");
	packet(c, 40000, RRC_TCP_ACK, 0, "", 1004, 100);
	cr_assert_eq(rrc_conn_fault(conn), RRC_CONN_SOUND);
	unacked_is(c, "after");
	rrc_conns_free(c);
}

Test(conn, data_before_the_birth)
{
	struct rrc_conns *c = rrc_conns_new();

	in(c, 0, "SET a 1");
	packet(c, 40001, RRC_TCP_ACK, 0, "another's", 0, 10);
	cr_assert_eq(rrc_conns_stats(c)->unknown, 2);
	born(c, birth_of(7, 40000));
	unread_is(c, "SET a 1");
	cr_assert_eq(rrc_conns_stats(c)->early_used, 1);
	rrc_conns_free(c);
}

Test(conn, outside_the_window)
{
	struct rrc_conns *c = one();

	in(c, 65535, "x");
	in(c, 0x80000000u, "x");
	cr_assert_eq(rrc_conns_stats(c)->out_of_window, 2);
	in(c, 65534, "x");
	cr_assert_eq(rrc_conns_get(c, 7)->s.nspans, 1);
	rrc_conns_free(c);
}

Test(conn, too_many_islands_are_a_fault_until_filled)
{
	struct rrc_conns *c = one();
	struct rrc_conn *conn = rrc_conns_get(c, 7);

	for (uint32_t i = 0; i < 1100; i++)
		in(c, 2 + 2 * i, "x");
	cr_assert_eq(conn->s.nspans, 1024);
	cr_assert_eq(rrc_conn_fault(conn), RRC_CONN_IN_LOST);
	for (uint32_t i = 0; i < 2300; i++)
		in(c, i, "x");
	cr_assert_eq(conn->s.rcvd, 2300);
	cr_assert_eq(conn->s.nspans, 0);
	cr_assert_eq(rrc_conn_fault(conn), RRC_CONN_SOUND);
	rrc_conns_free(c);
}

Test(conn, ends)
{
	struct rrc_conns *c = one();
	struct rrc_conn *conn = rrc_conns_get(c, 7);
	struct rrc_rec state = { .kind = RRC_REC_CONN_STATE,
				 .obj = 7,
				 .args = { TCP_ESTABLISHED, TCP_CLOSE_WAIT } };

	packet(c, 40000, RRC_TCP_ACK | RRC_TCP_FIN, 2, "cd", 0, 10);
	cr_assert(!rrc_conn_fin_in(conn));
	in(c, 0, "ab");
	cr_assert(rrc_conn_fin_in(conn));
	in(c, 4, "behind the end");
	unread_is(c, "abcd");
	apply(c, state, NULL, 0);
	cr_assert_eq(conn->s.state, TCP_CLOSE_WAIT);
	wrote(c, "bye");
	apply(c,
	      (struct rrc_rec){ .kind = RRC_REC_SYSCALL,
				.fdkind = RRC_FD_TCP,
				.obj = 7,
				.tid = 1,
				.nr = __NR_shutdown,
				.args = { 5, SHUT_WR } },
	      NULL, 0);
	cr_assert(conn->s.shut_wr && !conn->s.shut_rd);
	packet(c, 40000, RRC_TCP_ACK, 5, "", 3, 10);
	cr_assert(!rrc_conn_fin_acked(conn));
	packet(c, 40000, RRC_TCP_ACK, 5, "", 4, 10);
	cr_assert(rrc_conn_fin_acked(conn));
	cr_assert_eq(conn->s.acked, 3);
	packet(c, 40000, RRC_TCP_RST, 4, "", 4, 10);
	cr_assert(!conn->s.peer_rst, "wrong number: the FIN has one, too");
	packet(c, 40000, RRC_TCP_RST, 5, "", 4, 10);
	cr_assert(conn->s.peer_rst);
	state.args[1] = TCP_CLOSE;
	apply(c, state, NULL, 0);
	cr_assert_null(rrc_conns_get(c, 7));
	cr_assert_eq(rrc_conns_count(c), 0);
	rrc_conns_free(c);
}

Test(conn, accepted_by_any_call)
{
	struct rrc_conns *c = one();

	cr_assert(!rrc_conns_get(c, 7)->s.accepted);
	call(c, __NR_accept4, 5, 0, 0, NULL, 0);
	cr_assert(rrc_conns_get(c, 7)->s.accepted);
	rrc_conns_free(c);
}

Test(conn, same_ports_again)
{
	struct rrc_conns *c = one();

	born(c, birth_of(8, 40000));
	cr_assert_eq(rrc_conns_count(c), 1);
	cr_assert_null(rrc_conns_get(c, 7));
	in(c, 0, "new");
	cr_assert_eq(rrc_conns_get(c, 8)->s.rcvd, 3);
	rrc_conns_free(c);
}

Test(conn, v4_in_a_v6_socket)
{
	struct rrc_rec_conn b = birth_of(7, 40000);
	struct rrc_conns *c = rrc_conns_new();
	uint8_t l[16], r[16];
	char name[128];

	b.family = AF_INET6;
	memset(b.laddr, 0, 32);
	memcpy(b.laddr + 10, (uint8_t[]){ 0xff, 0xff, 10, 0, 0, 1 }, 6);
	memcpy(b.raddr + 10, (uint8_t[]){ 0xff, 0xff, 10, 0, 0, 9 }, 6);
	born(c, b);
	in(c, 0, "mapped");
	unread_is(c, "mapped");
	cr_assert_eq(rrc_conn_addrs(rrc_conns_get(c, 7), l, r), AF_INET);
	cr_assert_str_eq(rrc_conn_name(rrc_conns_get(c, 7), name, sizeof(name)),
			 "10.0.0.1:6379 <- 10.0.0.9:40000");
	rrc_conns_free(c);
}

static struct rrc_conns *busy(void)
{
	struct rrc_conns *c = one();

	in(c, 0, "unread");
	in(c, 10, "island");
	wrote(c, "unacknowledged");
	packet(c, 40000, RRC_TCP_ACK, 6, "", 2, 10);
	born(c, birth_of(9, 40009));
	packet(c, 40077, RRC_TCP_ACK, 0, "early", 0, 10);
	return c;
}

Test(conn, saved_and_loaded)
{
	struct rrc_conns *c = busy();
	uint8_t *a, *b;
	size_t na, nb;

	cr_assert_eq(rrc_conns_save(c, &a, &na, &err), 0);
	rrc_conns_free(c);
	c = rrc_conns_load(a, na, &err);
	cr_assert_not_null(c, "%s", err.msg);
	unread_is(c, "unread");
	unacked_is(c, "acknowledged");
	cr_assert_eq(rrc_conns_save(c, &b, &nb, &err), 0);
	cr_assert_eq(na, nb);
	in(c, 6, "6789");
	unread_is(c, "unread6789island");
	struct rrc_rec_conn late = birth_of(7, 40077);

	born(c, late);
	unread_is(c, "early");
	free(a);
	free(b);
	rrc_conns_free(c);
}

Test(conn, damaged_anywhere)
{
	struct rrc_conns *c = busy();
	uint8_t *a;
	size_t n;

	cr_assert_eq(rrc_conns_save(c, &a, &n, &err), 0);
	rrc_conns_free(c);
	for (size_t i = 0; i < n; i++) {
		a[i] ^= 0x41;
		memset(&err, 0, sizeof(err));
		cr_assert_null(rrc_conns_load(a, n, &err), "byte %zu", i);
		cr_assert(err.exit == RRC_EXIT_FAILED && err.msg[0]);
		a[i] ^= 0x41;
		cr_assert_null(rrc_conns_load(a, i, &err), "cut at %zu", i);
	}
	free(a);
}

Test(conn, ten_thousand)
{
	struct rrc_conns *c = rrc_conns_new();

	for (uint64_t i = 1; i <= 10000; i++)
		born(c, birth_of(i, (uint16_t)(20000 + i)));
	cr_assert_eq(rrc_conns_count(c), 10000);
	for (uint64_t i = 1; i <= 10000; i++)
		packet(c, (uint16_t)(20000 + i), RRC_TCP_ACK, 0, "x", 0, 10);
	for (uint64_t i = 1; i <= 10000; i++)
		cr_assert_eq(rrc_conns_get(c, i)->s.rcvd, 1);
	for (uint64_t i = 1; i <= 10000; i++)
		rrc_conns_remove(c, i);
	cr_assert_eq(rrc_conns_count(c), 0);
	rrc_conns_free(c);
}

/* A long download: memory follows what is outstanding, not what has passed. */
Test(conn, memory_is_bounded)
{
	struct rrc_conns *c = one();
	struct rrc_conn *conn = rrc_conns_get(c, 7);
	static char block[65537];

	memset(block, 'x', 65536);
	for (uint32_t i = 1; i <= 2000; i++) {
		wrote(c, block);
		packet(c, 40000, RRC_TCP_ACK, 0, "", i * 65536, 8192);
	}
	cr_assert_eq(conn->s.written, 2000ull * 65536);
	cr_assert_leq(conn->out.cap, 65536u * 4);
	rrc_conns_free(c);
}
