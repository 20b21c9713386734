// SPDX-License-Identifier: MIT
/* Go-live of the connections, see connections.h. */
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "closing.h"
#include "connections.h"
#include "ingress.h"
#include "nl.h"
#include "parallel.h"
#include "rawlink.h"
#include "unaccepted.h"
#include "unread.h"
#include "util.h"

#define ASK_NS	    5000000ull /* a living client on the same network answers within 0.3 ms */
#define ASK_EACH_NS 20000ull /* more time for many clients */
#define GONE_AGE_NS 10000000000ll
#define REVERTS	    5 /* doublings of a client's timer that are taken back: 6 s of silence */
#define TSO_MAX	    65536 /* a burst; TCP waits for a whole one to fit into the window */
#define MIN_MSS	    100u
#define TS_LEN	    12 /* what the timestamps take of each segment */
#define NEIGHBOURS  256 /* entries made in advance; the kernel asks for the rest itself */

struct one { /* one connection on its way */
	struct rrc_conn *conn;
	int sock;
	uint8_t what, why;
	bool answered, reset_late;
	struct rrc_tcp_fix fix;
};

struct rrc_takeover {
	const struct rrc_takeover_opts *opts;
	uint32_t ifindex;
	struct rrc_rawlink link;
	bool closed; /* the ingress */
	struct rrc_tcp_place place;
	struct one *all;
	uint32_t n;
	pthread_mutex_t lock; /* of the next */
	struct rrc_error failure; /* the first refusal */
	struct rrc_conn **waiting; /* those that are not accepted, by birth */
	uint32_t nwaiting;
	struct rrc_unaccepted *unaccepted; /* NULL: this kernel cannot */
};

static const char *const what_names[RRC_TAKEN_WHATS] = {
	[RRC_TAKEN_REBUILT] = "rebuilt",     [RRC_TAKEN_REBORN] = "to be accepted",
	[RRC_TAKEN_FINISHING] = "finishing", [RRC_TAKEN_RESET] = "reset",
	[RRC_TAKEN_CLOSED] = "closed",
};

static const char *const why_names[RRC_WHYS] = {
	[RRC_WHY_NONE] = "",
	[RRC_WHY_NOT_ACCEPTED] =
		"not accepted by the application, and the listener cannot have it again",
	[RRC_WHY_NO_SOCKET] = "the restored container has no socket for it",
	[RRC_WHY_LOST] = "bytes of it are missing in the log",
	[RRC_WHY_OVER] = "both ends had finished",
	[RRC_WHY_PEER_RESET] = "reset by the client",
	[RRC_WHY_INSIDE] = "both ends are in the container",
	[RRC_WHY_FAILED] = "the kernel refused",
};

const char *rrc_takeover_what_name(enum rrc_takeover_what what)
{
	return what_names[what];
}

const char *rrc_takeover_why_name(enum rrc_takeover_reason why)
{
	return why_names[why];
}

struct rrc_takeover *rrc_takeover_prepare(const struct rrc_takeover_opts *opts,
					  struct rrc_error *err)
{
	struct rrc_takeover *t = calloc(1, sizeof(*t));
	int old;

	if (!t) {
		rrc_fail(err, -ENOMEM, "no memory for the takeover");
		return NULL;
	}
	t->opts = opts;
	pthread_mutex_init(&t->lock, NULL);
	t->link.sock = t->link.inject = -1;
	if (rrc_netns_enter(opts->netns, &old, err))
		goto fail;
	t->ifindex = if_nametoindex(opts->cfg->ifname);
	rrc_netns_leave(old);
	if (!t->ifindex) {
		rrc_fail(err, -ENODEV, "the restored container has no link %s", opts->cfg->ifname);
		goto fail;
	}
	if (rrc_ingress_close(opts->netns, t->ifindex, err))
		goto fail;
	t->closed = true;
	if (!rrc_rawlink_open(&t->link, opts->netns, t->ifindex, opts->cfg->mac, opts->hostif, err))
		return t;
fail:
	rrc_takeover_free(t);
	return NULL;
}

static int open_ingress(struct rrc_takeover *t, struct rrc_error *err)
{
	if (!t->closed)
		return 0;
	t->closed = false;
	return rrc_ingress_open(t->opts->netns, t->ifindex, err);
}

