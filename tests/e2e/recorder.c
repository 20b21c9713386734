// SPDX-License-Identifier: MIT
/*
 * Records a program that does one of everything (recorder-guest.c) and checks the log against what
 * the program did: segments and their bytes, descriptors, tasks, signals, connections, barriers.
 *
 *	recorder [-S]	-S: the ways that it has for kernels older than this one
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../bench/spawn.h"
#include "reclog.h"
#include "recorder-guest.h"
#include "recorder.h"
#include "recprint.h"
#include "util.h"

struct log {
	uint8_t *buf;
	size_t len, room;
	int failed;
};

static int take(void *ctx, const struct rrc_rec *rec)
{
	struct log *log = ctx;

	if (log->len + rec->size > log->room) {
		log->room = (log->room + rec->size) * 2;
		log->buf = realloc(log->buf, log->room);
		if (!log->buf)
			return -ENOMEM;
	}
	memcpy(log->buf + log->len, rec, rec->size);
	log->len += rec->size;
	return 0;
}

#define CHECK(log, x) check(log, x, #x, __LINE__)

static void check(struct log *log, bool ok, const char *what, int line)
{
	if (ok)
		return;
	log->failed++;
	fprintf(stderr, "recorder.c:%d: not so: %s\n", line, what);
}

/* The next record at or behind *off of this kind and (for calls) number; NULL: none. */
static const struct rrc_rec *next(struct log *log, size_t *off, int kind, unsigned int nr)
{
	const struct rrc_rec *rec;
	struct rrc_error err = { 0 };

	while ((rec = rrc_reclog_next(log->buf, log->len, off, &err)))
		if (rec->kind == kind && (kind != RRC_REC_SYSCALL || rec->nr == nr))
			return rec;
	return NULL;
}

/* A record that is there, or one that fails every check. */
static const struct rrc_rec *call(struct log *log, size_t *off, unsigned int nr)
{
	static const struct rrc_rec none = { .ret = -9999 };
	const struct rrc_rec *rec = next(log, off, RRC_REC_SYSCALL, nr);

	if (!rec)
		fprintf(stderr, "recorder.c: no %s in the log\n", rrc_sysname(nr));
	return rec ?: &none;
}

static const uint8_t *bytes(const struct rrc_rec *rec, unsigned int row, size_t *len)
{
	const uint8_t *data = NULL;
	const struct rrc_seg *seg = rec->nseg ? rrc_rec_seg(rec, row, &data) : NULL;

	*len = seg ? seg->len : 0;
	return data;
}

static bool has(const struct rrc_rec *rec, unsigned int row, const void *want, size_t n)
{
	size_t len;
	const uint8_t *data = bytes(rec, row, &len);

	return len == n && data && (!want || !memcmp(data, want, n));
}

static size_t find_case(struct log *log, const char *name)
{
	char path[64];
	size_t off = 0;
	const struct rrc_rec *rec;

	snprintf(path, sizeof(path), "case:%s", name);
	while ((rec = next(log, &off, RRC_REC_SYSCALL, RRC_NR_access)))
		if (has(rec, 0, path, strlen(path) + 1))
			return off;
	fprintf(stderr, "recorder.c: no case %s in the log\n", name);
	log->failed++;
	return log->len;
}

static void check_bytes(struct log *log)
{
	size_t off = find_case(log, "big"), len;
	const struct rrc_rec *w = call(log, &off, RRC_NR_write);
	const struct rrc_rec *r = call(log, &off, RRC_NR_pread64);
	const uint8_t *in = bytes(w, 0, &len), *out;
	bool same = in && len == BIG;

	for (size_t i = 0; same && i < BIG; i++)
		same = in[i] == (uint8_t)(i * 7 + i / 4096);
	CHECK(log, same);
	out = bytes(r, 0, &len);
	CHECK(log, same && len == BIG - 3 && !memcmp(out, in + 3, len));
	CHECK(log, w->fdkind == RRC_FD_REG && w->obj == r->obj);
	CHECK(log, w->entry_ns && w->entry_ns < w->exit_ns && w->exit_ns < r->entry_ns);

	off = find_case(log, "vectors");
	CHECK(log, has(call(log, &off, RRC_NR_writev), 0, "abcdefghij", 10));
	CHECK(log, has(call(log, &off, RRC_NR_readv), 0, "abcdefghij", 10));
}

