/* SPDX-License-Identifier: MIT */
/* TCP descriptors of the container, see sockets.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "ptrace.h"
#include "sockets.h"
#include "tcprepair.h"
#include "util.h"

static int is_tcp(int s)
{
	int type = 0, proto = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(s, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return 0;
	len = sizeof(proto);
	return !getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &proto, &len) && proto == IPPROTO_TCP;
}

static int state_of(int s)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	return getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &len) ? -1 : info.tcpi_state;
}

static bool is_connected(int state)
{
	switch (state) {
	case TCP_ESTABLISHED:
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSE_WAIT:
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		return true;
	default:
		return false;
	}
}

static int snapshot(struct rrc_sockets *s, int sock, uint64_t cookie, struct rrc_error *err)
{
	struct rrc_tcp_snapshot snap;
	int ret;

	if (rrc_conns_get(s->conns, cookie))
		return 0; /* a duplicate of a descriptor that was read already */
	ret = rrc_tcp_snapshot(sock, &snap, err);
	if (ret)
		return ret;
	ret = rrc_conns_add(s->conns, &snap.birth, snap.unread, snap.nunread, snap.unacked,
			    snap.nunacked, err);
	rrc_tcp_snapshot_free(&snap);
	return ret;
}

static int take(struct rrc_sockets *s, int sock, uint32_t vpid, int fd, struct rrc_error *err)
{
	struct rrc_manifest_socket held = { .pid = vpid, .fd = fd };
	socklen_t len = sizeof(held.cookie);
	int state = state_of(sock);

	if (state == TCP_LISTEN || getsockopt(sock, SOL_SOCKET, SO_COOKIE, &held.cookie, &len))
		return 0;
	if (s->n == s->size) {
		size_t size = s->size ? s->size * 2 : 64;
		void *bigger = realloc(s->held, size * sizeof(*s->held));

		if (!bigger)
			return rrc_fail(err, ENOMEM, "no memory for the list of sockets");
		s->held = bigger;
		s->size = size;
	}
	s->held[s->n++] = held;
	if (!s->conns || !is_connected(state))
		return 0;
	return snapshot(s, sock, held.cookie, err);
}

static int process(struct rrc_sockets *s, pid_t pid, struct rrc_error *err)
{
	rrc_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[64], target[64];
	struct dirent *e;
	int ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = pidfd < 0 ? NULL : opendir(path);
	if (!d)
		return 0; /* it is gone */
	while (!ret && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		int fd = atoi(e->d_name), sock;

		if (n < 8 || memcmp(target, "socket:[", 8))
			continue;
		sock = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		if (sock < 0)
			continue;
		if (is_tcp(sock))
			ret = take(s, sock, (uint32_t)rrc_ns_tid(pid), fd, err);
		close(sock);
	}
	closedir(d);
	return ret;
}

int rrc_sockets_collect(struct rrc_sockets *s, uint64_t pidns, int read_state,
			struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(pidns, &pids), ret = 0;

	memset(s, 0, sizeof(*s));
	if (n < 0)
		return rrc_fail(err, n, "cannot list the container's processes: %s", strerror(-n));
	if (read_state) {
		s->conns = rrc_conns_new();
		if (!s->conns)
			return rrc_fail(err, ENOMEM, "no memory for the table of connections");
	}
	for (int i = 0; i < n && !ret; i++)
		ret = process(s, pids[i], err);
	return ret;
}

void rrc_sockets_free(struct rrc_sockets *s)
{
	free(s->held);
	rrc_conns_free(s->conns);
	memset(s, 0, sizeof(*s));
}
