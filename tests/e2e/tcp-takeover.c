// SPDX-License-Identifier: MIT
/*
 * TCP takeover with real sockets and no container: client, primary and backup in network namespaces
 * on one bridge, a server that writes its own log, the primary cut off and killed, the connections
 * rebuilt from the log in sockets of another process. The client must notice a pause and no more.
 */
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "announce.h"
#include "connections.h"
#include "nl.h"
#include "reclog.h"
#include "tcp-takeover-server.h"

#define LOG_MAX (6ull << 30)
#define BRIDGE	"rrct-br"

static const char *const v4_client = "10.78.0.1/24", *const v6_client = "fd78::1/64";
static const char *const v4_server = "10.78.0.10", *const v6_server = "fd78::10";

struct world {
	struct shared *sh;
	uint8_t *log;
	int switch_ns, client_ns, primary_ns, backup_ns;
	struct rrc_netcfg server_cfg;
	int capture, listener;
	pid_t client, primary, backup;
	pid_t backup_pidfd;
	struct rrc_conns *conns;
	size_t folded;
	int late, midcall;
};

static struct rrc_error err;

#define OK(x)                                                     \
	do {                                                      \
		if ((x) < 0)                                      \
			die("%d: %s: %s", __LINE__, #x, err.msg); \
	} while (0)

static struct rrc_netcfg make_cfg(const char *mac, const char *v4, const char *v6)
{
	struct rrc_netcfg cfg;
	char text[256];
	int n = snprintf(text, sizeof(text), "link eth0 %s mtu 1500\naddr %s\naddr %s\n", mac, v4,
			 v6);

	OK(rrc_netcfg_parse(text, (size_t)n, &cfg, &err));
	return cfg;
}

static void make_bridge(void)
{
	struct mnl_socket *nl = rrc_nl_open(-1, &err);
	char buf[RRC_NL_MSG];
	struct nlmsghdr *nlh = rrc_nl_msg(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct nlattr *info;

	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, BRIDGE);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(nlh, info);
	if (!nl || rrc_nl_talk(nl, nlh, NULL, NULL))
		die("make a bridge: %s", strerror(errno));
	mnl_socket_close(nl);
}

static pid_t start(void)
{
	pid_t pid = CK(fork());

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void in_ns(int ns)
{
	CK(setns(ns, CLONE_NEWNET));
}

/* All namespaces are nameless: nothing is left behind whatever happens. */
static void build_world(struct world *w)
{
	struct rrc_netcfg client = make_cfg("02:78:00:00:00:01", v4_client, v6_client);
	struct rrc_netcfg server = make_cfg("02:78:00:00:00:10", "10.78.0.10/24", "fd78::10/64");
	int size = 256 << 20, one = 1;

	OK(w->switch_ns = rrc_netns_new(&err));
	in_ns(w->switch_ns);
	make_bridge();
	OK(w->client_ns = rrc_netns_new(&err));
	OK(w->primary_ns = rrc_netns_new(&err));
	OK(w->backup_ns = rrc_netns_new(&err));
	OK(rrc_netcfg_make(w->client_ns, &client, "rrct-c", &err));
	OK(rrc_netcfg_make(w->primary_ns, &server, "rrct-p", &err));
	OK(rrc_netcfg_connect("rrct-c", BRIDGE, &err));
	OK(rrc_netcfg_connect("rrct-p", BRIDGE, &err));
	/* The backup learns the link as it would: read on the primary, sent as text. */
	char text[RRC_NET_TEXT_MAX];
	int n;

	OK(rrc_netcfg_read(w->primary_ns, NULL, &server, &err));
	OK(n = rrc_netcfg_print(&server, text, sizeof(text)));
	OK(rrc_netcfg_parse(text, (size_t)n, &w->server_cfg, &err));
	OK(rrc_netcfg_make(w->backup_ns, &w->server_cfg, "rrct-b", &err));
	/* A network of 1 Gbit/s, so that there is something in flight at the failure. */
	if (system("for i in rrct-c rrct-p rrct-b; do tc qdisc add dev $i root tbf rate 1gbit "
		   "burst 256kb limit 4mb || exit 1; done"))
		die("tc: no tbf");

	in_ns(w->primary_ns);
	w->listener = listen_on(AF_INET6); /* IPv4 clients are v4-mapped … */
	w->capture = CK(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
	CK(setsockopt(w->capture, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)));
	setsockopt(w->capture, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	in_ns(w->switch_ns);
}

/* Reads the log as far as it is written; through a saved and loaded table, as at a checkpoint. */
static void fold(struct world *w, int save)
{
	size_t end = w->sh->log_len, len;
	const struct rrc_rec *rec;
	uint8_t *buf;

	__sync_synchronize();
	while ((rec = rrc_reclog_next(w->log, end, &w->folded, &err)))
		OK(rrc_conns_apply(w->conns, rec, &err));
	if (w->folded != end)
		die("log: %s", err.msg);
	if (!save)
		return;
	OK(rrc_conns_save(w->conns, &buf, &len, &err));
	rrc_conns_free(w->conns);
	w->conns = rrc_conns_load(buf, len, &err);
	if (!w->conns)
		die("load: %s", err.msg);
	free(buf);
}

/* Packets from before a connection was read: what came out of order is in none of its queues. */
static void again(struct world *w)
{
	const struct rrc_rec *rec;
	size_t at = 0;

	while ((rec = rrc_reclog_next(w->log, w->folded, &at, &err)))
		if (rec->kind == RRC_REC_PACKET)
			OK(rrc_conns_apply(w->conns, rec, &err));
}

/* Protection begins: what is open is read once while the server stands still. */
static void snapshot(struct world *w)
{
	int pidfd = CK((int)syscall(SYS_pidfd_open, w->primary, 0));
	uint64_t start = now();
	uint32_t n = 0;

	for (;;) { /* between a call and its record there must be no cut */
		kill(w->primary, SIGSTOP);
		waitpid(w->primary, NULL, WUNTRACED);
		if (!w->sh->busy)
			break;
		kill(w->primary, SIGCONT);
		poll(NULL, 0, 1);
	}
	rrc_conns_free(w->conns);
	w->conns = rrc_conns_new();
	w->folded = w->sh->log_len;
	for (uint32_t i = 0; i < w->sh->napps; i++) {
		struct app *a = &w->sh->apps[i];
		struct rrc_tcp_snapshot snap;
		int sock;

		if (a->sock < 0)
			continue;
		sock = CK((int)syscall(SYS_pidfd_getfd, pidfd, a->sock, 0));
		OK(rrc_tcp_snapshot(sock, &snap, &err));
		OK(rrc_conns_add(w->conns, &snap.birth, snap.unread, snap.nunread, snap.unacked,
				 snap.nunacked, &err));
		/* In the table the streams begin here, in the application's mind they began before. */
		a->read_before = a->read;
		a->written_before = a->written - snap.nunacked;
		rrc_tcp_snapshot_free(&snap);
		close(sock);
		n++;
	}
	again(w);
	printf("read %u live connections in %.2f ms\n", n, (now() - start) / 1e6);
	close(pidfd);
	kill(w->primary, SIGCONT);
}

static int app_of(const struct shared *sh, uint64_t cookie)
{
	for (uint32_t i = 0; i < sh->napps; i++)
		if (sh->apps[i].cookie == cookie)
			return (int)i;
	return -1;
}

/* The application's memory as replay would leave it: positions by the log, sockets closed. */
static int restore_app(struct rrc_conn *conn, void *ctx)
{
	struct world *w = ctx;
	int i = app_of(w->sh, conn->s.birth.cookie);
	struct app *a;

	if (i < 0)
		die("connection %u is in the log, but the server does not know it",
		    conn->s.birth.rport);
	a = &w->sh->apps[i];
	a->read = a->read_before + conn->s.read;
	a->written = a->written_before + conn->s.written;
	a->shut = conn->s.shut_wr;
	a->eof = 0;
	/* -2: to be made by the backup */
	a->sock = conn->s.state == TCP_ESTABLISHED || conn->s.shut_wr ? -2 : -1;
	return 0;
}

static void run_backup(struct world *w)
{
	struct server s = { .sh = w->sh, .listener = -1 };
	uint32_t i;

	in_ns(w->backup_ns);
	s.listener = listen_on(AF_INET6);
	for (i = 0; i < w->sh->napps; i++) {
		struct app *a = &w->sh->apps[i];

		if (a->sock != -2) {
			a->sock = -1;
			continue;
		}
		a->sock = CK(socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
		/* As CRIU leaves it with --tcp-close: shut both ways, though it says ENOTCONN. */
		shutdown(a->sock, SHUT_RDWR);
	}
	w->sh->restored = 1;
	while (!w->sh->released)
		poll(NULL, 0, 1);
	run_server(&s);
}

static int lookup(void *ctx, uint64_t cookie)
{
	struct world *w = ctx;
	int i = app_of(w->sh, cookie);

	if (i < 0 || w->sh->apps[i].sock < 0)
		return -1;
	return (int)syscall(SYS_pidfd_getfd, w->backup_pidfd, w->sh->apps[i].sock, 0);
}

static void wait_for(volatile uint32_t *what, uint32_t n, const char *name)
{
	uint64_t start = now();

	while (*what < n) {
		if (now() - start > 20000000000ull)
			die("%s: only %u of %u", name, *what, n);
		poll(NULL, 0, 1);
	}
}

static void fail_primary(struct world *w)
{
	struct server s = { .sh = w->sh, .log = w->log, .capture = w->capture };

	OK(rrc_netcfg_disconnect("rrct-p", &err));
	w->sh->cut_ns = now();
	kill(w->primary, SIGKILL);
	waitpid(w->primary, NULL, 0);
	log_packets(&s);
}

static void print_report(const struct rrc_takeover_report *rep)
{
	printf("takeover: %u connections, %u rebuilt, %u to be accepted, %u finishing, %u reset, %u closed; "
	       "%u handshakes; %u clients answered; "
	       "%llu bytes sent again, %llu unread; ask %.2f ms, rebuild %.2f ms, resume %.2f ms\n",
	       rep->total, rep->what[0], rep->what[1], rep->what[2], rep->what[3], rep->what[4],
	       rep->handshakes, rep->answered, (unsigned long long)rep->resent,
	       (unsigned long long)rep->unread, rep->ask_ns / 1e6, rep->rebuild_ns / 1e6,
	       rep->resume_ns / 1e6);
	printf("rebuild: %.1f us of CPU time each\n",
	       rep->rebuild_cpu_ns / 1e3 / (rep->total ? rep->total : 1));
	if (rep->failure.exit)
		printf("first refusal: %s\n", rep->failure.msg);
	for (uint32_t i = 0; i < rep->nentries && i < 10; i++)
		printf("  %s: %s %s\n", rep->entries[i].name,
		       rrc_takeover_what_name(rep->entries[i].what),
		       rrc_takeover_why_name(rep->entries[i].why));
}

static void take_over(struct world *w, struct rrc_takeover_report *rep)
{
	struct rrc_takeover_opts opts = {
		.netns = w->backup_ns,
		.cfg = &w->server_cfg,
		.hostif = "rrct-b",
		.lookup = lookup,
		.ctx = w,
	};
	struct rrc_takeover *t = rrc_takeover_prepare(&opts, &err);
	struct rrc_announcer ann;
	uint64_t cpu;

	if (!t)
		die("prepare: %s", err.msg);
	OK(rrc_announce_open(&ann, w->backup_ns, &w->server_cfg, &err));
	w->backup = start();
	if (!w->backup)
		run_backup(w);
	w->backup_pidfd = CK((int)syscall(SYS_pidfd_open, w->backup, 0));
	wait_for(&w->sh->restored, 1, "restored");

	w->sh->live_ns = now();
	OK(rrc_netcfg_connect("rrct-b", BRIDGE, &err));
	OK(rrc_announce_now(&ann, 3, &err));
	cpu = rrc_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	OK(rrc_takeover_connections(t, w->conns, rep, &err));
	cpu = rrc_now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	w->sh->released = 1;
	printf("go-live took %.2f ms, %.2f ms of CPU time for the connections, %.1f us each\n",
	       (now() - w->sh->live_ns) / 1e6, cpu / 1e6,
	       cpu / 1e3 / (rep->total ? rep->total : 1));
	while (rrc_announce_again(&ann, &err) > 0)
		poll(&(struct pollfd){ .fd = ann.timer, .events = POLLIN }, 1, -1);
	rrc_announce_close(&ann);
	rrc_takeover_free(t);
}

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int judge(const struct shared *sh, const char *kinds)
{
	uint32_t faults = 0;

	for (const char *k = kinds; *k; k++) {
		static uint64_t first[MAX_CONNS];
		uint32_t n = 0, all = 0, done = 0;
		uint64_t gap = 0;

		for (uint32_t i = 0; i < sh->npeers; i++) {
			const struct peer *p = &sh->peers[i];

			if (p->kind != (uint8_t)*k)
				continue;
			all++;
			done += p->done && !p->fault[0];
			if (p->first_ns)
				first[n++] = p->first_ns - sh->live_ns;
			gap = rrc_max(gap, p->gap_ns);
			if (p->fault[0] && faults++ < 10)
				printf("  %c %u: %s\n", p->kind, p->port, p->fault);
		}
		if (!all)
			continue;
		faults += all != done && !faults;
		qsort(first, n, sizeof(*first), by_u64);
		printf("%c: %u of %u complete; first byte after go-live: %u connections, ms min %.2f, p50 %.2f, max %.2f; longest wait %.1f ms\n",
		       *k, done, all, n, n ? first[0] / 1e6 : 0, n ? first[n / 2] / 1e6 : 0,
		       n ? first[n - 1] / 1e6 : 0, gap / 1e6);
	}
	return faults ? 1 : 0;
}

static void show_sockets(int ns)
{
	in_ns(ns);
	if (system("ss -tinmoH state all | head -40"))
		printf("no ss\n");
}

/* The server, too, got all that was sent after it had shut down. 0: yes. */
static int server_finished(struct world *w)
{
	uint64_t start = now();
	uint32_t left;

	do {
		left = 0;
		for (uint32_t i = 0; i < w->sh->napps; i++) {
			const struct app *a = &w->sh->apps[i];

			left += a->kind == FINW && a->sock != -1;
		}
		if (waitpid(w->backup, NULL, WNOHANG))
			return 1; /* it says why */
		poll(NULL, 0, left ? 5 : 0);
	} while (left && now() - start < 3000000000ull);
	if (left)
		printf("the server still waits for the end of %u connections\n", left);
	return left != 0;
}

/* What the arguments ask for. */
struct wish {
	uint64_t before; /* bytes before the failure */
	uint32_t detect_ms, queued;
	char kinds[32];
};

static void add_peers(struct shared *sh, const char *arg, int families, struct wish *wish)
{
	strncat(wish->kinds, arg, 1);
	for (int n = atoi(arg + 1); n > 0 && sh->npeers < MAX_CONNS; n--) {
		struct peer *p = &sh->peers[sh->npeers];

		p->kind = (uint8_t)arg[0];
		p->family = families == 1 || (families == 3 && sh->npeers % 2) ? AF_INET : AF_INET6;
		wish->queued += arg[0] == QUEUED;
		sh->npeers++;
	}
}

/* Kinds and numbers, as D2 U2 T30 I16; -4, -6: one family only; -b BYTES before the failure, -d MS of silence,
 * -s: protection begins when half of the bytes have passed, -k: the server is in a write at the failure. */
static void parse(struct world *w, struct wish *wish, int argc, char **argv)
{
	int families = 3;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (!strcmp(a, "-4") || !strcmp(a, "-6"))
			families = a[1] == '4' ? 1 : 2;
		else if (!strcmp(a, "-b") && i + 1 < argc)
			wish->before = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(a, "-k"))
			w->midcall = 1;
		else if (!strcmp(a, "-s"))
			w->late = 1;
		else if (!strcmp(a, "-d") && i + 1 < argc)
			wish->detect_ms = (uint32_t)atoi(argv[++i]);
		else
			add_peers(w->sh, a, families, wish);
	}
}

static void start_both(struct world *w)
{
	w->primary = start();
	if (!w->primary) {
		struct server s = { .sh = w->sh,
				    .log = w->log,
				    .capture = w->capture,
				    .listener = w->listener,
				    .late = w->late };

		in_ns(w->primary_ns);
		run_server(&s);
	}
	close(w->listener);
	w->client = start();
	if (!w->client) {
		in_ns(w->client_ns);
		run_client(w->sh, v4_server, v6_server);
		_exit(0);
	}
}

/* Until it is time for the primary to fail. */
static void serve(struct world *w, const struct wish *wish)
{
	struct shared *sh = w->sh;

	wait_for(&sh->greeted, sh->npeers - wish->queued, "connected");
	for (int snapped = !w->late; sh->bulk_bytes < wish->before || !snapped;) {
		if (!snapped && sh->bulk_bytes >= wish->before / 2) {
			snapshot(w);
			snapped = 1;
		}
		fold(w, 1);
		poll(NULL, 0, 20);
	}
	sh->stop_accept = 1;
	wait_for(&sh->queued, wish->queued, "queued");
	sh->want_midcall = (uint32_t)w->midcall;
	wait_for(&sh->midcall, (uint32_t)w->midcall, "in a write");
	fold(w, 1);
}

static void fail_over(struct world *w, uint32_t detect_ms)
{
	struct rrc_takeover_report rep;

	fail_primary(w);
	fold(w, 1);
	printf("log: %.1f MB, %u records; %zu connections in the table\n", w->sh->log_len / 1e6,
	       w->sh->seq, rrc_conns_count(w->conns));
	rrc_conns_each(w->conns, restore_app, w);
	poll(NULL, 0, (int)detect_ms);
	take_over(w, &rep);
	print_report(&rep);
	rrc_takeover_report_free(&rep);
}

/* The client's exit status. */
static int client_finished(struct world *w)
{
	uint64_t begun = now();
	int status;

	while (!waitpid(w->client, &status, WNOHANG)) {
		if (now() - begun > 10000000000ull) {
			printf("the client still waits after 10 s\n");
			show_sockets(w->client_ns);
			show_sockets(w->backup_ns);
			kill(w->client, SIGKILL);
			waitpid(w->client, &status, 0);
			break;
		}
		poll(NULL, 0, 10);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct rlimit many = { 60000, 60000 };
	struct wish wish = { .before = 20 << 20, .detect_ms = 90 };
	struct world w = { 0 };
	int ret, status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &many);
	w.sh = mmap(NULL, sizeof(*w.sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	w.log = mmap(NULL, LOG_MAX, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w.sh == MAP_FAILED || w.log == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	make_pattern(w.sh);
	parse(&w, &wish, argc, argv);
	w.conns = rrc_conns_new();
	build_world(&w);
	start_both(&w);
	serve(&w, &wish);
	fail_over(&w, wish.detect_ms);
	status = client_finished(&w);
	ret = server_finished(&w);
	kill(w.backup, SIGKILL);
	ret = judge(w.sh, wish.kinds) || ret || status;
	printf("longest silence: cut to go-live %.1f ms\n", (w.sh->live_ns - w.sh->cut_ns) / 1e6);
	printf("%s\n", ret ? "FAILED" : "passed");
	return ret;
}