static void drop_all(struct rrc_takeover *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->all[i].sock >= 0)
			close(t->all[i].sock);
	free(t->all);
	free(t->waiting);
	t->all = NULL;
	t->waiting = NULL;
	t->n = t->nwaiting = 0;
}

void rrc_takeover_free(struct rrc_takeover *t)
{
	if (!t)
		return;
	drop_all(t);
	open_ingress(t, NULL);
	rrc_unaccepted_free(t->unaccepted);
	rrc_rawlink_close(&t->link);
	free(t);
}

/* ---- what becomes of each ---- */

static void decide(struct one *o, uint8_t what, uint8_t why)
{
	o->what = what;
	o->why = why;
}

/* Before the clients are asked: what needs no answer, and whose socket it is. */
static int add_one(struct rrc_conn *conn, void *ctx)
{
	struct rrc_takeover *t = ctx;
	struct one *o = &t->all[t->n];

	*o = (struct one){ .conn = conn, .sock = -1 };
	conn->mark = t->n++;
	if (conn->s.birth.loopback) {
		decide(o, RRC_TAKEN_CLOSED, RRC_WHY_INSIDE);
		return 0;
	}
	if (rrc_conn_fault(conn)) {
		decide(o, RRC_TAKEN_RESET, RRC_WHY_LOST);
		return 0;
	}
	o->sock = t->opts->lookup(t->opts->ctx, conn->s.birth.cookie);
	if (o->sock >= 0)
		return 0;
	if (rrc_conn_fin_sent(conn)) {
		decide(o, RRC_TAKEN_FINISHING, RRC_WHY_NONE);
	} else if (conn->s.accepted) {
		decide(o, RRC_TAKEN_RESET, RRC_WHY_NO_SOCKET);
	} else if (conn->s.peer_rst) {
		decide(o, RRC_TAKEN_CLOSED, RRC_WHY_PEER_RESET);
	} else {
		decide(o, RRC_TAKEN_REBORN, RRC_WHY_NONE);
		t->waiting[t->nwaiting++] = conn;
	}
	return 0;
}

/* ---- the clients ---- */

/* What was never answered needs no question; one that the application alone still holds has no client
 * any more. */
static bool wants_answer(const struct one *o)
{
	return o->what != RRC_TAKEN_CLOSED && o->what != RRC_TAKEN_REBORN &&
	       !(o->conn->s.gone && o->sock >= 0);
}

static void ask_all(struct rrc_takeover *t, bool again)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct one *o = &t->all[i];

		if (o->answered || !wants_answer(o))
			continue;
		rrc_rawlink_ask(&t->link, o->conn, rrc_tcp_tsval(o->conn, &t->place), again);
	}
	rrc_rawlink_flush(&t->link);
}

static int hear(struct rrc_takeover *t, struct rrc_conns *conns, uint32_t *answered,
		struct rrc_error *err)
{
	struct rrc_conn *conn;
	int ret;

	while ((ret = rrc_rawlink_read(&t->link, conns, &conn, err)) > 0) {
		struct one *o = conn ? &t->all[conn->mark] : NULL;

		if (!o || o->conn != conn || o->answered)
			continue;
		o->answered = true;
		(*answered)++;
	}
	return ret;
}

/* How many can answer at all. */
static uint32_t count_asked(const struct rrc_takeover *t)
{
	static const uint8_t no_mac[6];
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n; i++)
		n += wants_answer(&t->all[i]) && memcmp(t->all[i].conn->s.mac_peer, no_mac, 6);
	return n;
}

/*
 * A client knows best what it has: the log may lack its last acknowledgements, and bytes sent below
 * what it has would stall. Afterwards nothing more is heard, so that what is rebuilt does not move.
 */
static int ask(struct rrc_takeover *t, struct rrc_conns *conns, struct rrc_takeover_report *rep,
	       struct rrc_error *err)
{
	uint64_t wait = (t->opts->ask_ns ? t->opts->ask_ns : ASK_NS) + t->n * ASK_EACH_NS;
	uint64_t start = rrc_now_ns(CLOCK_MONOTONIC), now = start;
	struct pollfd p = { .fd = t->link.sock, .events = POLLIN };
	uint32_t asked = count_asked(t);
	bool again = false;
	int ret = 0;

