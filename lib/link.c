/* SPDX-License-Identifier: MIT */
/* Frames over TCP, see link.h. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "link.h"
#include "util.h"

#define RRC_LINK_BUF   (4 << 20)
#define RRC_LINK_CHUNK (256 << 10) /* read at a time */

static int parse(const char *address, int passive, struct addrinfo **res, struct rrc_error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = passive ? AI_PASSIVE : 0 };
	char host[256], *port, *h = host;
	int ret;

	if (strlen(address) >= sizeof(host))
		return rrc_fail_exit(err, RRC_EXIT_USAGE, EINVAL, "%.40s…: address too long",
				     address);
	strcpy(host, address);
	port = strrchr(host, ':');
	if (!port || !port[1])
		return rrc_fail_exit(err, RRC_EXIT_USAGE, EINVAL,
				     "%s: an address looks like HOST:PORT or [IPV6]:PORT", address);
	*port++ = 0;
	if (h[0] == '[' && h[strlen(h) - 1] == ']') {
		h[strlen(h) - 1] = 0;
		h++;
	}
	ret = getaddrinfo(*h ? h : NULL, port, &hints, res);
	if (ret)
		return rrc_fail(err, EINVAL, "%s: %s", address, gai_strerror(ret));
	return 0;
}

void rrc_link_init(struct rrc_link *l, int fd)
{
	int one = 1, buf = RRC_LINK_BUF;

	memset(l, 0, sizeof(*l));
	l->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buf, sizeof(buf));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buf, sizeof(buf));
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void rrc_link_close(struct rrc_link *l)
{
	if (l->fd >= 0)
		close(l->fd);
	free(l->in);
	free(l->out);
	memset(l, 0, sizeof(*l));
	l->fd = -1;
}

int rrc_link_connect(struct rrc_link *l, const char *address, int timeout_ms, struct rrc_error *err)
{
	struct addrinfo *res;
	int fd, ret, e = 0;
	socklen_t len = sizeof(e);

	l->fd = -1;
	ret = parse(address, 0, &res, err);
	if (ret)
		return ret;
	fd = socket(res->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		freeaddrinfo(res);
		return rrc_fail(err, errno, "socket: %s", strerror(errno));
	}
	ret = connect(fd, res->ai_addr, res->ai_addrlen) ? errno : 0;
	freeaddrinfo(res);
	if (ret == EINPROGRESS) {
		struct pollfd p = { fd, POLLOUT, 0 };

		ret = poll(&p, 1, timeout_ms) == 1 ? 0 : ETIMEDOUT;
		if (!ret && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len))
			ret = e;
	}
	if (ret) {
		close(fd);
		return rrc_fail(err, ret,
				"cannot reach the backup at %s: %s; is rrc-replay --listen "
				"running there?",
				address, strerror(ret));
	}
	rrc_link_init(l, fd);
	return 0;
}

int rrc_link_listen(const char *address, struct rrc_error *err)
{
	struct addrinfo *res;
	int fd, ret, one = 1;

	ret = parse(address, 1, &res, err);
	if (ret)
		return ret;
	fd = socket(res->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		ret = errno;
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
		 bind(fd, res->ai_addr, res->ai_addrlen) || listen(fd, 16))
		ret = errno;
	freeaddrinfo(res);
	if (ret) {
		if (fd >= 0)
			close(fd);
		return rrc_fail(err, ret, "cannot listen on %s: %s", address, strerror(ret));
	}
	return fd;
}

static int grow(uint8_t **buf, size_t *size, size_t need)
{
	size_t n = rrc_max(*size * 2, need);
	uint8_t *p;

	if (need <= *size)
		return 0;
	p = realloc(*buf, n);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*size = n;
	return 0;
}

