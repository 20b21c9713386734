/* SPDX-License-Identifier: MIT */
/* The backup's daemon, see daemon.h: a thread for each connection. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "daemon.h"
#include "host.h"
#include "log.h"
#include "manifest.h"
#include "session.h"
#include "takeover.h"
#include "util.h"

#define RRC_MAX_SESSIONS 64
#define RRC_GREET_MS	 3000

struct daemon {
	const struct rrc_daemon_opts *o;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rrc_session *sessions[RRC_MAX_SESSIONS];
};

struct connection {
	struct daemon *d;
	struct rrc_link link;
};

static void refuse(struct rrc_link *l, const char *why)
{
	rrc_link_send(l, RRC_FRAME_REFUSE, why, (uint32_t)strlen(why), 0, 0);
	rrc_link_flush_wait(l, 1000);
}

/* Under the lock. */
static struct rrc_session *find(struct daemon *d, const char *name, uint64_t id)
{
	for (size_t i = 0; i < RRC_MAX_SESSIONS; i++) {
		struct rrc_session *s = d->sessions[i];

		if (s && (name ? !strcmp(s->name, name) : s->id == id))
			return s;
	}
	return NULL;
}

/* Reads and checks the greeting. */
static int greeting(struct rrc_link *l, struct rrc_hello *h, struct rrc_error *err)
{
	const uint8_t *payload;
	struct rrc_frame f;
	struct utsname u;
	int ret = rrc_link_recv_wait(l, &f, &payload, RRC_GREET_MS, err);

	if (ret < 0)
		return ret;
	ret = rrc_hello_open(&f, payload, h, err);
	if (ret)
		return ret;
	if (rrc_manifest_name_ok(h->name, strlen(h->name)) || strchr(h->name, '/'))
		return rrc_fail(err, EINVAL, "a container cannot be named so");
	if (uname(&u) || strcmp(u.release, h->kernel))
		return rrc_fail(err, EPROTO,
				"this host runs kernel %s, the primary %s: a process cannot move "
				"between them; boot the same on both",
				u.release, h->kernel);
	return 0;
}

static struct rrc_session *admit(struct daemon *d, struct rrc_hello *h, struct rrc_error *err)
{
	struct rrc_session *s = NULL;
	size_t i = 0;

	pthread_mutex_lock(&d->lock);
	while (i < RRC_MAX_SESSIONS && d->sessions[i])
		i++;
	if (find(d, h->name, 0))
		rrc_fail(err, EBUSY, "%s is kept or runs here already", h->name);
	else if (i == RRC_MAX_SESSIONS)
		rrc_fail(err, EBUSY, "this backup has all the containers that it can keep");
	else
		s = d->sessions[i] = rrc_session_new(d->o, h, err);
	if (s)
		s->users = 1;
	pthread_mutex_unlock(&d->lock);
	return s;
}

static void leave(struct daemon *d, struct rrc_session *s)
{
	pthread_mutex_lock(&d->lock);
	if (--s->users == 0) {
		for (size_t i = 0; i < RRC_MAX_SESSIONS; i++)
			if (d->sessions[i] == s)
				d->sessions[i] = NULL;
		rrc_session_free(s);
	}
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

static void serve_log(struct connection *c, struct rrc_hello *h)
{
	struct rrc_error err = { 0 };
	struct rrc_session *s = admit(c->d, h, &err);
	int ret;

	if (!s) {
		rrc_log(RRC_LOG_WARN, "refused %s: %s", h->name, err.msg);
		refuse(&c->link, err.msg);
		return;
	}
	h->lease_ns = s->lease_ns;
	h->silence_ns = s->silence_ns;
	s->log = c->link;
	c->link.fd = -1;
	c->link.in = c->link.out = NULL;
	rrc_link_send(&s->log, RRC_FRAME_HELLO, h, sizeof(*h), 0, 0);
	rrc_event("joined", "\"session\":%llu", (unsigned long long)s->id);
	ret = rrc_session_serve_log(s, &err);
	if (ret == 1)
		rrc_log(RRC_LOG_INFO, "%s: %s", s->name, err.msg);
	if (ret == 1)
		ret = rrc_takeover(s, &err);
	else if (ret < 0)
		rrc_log(RRC_LOG_WARN, "%s: %s (nothing was committed yet)", s->name, err.msg);
	rrc_event("left", "\"session\":%llu", (unsigned long long)s->id);
	leave(c->d, s);
}

static void serve_bulk(struct connection *c, const struct rrc_hello *h)
{
	struct rrc_session *s;

	pthread_mutex_lock(&c->d->lock);
	s = find(c->d, NULL, h->session);
	if (s)
		s->users++;
	pthread_mutex_unlock(&c->d->lock);
	if (!s) {
		refuse(&c->link, "no such session");
		return;
	}
	rrc_link_send(&c->link, RRC_FRAME_HELLO, h, sizeof(*h), 0, 0);
	rrc_session_serve_bulk(s, &c->link);
	leave(c->d, s);
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	struct rrc_error err = { 0 };
	struct rrc_hello h;
	int ret = greeting(&c->link, &h, &err);

	if (ret) {
		rrc_log(RRC_LOG_WARN, "refused a connection: %s", err.msg);
		refuse(&c->link, err.msg);
	} else if (h.role == RRC_ROLE_LOG) {
		serve_log(c, &h);
	} else if (h.role == RRC_ROLE_BULK) {
		serve_bulk(c, &h);
	} else {
		refuse(&c->link, "unknown role");
	}
	rrc_link_close(&c->link);
	free(c);
	return NULL;
}

static void welcome(struct daemon *d, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct connection *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
	pthread_attr_t attr;
	pthread_t t;

	if (!c) {
		if (fd >= 0)
			close(fd);
		return;
	}
	c->d = d;
	rrc_link_init(&c->link, fd);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&t, &attr, serve, c)) {
		rrc_link_close(&c->link);
		free(c);
	}
	pthread_attr_destroy(&attr);
}

static int make_state(const char *dir, struct rrc_error *err)
{
	if (mkdir(dir, 0700) && errno != EEXIST)
		return rrc_fail(err, errno, "%s: %s", dir, strerror(errno));
	return 0;
}

int rrc_daemon(struct rrc_daemon_opts *o, struct rrc_error *err)
{
	struct daemon d = { .o = o,
			    .lock = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER };
	rrc_autoclose int listener = -1, sigfd = -1;
	sigset_t set;
	int ret = rrc_host_criu(o->criu, sizeof(o->criu), err);

	if (!ret)
		ret = make_state(o->state, err);
	if (ret)
		return ret;
	listener = rrc_link_listen(o->listen, err);
	if (listener < 0)
		return listener;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	rrc_event("listening", "%s", "");
	for (;;) {
		struct pollfd p[2] = { { listener, POLLIN, 0 }, { sigfd, POLLIN, 0 } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return rrc_fail(err, errno, "poll: %s", strerror(errno));
		if (p[1].revents)
			return 0;
		if (p[0].revents)
			welcome(&d, listener);
	}
}