	if (asked)
		ask_all(t, false);
	while (!ret && rep->answered < asked && now - start < wait) {
		uint64_t left =
			(again ? wait : wait / 2) - rrc_min(now - start, again ? wait : wait / 2);
		struct timespec ts = { .tv_sec = (time_t)(left / 1000000000),
				       .tv_nsec = (long)(left % 1000000000) };

		if (ppoll(&p, 1, &ts, NULL) > 0)
			ret = hear(t, conns, &rep->answered, err);
		now = rrc_now_ns(CLOCK_MONOTONIC);
		if (!ret && !again && now - start >= wait / 2) {
			ask_all(t, true);
			again = true;
		}
	}
	return ret;
}

static void know_neighbours(struct rrc_takeover *t)
{
	static const uint8_t no_mac[6];
	struct rrc_netaddr known[NEIGHBOURS];
	uint32_t n = 0, j;
	struct mnl_socket *nl = rrc_nl_open(t->opts->netns, NULL);

	for (uint32_t i = 0; nl && i < t->n && n < NEIGHBOURS; i++) {
		const struct rrc_conn *conn = t->all[i].conn;
		struct rrc_netaddr a = { 0 };
		uint8_t local[16];

		a.family = (uint8_t)rrc_conn_addrs(conn, local, a.addr);
		if (!memcmp(conn->s.mac_peer, no_mac, 6) || !rrc_netcfg_onlink(t->opts->cfg, &a))
			continue;
		for (j = 0; j < n && memcmp(&known[j], &a, sizeof(a)); j++)
			;
		if (j < n)
			continue;
		known[n++] = a;
		rrc_netcfg_neigh(nl, t->ifindex, &a, conn->s.mac_peer);
	}
	if (nl)
		mnl_socket_close(nl);
}

/* ---- rebuilding ---- */

/* On any thread. */
static void refused(struct rrc_takeover *t, struct one *o, const struct rrc_error *err)
{
	pthread_mutex_lock(&t->lock);
	if (!t->failure.exit)
		t->failure = *err;
	pthread_mutex_unlock(&t->lock);
	decide(o, RRC_TAKEN_RESET, RRC_WHY_FAILED);
}

/*
 * Both ends had finished, so mostly there is no client any more, and it said so. One that asked for our
 * last acknowledgement just before will ask again, also if it cannot be reached right now.
 */
static bool is_over(const struct rrc_takeover *t, const struct one *o)
{
	const struct rrc_conn *conn = o->conn;
	int64_t age =
		(int64_t)rrc_now_ns(CLOCK_MONOTONIC) + t->opts->skew_ns - (int64_t)conn->s.seen_ns;

	if (!conn->s.gone || o->sock >= 0)
		return false;
	return conn->s.peer_rst || (!o->answered && age > GONE_AGE_NS);
}

