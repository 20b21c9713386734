// SPDX-License-Identifier: MIT
/*
 * Which socket of the tree is which connection of the log. We hold a duplicate of each, so that it can
 * be rebuilt in place at go-live, and let go of it when the program has closed it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tracee.h"
#include "util.h"

/* A connection and where the program holds it. */
struct engine_conn {
	uint64_t cookie; /* on the primary, as in the log */
	pid_t pid; /* process that has it, as seen from here; 0: not known */
	int fd; /* its descriptor there when it was seen last */
	int sock; /* our duplicate of the socket; -1: not had */
};

struct held_conn {
	struct engine_conn c;
	struct held_conn *chain;
};

static struct held_conn **slot_of(struct rrc_engine *e, uint64_t cookie)
{
	struct held_conn **at = &e->conns[cookie % RRC_TRACEE_HASH];

	while (*at && (*at)->c.cookie != cookie)
		at = &(*at)->chain;
	return at;
}

int rrc_conn_note(struct rrc_engine *e, const struct tproc *p, int fd, uint64_t cookie)
{
	struct held_conn **at = slot_of(e, cookie);
	int sock = rrc_tproc_getfd(p, fd);

	if (sock < 0)
		return sock;
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (!*at) {
			close(sock);
			return -ENOMEM;
		}
		(*at)->c.sock = -1;
	}
	rrc_closep(&(*at)->c.sock);
	(*at)->c = (struct engine_conn){ .cookie = cookie, .pid = p->pid, .fd = fd, .sock = sock };
	return 0;
}

/* Is it this socket that the process has there? */
static bool same_socket(pid_t pid, int fd, const struct stat *want)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	return !stat(path, &st) && st.st_ino == want->st_ino && st.st_dev == want->st_dev;
}

/* A descriptor of the process for this socket, or -1. */
static int find_in(pid_t pid, const struct stat *want)
{
	char path[64];
	struct dirent *d;
	int found = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && found < 0 && (d = readdir(dir)))
		if (d->d_name[0] != '.' && same_socket(pid, atoi(d->d_name), want))
			found = atoi(d->d_name);
	if (dir)
		closedir(dir);
	return found;
}

/* The socket is still open in the program: where it was, or elsewhere. */
static bool still_held(struct rrc_engine *e, struct engine_conn *c)
{
	struct stat want;

	if (fstat(c->sock, &want))
		return false;
	if (c->pid && same_socket(c->pid, c->fd, &want))
		return true;
	for (struct tproc *p = e->procs; p; p = p->next) {
		int fd = p->threads ? find_in(p->pid, &want) : -1;

		if (fd < 0)
			continue;
		c->pid = p->pid;
		c->fd = fd;
		return true;
	}
	return false;
}

static void drop(struct held_conn **at)
{
	struct held_conn *h = *at;

	*at = h->chain;
	rrc_closep(&h->c.sock);
	free(h);
}

void rrc_conn_closed(struct rrc_engine *e, uint64_t cookie)
{
	struct held_conn **at = slot_of(e, cookie);

	if (*at && !still_held(e, &(*at)->c))
		drop(at);
}

void rrc_conns_drop(struct rrc_engine *e)
{
	for (size_t i = 0; i < RRC_TRACEE_HASH; i++)
		while (e->conns[i])
			drop(&e->conns[i]);
}

int rrc_engine_conn(struct rrc_engine *e, uint64_t cookie)
{
	struct held_conn **at = slot_of(e, cookie);
	int sock;

	if (!*at)
		return -ENOENT;
	if (!still_held(e, &(*at)->c)) {
		drop(at);
		return -ENOENT;
	}
	sock = (*at)->c.sock;
	(*at)->c.sock = -1;
	drop(at);
	return sock;
}