static void check_messages(struct log *log)
{
	size_t off = find_case(log, "rights"), len;
	const struct rrc_rec *r = call(log, &off, RRC_NR_sendmsg);

	CHECK(log, r->flags == RRC_F_BARRIER && r->fdkind == RRC_FD_UNIX && has(r, 0, "x", 1));
	r = call(log, &off, RRC_NR_recvmsg);
	CHECK(log, r->flags == RRC_F_BARRIER && has(r, 0, NULL, 56) && has(r, 1, "x", 1));

	off = find_case(log, "datagram");
	r = call(log, &off, RRC_NR_sendto);
	CHECK(log, r->fdkind == RRC_FD_UDP && has(r, 0, "0123456789", 10) && has(r, 1, NULL, 16));
	r = call(log, &off, RRC_NR_recvfrom);
	CHECK(log, r->ret == 10 && has(r, 0, "0123", 4));
	CHECK(log, has(r, 1, NULL, 8) && has(r, 2, "\x10\0\0", 4) && !(r->flags & RRC_F_BARRIER));

	off = find_case(log, "mmsg");
	r = call(log, &off, RRC_NR_sendmmsg);
	CHECK(log, has(r, 1, "helloworlds!", 12) && has(r, 2, NULL, 32));
	r = call(log, &off, RRC_NR_recvmmsg);
	CHECK(log, has(r, 0, NULL, 128) && has(r, 1, "helloworlds!", 12) && has(r, 2, NULL, 32));
	CHECK(log, bytes(r, 3, &len) == NULL && !r->flags);
}

static void check_kinds(struct log *log)
{
	size_t off = find_case(log, "kinds");
	const struct rrc_rec *w = call(log, &off, RRC_NR_write);
	const struct rrc_rec *r = call(log, &off, RRC_NR_read);

	CHECK(log, w->fdkind == RRC_FD_FIFO && r->fdkind == RRC_FD_FIFO && w->obj == r->obj);
	r = call(log, &off, RRC_NR_read);
	CHECK(log, r->fdkind == RRC_FD_ANON && r->obj && r->flags == RRC_F_NONBLOCK);
	CHECK(log, has(r, 0, "\7\0\0\0\0\0\0", 8));
	CHECK(log, call(log, &off, RRC_NR_read)->fdkind == RRC_FD_PROC);
	CHECK(log, has(call(log, &off, RRC_NR_pselect6), 1, NULL, 16));
	r = call(log, &off, RRC_NR_ioctl);
	CHECK(log, r->fdkind == RRC_FD_FIFO && has(r, 0, "\0\0\0", 4) && !r->flags);
	CHECK(log, call(log, &off, RRC_NR_getdents64)->fdkind == RRC_FD_DIR);
}

static void check_tcp(struct log *log)
{
	size_t off = find_case(log, "tcp"), conns = off, states = off;
	const struct rrc_rec *c = call(log, &off, RRC_NR_connect);
	const struct rrc_rec *s = call(log, &off, RRC_NR_accept), *r;
	const struct rrc_rec_conn *conn;
	uint64_t active = 0, passive = 0;

	while ((r = next(log, &conns, RRC_REC_CONN, 0))) {
		size_t len;

		conn = (const void *)bytes(r, 0, &len);
		CHECK(log, len == sizeof(*conn) && conn->cookie == r->obj);
		CHECK(log, conn->loopback && conn->raddr[0] == 127 && conn->lport && conn->rport);
		CHECK(log, conn->snd_nxt == conn->write_seq && conn->mss_clamp && conn->sack_ok);
		CHECK(log, conn->copied_seq == conn->rcv_nxt && conn->wscale_ok && conn->tstamp_ok);
		*(conn->active ? &active : &passive) = r->obj;
	}
	CHECK(log, active && passive && active != passive);
	CHECK(log, c->ret == 0 && c->fdkind == RRC_FD_TCP && c->obj == active);
	CHECK(log, s->ret > 0 && s->fdkind == RRC_FD_TCP && s->obj == passive);
	CHECK(log, has(s, 0, NULL, 16) && has(s, 1, NULL, 4));
	r = call(log, &off, RRC_NR_write);
	CHECK(log, r->obj == active && has(r, 0, "ping", 4));
	r = call(log, &off, RRC_NR_read);
	CHECK(log, r->obj == passive && has(r, 0, "ping", 4) && !(r->flags & RRC_F_NONBLOCK));
	r = call(log, &off, RRC_NR_read);
	CHECK(log, r->ret == -EAGAIN && r->nseg == 0 && r->flags == RRC_F_NONBLOCK);
	r = call(log, &off, RRC_NR_close);
	CHECK(log, r->obj == active && r->fdkind == RRC_FD_TCP);
	do
		r = next(log, &states, RRC_REC_CONN_STATE, 0);
	while (r && !(r->obj == passive && r->args[1] == TCP_CLOSE_WAIT));
	CHECK(log, r != NULL);
}