static void rebuild(struct rrc_takeover *t, struct one *o)
{
	struct rrc_conn *conn = o->conn;
	struct rrc_error err = { 0 };

	if (o->what != RRC_TAKEN_REBUILT && o->what != RRC_TAKEN_FINISHING)
		return;
	if (is_over(t, o)) {
		decide(o, RRC_TAKEN_CLOSED, RRC_WHY_OVER);
		return;
	}
	if (conn->s.peer_rst && !conn->s.gone) {
		decide(o, RRC_TAKEN_CLOSED, RRC_WHY_PEER_RESET);
		return;
	}
	if (o->what == RRC_TAKEN_FINISHING) {
		/* Nobody will read; and unread bytes would turn our close into a reset. */
		conn->s.read = conn->s.rcvd;
		rrc_stream_drop(&conn->in, conn->s.read);
		o->sock = rrc_netns_socket(t->opts->netns, conn->s.birth.family,
					   SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (o->sock < 0) {
			rrc_fail(&err, o->sock, "make a socket: %s", strerror(-o->sock));
			refused(t, o, &err);
			return;
		}
	}
	o->fix.measure = o->answered && conn->s.claimed == conn->s.acked;
	if (rrc_tcp_rebuild(o->sock, conn, &t->place, &o->fix, &err))
		refused(t, o, &err);
}

/*
 * A write that had not returned had sent bytes already, and the client has them. The application will
 * write them again (it must: it computes the same), and the client throws them away. But our kernel
 * takes no acknowledgement of what it has not sent, so they must all go out in the first window.
 */
static uint64_t sent_again(const struct one *o)
{
	return o->conn->s.claimed - o->conn->s.acked;
}

static bool needs_wide(const struct one *o)
{
	return sent_again(o) > rrc_max(o->conn->s.birth.mss_clamp, MIN_MSS);
}

static void rebuild_wide(struct rrc_takeover *t, struct one *o)
{
	uint32_t mss = rrc_max(o->conn->s.birth.mss_clamp, MIN_MSS);
	struct mnl_socket *nl = rrc_nl_open(t->opts->netns, NULL);
	struct rrc_netaddr peer = { 0 };
	uint8_t local[16];

	if (!nl) {
		rebuild(t, o);
		return;
	}
	peer.family = (uint8_t)rrc_conn_addrs(o->conn, local, peer.addr);
	rrc_netcfg_wide_route(nl, t->ifindex, t->opts->cfg, &peer,
			      (uint32_t)(sent_again(o) / (mss - TS_LEN)) + 3 * (TSO_MAX / mss + 1));
	rebuild(t, o);
	rrc_netcfg_wide_route(nl, t->ifindex, t->opts->cfg, &peer, 0);
	mnl_socket_close(nl);
}

static void rebuild_nth(void *ctx, uint32_t i)
{
	struct rrc_takeover *t = ctx;

	if (!needs_wide(&t->all[i]))
		rebuild(t, &t->all[i]);
}

/* A route to a client that was made wide for one connection must not be there for another. */
static void rebuild_all(struct rrc_takeover *t)
{
	rrc_parallel(t->n, rebuild_nth, t);
	for (uint32_t i = 0; i < t->n; i++)
		if (needs_wide(&t->all[i]))
			rebuild_wide(t, &t->all[i]);
}

/* ---- those that are not accepted ---- */

static void expect_unaccepted(struct rrc_takeover *t, struct rrc_conns *conns)
{
	struct rrc_error why = { 0 };

	rrc_unaccepted_free(t->unaccepted);
	t->unaccepted =
		rrc_unaccepted_expect(t->opts->reborn, t->opts->netns, t->ifindex, t->opts->cfg,
				      &t->place, conns, t->waiting, t->nwaiting, &why);
	if (!t->unaccepted && t->nwaiting && !t->failure.exit)
		t->failure = why;
}

static void make_unaccepted(struct rrc_takeover *t, struct rrc_conns *conns,
			    struct rrc_takeover_report *rep)
{
	for (uint32_t i = 0; i < t->nwaiting; i++) {
		struct rrc_conn *conn = t->waiting[i];

		if (!t->unaccepted || rrc_unaccepted_make(t->unaccepted, &t->link, conn))
			decide(&t->all[conn->mark], RRC_TAKEN_RESET, RRC_WHY_NOT_ACCEPTED);
	}
	if (t->unaccepted)
		rep->handshakes = rrc_unaccepted_answer(t->unaccepted, &t->link, conns);
}

void rrc_takeover_again(struct rrc_takeover *t, struct rrc_conns *conns)
{
	if (t->unaccepted)
		rrc_unaccepted_answer(t->unaccepted, &t->link, conns);
}

static bool goes_on(const struct one *o)
{
	return o->what == RRC_TAKEN_REBUILT || o->what == RRC_TAKEN_FINISHING;
}

/* An acknowledgement of more than the client knew makes it send at once. If it knew, what it sent
 * last is lost and it waits for a timer: that is made as short as it can be. */
static void nudge_one(struct rrc_takeover *t, const struct one *o)
{
	rrc_rawlink_ack(&t->link, o->conn, rrc_tcp_tsval_now(&o->fix));
	if (o->fix.measure)
		rrc_rawlink_ask(&t->link, o->conn, rrc_tcp_tsval_now(&o->fix), true);
	for (int i = 0; i < REVERTS && o->conn->s.peer_nxt > o->conn->s.rcvd; i++)
		rrc_rawlink_revert_timer(&t->link, o->conn);
}

static void nudge_all(struct rrc_takeover *t)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct one *o = &t->all[i];

		if (goes_on(o) && !o->conn->s.gone)
			nudge_one(t, o);
		else if (o->what == RRC_TAKEN_RESET)
			rrc_rawlink_reset(&t->link, o->conn);
	}
	rrc_rawlink_flush(&t->link);
}

/* A socket of ours that finishes a connection is left to the kernel: it sends what is queued, and
 * the FIN, after close as before it. */