int rrc_link_flush(struct rrc_link *l)
{
	while (l->out_done < l->out_len) {
		ssize_t n =
			send(l->fd, l->out + l->out_done, l->out_len - l->out_done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		l->out_done += (size_t)n;
	}
	l->out_done = l->out_len = 0;
	return 0;
}

/* Puts bytes behind what is still queued. */
static int queue(struct rrc_link *l, const void *buf, size_t len)
{
	if (l->out_done && l->out_len + len > l->out_size) {
		memmove(l->out, l->out + l->out_done, l->out_len - l->out_done);
		l->out_len -= l->out_done;
		l->out_done = 0;
	}
	if (grow(&l->out, &l->out_size, l->out_len + len))
		return -ENOMEM;
	memcpy(l->out + l->out_len, buf, len);
	l->out_len += len;
	return 0;
}

int rrc_link_send_raw(struct rrc_link *l, const void *frame, size_t len)
{
	ssize_t n = 0;

	if (!rrc_link_wants_write(l)) {
		/* The usual case: straight out, no copy. */
		n = send(l->fd, frame, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0)
			n = 0;
		if ((size_t)n == len)
			return 0;
	}
	if (queue(l, (const uint8_t *)frame + n, len - (size_t)n))
		return -ENOMEM;
	return rrc_link_flush(l);
}

int rrc_link_send(struct rrc_link *l, enum rrc_frame_type type, const void *payload, uint32_t len,
		  uint64_t pos, uint64_t aux)
{
	uint8_t small[sizeof(struct rrc_frame) + 512];
	struct rrc_frame f;
	int ret;

	rrc_frame_seal(&f, type, 0, payload ? payload : "", len, len, pos, aux);
	if (len <= sizeof(small) - sizeof(f)) {
		memcpy(small, &f, sizeof(f));
		if (len)
			memcpy(small + sizeof(f), payload, len);
		return rrc_link_send_raw(l, small, sizeof(f) + len);
	}
	ret = queue(l, &f, sizeof(f));
	if (!ret)
		ret = queue(l, payload, len);
	return ret ? ret : rrc_link_flush(l);
}

/* Whole frame at the read position of the buffer? */
static int parse_frame(struct rrc_link *l, struct rrc_frame *f, const uint8_t **payload,
		       struct rrc_error *err)
{
	int ret;

	if (l->in_len - l->in_at < sizeof(*f))
		return 0;
	memcpy(f, l->in + l->in_at, sizeof(*f));
	ret = rrc_frame_check(f, err);
	if (ret)
		return ret;
	if (l->in_len - l->in_at < sizeof(*f) + f->stored)
		return 0;
	*payload = l->in + l->in_at + sizeof(*f);
	ret = rrc_frame_verify(f, *payload, err);
	if (ret)
		return ret;
	l->in_at += sizeof(*f) + f->stored;
	return 1;
}

int rrc_link_recv(struct rrc_link *l, struct rrc_frame *f, const uint8_t **payload,
		  struct rrc_error *err)
{
	for (;;) {
		int ret = parse_frame(l, f, payload, err);
		ssize_t n;

		if (ret)
			return ret;
		if (l->in_at) {
			memmove(l->in, l->in + l->in_at, l->in_len - l->in_at);
			l->in_len -= l->in_at;
			l->in_at = 0;
		}
		if (grow(&l->in, &l->in_size, l->in_len + RRC_LINK_CHUNK))
			return rrc_fail(err, ENOMEM, "no memory for a frame");
		/* What came last did not fill the buffer: there was no more, so do not ask again. */
		if (l->in_drained) {
			l->in_drained = 0;
			return 0;
		}
		n = recv(l->fd, l->in + l->in_len, l->in_size - l->in_len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		l->in_drained = n > 0 && (size_t)n < l->in_size - l->in_len;
		if (n <= 0)
			return rrc_fail(err, n ? errno : ECONNRESET, "the other end has gone: %s",
					n ? strerror(errno) : "connection closed");
		l->in_len += (size_t)n;
	}
}

int rrc_link_recv_wait(struct rrc_link *l, struct rrc_frame *f, const uint8_t **payload,
		       int timeout_ms, struct rrc_error *err)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;

	for (;;) {
		struct pollfd p = { l->fd, POLLIN, 0 };
		int ret = rrc_link_recv(l, f, payload, err);
		uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);

		if (ret)
			return ret;
		if (timeout_ms >= 0 && now >= end)
			return rrc_fail(err, ETIMEDOUT, "the other end does not answer");
		if (rrc_link_wants_write(l))
			p.events |= POLLOUT;
		poll(&p, 1, timeout_ms < 0 ? -1 : (int)((end - now) / 1000000u) + 1);
		if (p.revents & POLLOUT) {
			ret = rrc_link_flush(l);
			if (ret)
				return rrc_fail(err, ret, "the other end has gone: %s",
						strerror(-ret));
		}
	}
}

int rrc_link_flush_wait(struct rrc_link *l, int timeout_ms)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;

	for (;;) {
		struct pollfd p = { l->fd, POLLOUT, 0 };
		int ret = rrc_link_flush(l);
		uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);

		if (ret || !rrc_link_wants_write(l))
			return ret;
		if (timeout_ms >= 0 && now >= end)
			return -ETIMEDOUT;
		poll(&p, 1, timeout_ms < 0 ? -1 : (int)((end - now) / 1000000u) + 1);
	}
}
