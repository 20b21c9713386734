// SPDX-License-Identifier: MIT
/*
 * The two ends' greeting, for real: a daemon in a process of its own, primaries that connect to it. Who
 * may join, what is refused and why, and what both agree on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "backup.h"
#include "daemon.h"
#include "help.h"
#include "log.h"
#include "util.h"

struct host {
	char *dir;
	char address[64];
	pid_t pid;
};

static void be_daemon(const struct host *h, const char *state)
{
	struct rrc_daemon_opts o = {
		.listen = h->address, .state = state, .silence_ms = 300, .attempts = 1
	};
	struct rrc_error err = { 0 };
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
	rrc_log_setup("daemon", RRC_LOG_ERROR, 1);
	ret = rrc_daemon(&o, &err);
	if (ret)
		rrc_log_error(&err);
	_exit(ret ? 1 : 0);
}

/* Starts it; it listens when this returns. */
static void begin(struct host *h)
{
	struct rrc_error err = { 0 };
	int fd = rrc_link_listen("127.0.0.1:0", &err), p[2];
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	char line[256] = "";

	if (geteuid())
		cr_skip_test("needs root");
	cr_assert_geq(fd, 0, "%s", err.msg);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd); /* its port is free then, for who listens next */
	snprintf(h->address, sizeof(h->address), "127.0.0.1:%u", ntohs(sa.sin_port));
	h->dir = help_dir();
	cr_assert_eq(pipe(p), 0);
	fflush(stdout);
	h->pid = fork();
	if (!h->pid) {
		dup2(p[1], 1);
		close(p[0]);
		close(p[1]);
		be_daemon(h, help_path("%s/state", h->dir));
	}
	close(p[1]);
	cr_assert(read(p[0], line, sizeof(line) - 1) > 0 && strstr(line, "listening"), "%s", line);
	/* The pipe stays open for what it tells later. */
}

static void end(struct host *h)
{
	int status;

	kill(h->pid, SIGTERM);
	cr_assert_eq(waitpid(h->pid, &status, 0), h->pid);
	cr_assert_eq(status, 0, "it ended by %x", status);
	help_remove(h->dir);
	free(h->dir);
}

static struct rrc_hello greeting(enum rrc_role role, const char *name)
{
	struct rrc_hello hello = { .role = role, .session = 42 };
	struct utsname u;

	uname(&u);
	snprintf(hello.name, sizeof(hello.name), "%s", name);
	snprintf(hello.kernel, sizeof(hello.kernel), "%.71s", u.release);
	return hello;
}

/* Says it; the answer's text, or "" when it is welcome. */
static const char *said(const struct host *h, enum rrc_frame_type type, const void *bytes,
			size_t len)
{
	static char text[512];
	struct rrc_error err = { 0 };
	const uint8_t *payload;
	struct rrc_frame f;
	struct rrc_link l;

	cr_assert_eq(rrc_link_connect(&l, h->address, 2000, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_link_send(&l, type, bytes, (uint32_t)len, 0, 0), 0);
	cr_assert_eq(rrc_link_recv_wait(&l, &f, &payload, 5000, &err), 1, "%s", err.msg);
	snprintf(text, sizeof(text), "%.*s", f.type == RRC_FRAME_REFUSE ? (int)f.stored : 0,
		 (const char *)payload);
	rrc_link_close(&l);
	return text;
}

Test(daemon, who_may_not_join, .timeout = 60)
{
	static const char *const bad[] = { "", ".", "..", "../x", "a/b", "/etc", "a/../../b" };
	struct rrc_hello hello;
	struct host h;

	begin(&h);
	for (size_t i = 0; i < RRC_ARRAY_SIZE(bad); i++) {
		hello = greeting(RRC_ROLE_LOG, bad[i]);
		cr_assert(strstr(said(&h, RRC_FRAME_HELLO, &hello, sizeof(hello)),
				 "cannot be named"),
			  "%s", bad[i]);
	}
	hello = greeting(RRC_ROLE_LOG, "web");
	memset(hello.name, 'x', sizeof(hello.name));
	cr_assert(said(&h, RRC_FRAME_HELLO, &hello, sizeof(hello))[0], "a name without an end");
	hello = greeting(RRC_ROLE_LOG, "web");
	cr_assert(said(&h, RRC_FRAME_HELLO, &hello, sizeof(hello) - 8)[0], "half a greeting");
	cr_assert(said(&h, RRC_FRAME_LOG, &hello, sizeof(hello))[0], "no greeting");
	hello.kernel[0]++;
	cr_assert(strstr(said(&h, RRC_FRAME_HELLO, &hello, sizeof(hello)), "kernel"));
	hello = greeting(77, "web");
	cr_assert(strstr(said(&h, RRC_FRAME_HELLO, &hello, sizeof(hello)), "role"));
	hello = greeting(RRC_ROLE_BULK, "web");
	cr_assert(strstr(said(&h, RRC_FRAME_HELLO, &hello, sizeof(hello)), "session"));
	/* None of them left anything there. */
	help_sh(h.dir, "test -z \"$(ls -A state)\"");
	end(&h);
}

Test(daemon, both_ends_agree, .timeout = 60)
{
	struct rrc_error err = { 0 };
	struct rrc_backup b, other;
	struct host h;

	begin(&h);
	cr_assert_eq(rrc_backup_connect(&b, h.address, "web", 0, 2000, &err), 0, "%s", err.msg);
	cr_assert_eq(b.silence_ns, 300000000u);
	cr_assert(b.lease_ns && b.lease_ns < b.silence_ns, "rule 7");
	/* One of a name, any number of names. */
	cr_assert_lt(rrc_backup_connect(&other, h.address, "web", 0, 2000, &err), 0);
	cr_assert(strstr(err.msg, "web"), "%s", err.msg);
	cr_assert_eq(rrc_backup_connect(&other, h.address, "db", 0, 2000, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_backup_bye(&other, 2000, &err), 0, "%s", err.msg);
	rrc_backup_close(&other);
	cr_assert_eq(rrc_backup_bye(&b, 2000, &err), 0, "%s", err.msg);
	rrc_backup_close(&b);
	end(&h);
}

Test(daemon, nobody_listens)
{
	struct rrc_error err = { 0 };
	struct rrc_backup b;

	cr_assert_lt(rrc_backup_connect(&b, "127.0.0.1:1", "web", 0, 1000, &err), 0);
	cr_assert(strstr(err.msg, "rrc-replay --listen"), "%s", err.msg);
}