static void check_tasks(struct log *log)
{
	size_t off = find_case(log, "fork"), end = off, birth = off, death = off;
	const struct rrc_rec *b = next(log, &birth, RRC_REC_BIRTH, 0), *r;
	const struct rrc_rec *d = next(log, &death, RRC_REC_DEATH, 0);

	CHECK(log, b && b->tid == 1 && b->ret > 1 && b->args[1] == (uint64_t)b->ret);
	CHECK(log, d && b && d->tid == b->ret && d->ret == 3 << 8 && death > birth);
	r = next(log, &end, RRC_REC_ENTER, 0);
	CHECK(log, r && b && r->tid == b->ret && r->nr == RRC_NR_exit_group && r->args[0] == 3);
	r = call(log, &off, RRC_NR_wait4);
	CHECK(log, b && r->ret == b->ret && has(r, 0, "\0\3\0", 4));

	off = find_case(log, "thread");
	b = next(log, &off, RRC_REC_BIRTH, 0);
	CHECK(log, b && b->args[0] & CLONE_THREAD && b->args[1] == 1);
	d = next(log, &off, RRC_REC_DEATH, 0);
	CHECK(log, d && b && d->tid == b->ret && d->pid == 1);
}

static void check_signals(struct log *log)
{
	size_t off = find_case(log, "raise");
	const struct rrc_rec *r = next(log, &off, RRC_REC_SIGNAL, 0);

	CHECK(log, r && r->ret == SIGUSR1 && r->flags == 0 && has(r, 0, NULL, 80));
	off = find_case(log, "interrupt");
	r = next(log, &off, RRC_REC_SIGNAL, 0);
	CHECK(log, r && r->ret == SIGALRM && r->flags == RRC_F_BARRIER);
	off = find_case(log, "futex");
	r = call(log, &off, RRC_NR_futex);
	CHECK(log, r->ret == -ETIMEDOUT);
	off = 0;
	CHECK(log, next(log, &off, RRC_REC_SYSCALL, RRC_NR_rt_sigreturn) == NULL);
}

static void check_failures(struct log *log)
{
	size_t off = find_case(log, "efault");
	const struct rrc_rec *r = call(log, &off, RRC_NR_read);

	CHECK(log, r->ret == -EFAULT && r->nseg == 0 && r->flags == 0);
	r = call(log, &off, RRC_NR_access);
	CHECK(log, r->ret == -EFAULT && r->nseg == 0 && r->flags == 0);
	off = find_case(log, "fault");
	r = call(log, &off, RRC_NR_setsockopt);
	CHECK(log, r->flags == (RRC_F_FAULT | RRC_F_BARRIER) && r->nseg == 1);
	off = find_case(log, "barrier");
	CHECK(log, call(log, &off, RRC_NR_splice)->flags == RRC_F_BARRIER);
	off = find_case(log, "ioctl");
	r = call(log, &off, RRC_NR_ioctl);
	CHECK(log, r->flags == (rrc_no_effect(RRC_NR_ioctl, r->ret) ? 0 : RRC_F_BARRIER));
	CHECK(log, call(log, &off, RRC_NR_fcntl)->flags == 0);
}

/* With opts.flag_unpatched: every call of the new program is a barrier, it alone. */
static void check_exec(struct log *log)
{
	size_t off = find_case(log, "exec"), len;
	const struct rrc_rec *e = next(log, &off, RRC_REC_EXEC, 0), *r;
	const uint8_t *random;

	CHECK(log, e && e->tid == 1 && has(e, 0, NULL, sizeof(struct rrc_rec_exec)));
	r = call(log, &off, RRC_NR_execve);
	CHECK(log, r->ret == 0 && r->nseg == 0 && r->args[1] && r->entry_ns);
	off = find_case(log, "executed");
	r = call(log, &off, RRC_NR_write);
	CHECK(log, r->flags == (RRC_F_UNPATCHED | RRC_F_BARRIER) && r->fdkind == RRC_FD_CHR);
	random = e ? bytes(e, 0, &len) : NULL;
	CHECK(log, random && has(r, 0, random, 16));
	r = next(log, &off, RRC_REC_ENTER, 0);
	CHECK(log, r && r->nr == RRC_NR_exit_group && off < log->len);
}