static void resume_nth(void *ctx, uint32_t i)
{
	struct rrc_takeover *t = ctx;
	struct one *o = &t->all[i];
	struct rrc_error err = { 0 };

	if (!goes_on(o) ||
	    !rrc_closing_resume(&t->link, &o->fix, o->conn, o->what == RRC_TAKEN_REBUILT, &err))
		return;
	refused(t, o, &err);
	rrc_tcp_abort(o->sock);
	o->reset_late = true;
}

static void resume_all(struct rrc_takeover *t)
{
	rrc_parallel(t->n, resume_nth, t);
	for (uint32_t i = 0; i < t->n; i++)
		if (t->all[i].reset_late)
			rrc_rawlink_reset(&t->link, t->all[i].conn);
	rrc_rawlink_flush(&t->link);
}

static int fill_report(struct rrc_takeover *t, struct rrc_takeover_report *rep)
{
	rep->failure = t->failure;
	rep->entries = calloc(t->n + 1, sizeof(*rep->entries));
	if (!rep->entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n; i++) {
		const struct one *o = &t->all[i];
		struct rrc_takeover_entry *e;

		if (o->why == RRC_WHY_OVER)
			continue;
		rep->total++;
		rep->what[o->what]++;
		rep->why[o->why]++;
		if (goes_on(o) || o->what == RRC_TAKEN_REBORN)
			rep->unread += o->conn->s.rcvd - o->conn->s.read;
		if (goes_on(o))
			rep->resent += o->conn->s.written - o->conn->s.acked;
		if (o->what == RRC_TAKEN_REBUILT || o->what == RRC_TAKEN_REBORN)
			continue;
		e = &rep->entries[rep->nentries++];
		*e = (struct rrc_takeover_entry){ .cookie = o->conn->s.birth.cookie,
						  .what = o->what,
						  .why = o->why };
		rrc_conn_name(o->conn, e->name, sizeof(e->name));
	}
	return 0;
}

static void release_nth(void *ctx, uint32_t i)
{
	struct rrc_takeover *t = ctx;
	struct rrc_error err = { 0 };

	if (goes_on(&t->all[i]) && rrc_tcp_release(&t->all[i].fix, &err))
		refused(t, &t->all[i], &err);
}

int rrc_takeover_connections(struct rrc_takeover *t, struct rrc_conns *conns,
			     struct rrc_takeover_report *rep, struct rrc_error *err)
{
	uint64_t t0 = rrc_now_ns(CLOCK_MONOTONIC), t1, t2, cpu;
	int ret;

	memset(rep, 0, sizeof(*rep));
	drop_all(t);
	memset(&t->failure, 0, sizeof(t->failure));
	t->place = (struct rrc_tcp_place){ .skew_ns = t->opts->skew_ns, .ifindex = t->ifindex };
	t->all = calloc(rrc_conns_count(conns) + 1, sizeof(*t->all));
	t->waiting = calloc(rrc_conns_count(conns) + 1, sizeof(*t->waiting));
	if (!t->all || !t->waiting)
		return rrc_fail(err, -ENOMEM, "no memory to take %zu connections over",
				rrc_conns_count(conns));
	rrc_conns_each(conns, add_one, t);
	expect_unaccepted(t, conns);
	ret = ask(t, conns, rep, err);
	if (ret)
		return ret;
	t1 = rrc_now_ns(CLOCK_MONOTONIC);
	know_neighbours(t);
	cpu = rrc_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	rebuild_all(t);
	rep->rebuild_cpu_ns = rrc_now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	t2 = rrc_now_ns(CLOCK_MONOTONIC);
	/* From the first byte that we send on, answers must get in. */
	ret = open_ingress(t, err);
	if (ret)
		return ret;
	rrc_parallel(t->n, release_nth, t);
	make_unaccepted(t, conns, rep);
	nudge_all(t);
	resume_all(t);
	rep->datagrams = rrc_unread_datagrams(t->opts->netns, &t->link, conns);
	rrc_rawlink_deafen(&t->link);
	rep->ask_ns = t1 - t0;
	rep->rebuild_ns = t2 - t1;
	rep->resume_ns = rrc_now_ns(CLOCK_MONOTONIC) - t2;
	ret = fill_report(t, rep);
	drop_all(t);
	return ret ? rrc_fail(err, ret, "no memory for the report") : 0;
}

void rrc_takeover_report_free(struct rrc_takeover_report *report)
{
	free(report->entries);
	report->entries = NULL;
	report->nentries = 0;
}
