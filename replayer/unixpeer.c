// SPDX-License-Identifier: MIT
/* The other end of a unix socket, as the kernel's socket diagnosis tells it, see unixpeer.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "unixpeer.h"
#include "util.h"

/* A diagnosis socket in the tree's network namespace. */
static int diag_socket(const struct rrc_engine *e)
{
	rrc_autoclose int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	rrc_autoclose int theirs = -1;
	char path[64];
	int sock;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", e->init);
	theirs = open(path, O_RDONLY | O_CLOEXEC);
	if (own < 0 || theirs < 0 || setns(theirs, CLONE_NEWNET))
		return -errno;
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (sock < 0)
		sock = -errno;
	if (setns(own, CLONE_NEWNET)) {
		int r = -errno;

		rrc_closep(&sock);
		return r;
	}
	return sock;
}

static ino_t peer_in(const struct nlmsghdr *h)
{
	const struct unix_diag_msg *msg = NLMSG_DATA(h);
	int len = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*msg));

	for (const struct rtattr *a = (const void *)(msg + 1); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == UNIX_DIAG_PEER)
			return *(const uint32_t *)RTA_DATA(a);
	return 0;
}

ino_t rrc_unix_peer(struct rrc_engine *e, ino_t ino)
{
	rrc_autoclose int sock = diag_socket(e);
	struct {
		struct nlmsghdr h;
		struct unix_diag_req req;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST },
		.req = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0u,
			 .udiag_ino = (uint32_t)ino,
			 .udiag_show = UDIAG_SHOW_PEER,
			 .udiag_cookie = { ~0u, ~0u } },
	};
	union {
		struct nlmsghdr h;
		char bytes[8192];
	} answer;
	ssize_t n;

	if (sock < 0 || send(sock, &ask, sizeof(ask), 0) != sizeof(ask))
		return 0;
	n = recv(sock, &answer, sizeof(answer), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct unix_diag_msg)) ||
	    answer.h.nlmsg_type != SOCK_DIAG_BY_FAMILY || answer.h.nlmsg_len > (size_t)n)
		return 0;
	return peer_in(&answer.h);
}

int rrc_unix_dup(struct rrc_engine *e, ino_t ino)
{
	for (const struct tproc *p = e->procs; p; p = p->next) {
		struct dirent *d;
		struct stat st;
		char path[300];
		int fd = -1;
		DIR *dir;

		if (!p->threads)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd", p->pid);
		dir = opendir(path);
		while (dir && fd < 0 && (d = readdir(dir))) {
			snprintf(path, sizeof(path), "/proc/%d/fd/%s", p->pid, d->d_name);
			if (d->d_name[0] != '.' && !stat(path, &st) && S_ISSOCK(st.st_mode) &&
			    st.st_ino == ino)
				fd = rrc_tproc_getfd(p, atoi(d->d_name));
		}
		if (dir)
			closedir(dir);
		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}