/* Each record whole, and every number once: nothing lost, nothing twice. */
static void check_order(struct log *log, uint64_t tried)
{
	uint8_t *seen = calloc(1, tried);
	const struct rrc_rec *rec;
	struct rrc_error err = { 0 };
	size_t off = 0;
	uint64_t n = 0;

	while (seen && (rec = rrc_reclog_next(log->buf, log->len, &off, &err))) {
		CHECK(log, rec->seq < tried && !seen[rec->seq]);
		if (rec->seq < tried)
			seen[rec->seq] = 1;
		n++;
	}
	CHECK(log, n == tried && off == log->len && !err.code);
	if (err.code)
		fprintf(stderr, "recorder.c: %s\n", err.msg);
	free(seen);
}

/* A network of our own, so that nobody else's connections are in the log. */
static void own_network(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int s;

	if (unshare(CLONE_NEWNET) || (s = socket(AF_INET, SOCK_DGRAM, 0)) < 0 ||
	    ioctl(s, SIOCSIFFLAGS, &ifr)) {
		perror("network namespace");
		exit(1);
	}
	close(s);
}

static void record(struct rrc_recorder *rec, struct log *log, pid_t child)
{
	struct pollfd fd = { .fd = rrc_ring_fd(rrc_recorder_ring(rec)), .events = POLLIN };
	int status, ret;

	rrc_recorder_on(rec, true);
	ptrace(PTRACE_DETACH, child, 0, 0);
	while (waitpid(child, &status, WNOHANG) != child) {
		poll(&fd, 1, 10);
		ret = rrc_recorder_drain(rec, take, log, RRC_DRAIN_READY);
		CHECK(log, ret >= 0);
	}
	CHECK(log, rrc_recorder_drain(rec, take, log, RRC_DRAIN_ALL) >= 0);
	CHECK(log, WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void print(struct log *log, const char *path)
{
	FILE *out = fopen(path, "w");
	const struct rrc_rec *rec;
	size_t off = 0, pos = 0;

	while (out && (rec = rrc_reclog_next(log->buf, log->len, &off, NULL))) {
		rrc_rec_print(out, rec, 0, pos);
		pos = off;
	}
	if (out)
		fclose(out);
}

int main(int argc, char **argv)
{
	char *cmd[] = { "/proc/self/exe", "guest", NULL };
	struct rrc_recorder_opts opts = { .flag_unpatched = true, .verbose = true };
	struct rrc_error err = { 0 };
	struct rrc_stats st;
	struct rrc_recorder *rec;
	struct log log = { 0 };
	pid_t child;

	if (argc > 1 && !strcmp(argv[1], "guest"))
		guest_main("/proc/self/exe");
	if (argc > 1 && !strcmp(argv[1], "executed"))
		guest_executed();
	opts.old_kernel = argc > 1 && !strcmp(argv[1], "-S");
	own_network();
	child = spawn_in_pidns(cmd);
	opts.pidns = ns_ino(child, "pid");
	opts.netns = ns_ino(child, "net");
	rec = rrc_recorder_open(&opts, &err);
	if (!rec || rrc_recorder_attach(rec, &err)) {
		fprintf(stderr, "recorder: %s\n", err.msg);
		kill(child, SIGKILL);
		return err.exit;
	}
	record(rec, &log, child);
	rrc_recorder_stats(rec, &st);
	rrc_recorder_close(rec);
	if (getenv("RRC_TEST_LOG"))
		print(&log, getenv("RRC_TEST_LOG"));
	check_order(&log, st.records);
	check_bytes(&log);
	check_messages(&log);
	check_kinds(&log);
	check_tcp(&log);
	check_tasks(&log);
	check_signals(&log);
	check_failures(&log);
	check_exec(&log);
	CHECK(&log, st.lost == 0 && st.faults == 1 && st.drained_bytes == log.len);
	printf("%s recorder%s: %llu records, %zu bytes\n", log.failed ? "not ok" : "ok",
	       opts.old_kernel ? " -S" : "", (unsigned long long)st.records, log.len);
	free(log.buf);
	return log.failed != 0;
}
