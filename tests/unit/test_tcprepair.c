// SPDX-License-Identifier: MIT
/* A connection rebuilt in a socket and read back: nobody is at the other end, nothing is sent. */
#include <criterion/criterion.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netcfg.h"
#include "nl.h"
#include "tcprepair.h"
#include "util.h"

static struct rrc_error err;

static struct rrc_rec_conn make_birth(void)
{
	return (struct rrc_rec_conn){
		.cookie = 5,
		.family = AF_INET,
		.lport = 6379,
		.rport = 40000,
		.state = 1,
		.laddr = { 10, 9, 0, 2 },
		.raddr = { 10, 9, 0, 77 },
		.snd_nxt = 1000,
		.snd_una = 1000,
		.write_seq = 1000,
		.rcv_nxt = 5000,
		.copied_seq = 5000,
		.snd_wnd = 30000,
		.rcv_wnd = 65535,
		.mss_clamp = 1460,
		.sack_ok = 1,
		.wscale_ok = 1,
		.snd_wscale = 7,
		.rcv_wscale = 9,
		.tstamp_ok = 1,
		.ts_offset = 12345,
	};
}

static int make_link(void)
{
	static const char text[] = "link eth0 02:00:00:00:00:0a mtu 1500\naddr 10.9.0.2/24\n";
	struct rrc_netaddr peer = { AF_INET, 0, { 10, 9, 0, 77 } };
	int ns = rrc_netns_new(&err), old;
	struct rrc_netcfg cfg;
	struct mnl_socket *nl;

	cr_assert_geq(ns, 0, "%s", err.msg);
	cr_assert_eq(rrc_netcfg_parse(text, strlen(text), &cfg, &err), 0);
	/* Its other end goes into the same namespace: the host sees nothing of it. */
	cr_assert_eq(rrc_netns_enter(ns, &old, &err), 0);
	cr_assert_eq(rrc_netcfg_make(ns, &cfg, "rrcu-t", &err), 0, "%s", err.msg);
	nl = rrc_nl_open(-1, &err);
	cr_assert_eq(rrc_netcfg_wide_route(nl, if_nametoindex("eth0"), &cfg, &peer, 300), 0);
	mnl_socket_close(nl);
	rrc_netns_leave(old);
	return ns;
}

Test(tcprepair, rebuilt_and_read_back)
{
	static uint8_t unread[300000], unacked[50000], got[sizeof(unread)];
	struct rrc_conns *conns = rrc_conns_new();
	struct rrc_rec_conn birth = make_birth();
	struct rrc_tcp_place place = { 0 };
	struct rrc_tcp_snapshot snap;
	struct rrc_tcp_fix fix = { 0 };
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int ns, sock, one = 1, val = 0;

	if (geteuid())
		cr_skip_test("needs root");
	ns = make_link();
	for (size_t i = 0; i < sizeof(unread); i++)
		unread[i] = (uint8_t)(i * 7 >> 3);
	memset(unacked, 'w', sizeof(unacked));
	cr_assert_eq(rrc_conns_add(conns, &birth, unread, sizeof(unread), unacked, sizeof(unacked),
				   &err),
		     0);
	sock = rrc_netns_socket(ns, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	shutdown(sock, SHUT_RDWR); /* as CRIU leaves it */
	cr_assert_eq(rrc_tcp_rebuild(sock, rrc_conns_get(conns, 5), &place, &fix, &err), 0, "%s",
		     err.msg);
	cr_assert_eq(rrc_tcp_release(&fix, &err), 0);
	cr_assert_eq(rrc_tcp_resume(&fix, rrc_conns_get(conns, 5), &err), 0, "%s", err.msg);

	cr_assert_eq(getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	cr_assert_eq(info.tcpi_state, 1);
	cr_assert_eq(info.tcpi_snd_wscale, 7);
	cr_assert_eq(info.tcpi_rcv_wscale, 9);
	cr_assert_eq(info.tcpi_snd_mss, 1448);
	cr_assert_eq(info.tcpi_snd_cwnd, 300, "by the route to the peer");
	len = sizeof(val);
	getsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &val, &len);
	cr_assert_eq(val, 1);

	cr_assert_eq(rrc_tcp_snapshot(sock, &snap, &err), 0, "%s", err.msg);
	cr_assert_eq(snap.birth.write_seq, 1000);
	cr_assert_eq(snap.birth.copied_seq, 5000);
	cr_assert_eq(snap.birth.mss_clamp, 1460);
	cr_assert_eq(snap.birth.snd_wnd, 30000);
	cr_assert_eq(snap.birth.rport, 40000);
	cr_assert(snap.birth.sack_ok && snap.birth.wscale_ok && snap.birth.tstamp_ok);
	cr_assert_lt((int32_t)(snap.birth.ts_offset - 12345), 300, "ahead, but not by much");
	cr_assert_geq((int32_t)(snap.birth.ts_offset - 12345), 0, "never behind");
	cr_assert_eq(snap.nunread, sizeof(unread));
	cr_assert_arr_eq(snap.unread, unread, sizeof(unread));
	cr_assert_eq(snap.nunacked, sizeof(unacked));
	cr_assert_arr_eq(snap.unacked, unacked, sizeof(unacked));
	rrc_tcp_snapshot_free(&snap);
	cr_assert_eq(recv(sock, got, sizeof(got), 0), (ssize_t)sizeof(got), "nothing was consumed");
	cr_assert_arr_eq(got, unread, sizeof(got));
	close(sock);
	close(ns);
	rrc_conns_free(conns);
}

Test(tcprepair, a_refusal_leaves_the_socket_closed)
{
	struct rrc_conns *conns = rrc_conns_new();
	struct rrc_rec_conn birth = make_birth();
	struct rrc_tcp_place place = { 0 };
	struct rrc_tcp_fix fix = { 0 };
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int ns, sock;

	if (geteuid())
		cr_skip_test("needs root");
	ns = make_link();
	birth.laddr[3] = 99; /* not an address of this link */
	cr_assert_eq(rrc_conns_add(conns, &birth, NULL, 0, NULL, 0, &err), 0);
	sock = rrc_netns_socket(ns, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_lt(rrc_tcp_rebuild(sock, rrc_conns_get(conns, 5), &place, &fix, &err), 0);
	cr_assert_not_null(strstr(err.msg, "10.9.0.99:6379 <- 10.9.0.77:40000: addresses"), "%s",
			   err.msg);
	cr_assert_eq(getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	cr_assert_eq(info.tcpi_state, 7);
	cr_assert_lt(rrc_tcp_snapshot(sock, &(struct rrc_tcp_snapshot){ 0 }, &err), 0);
	close(sock);
	close(ns);
	rrc_conns_free(conns);
}
