// SPDX-License-Identifier: GPL-2.0
/* What the originals' descriptors are and where they stand, in the pause: among them those that the
 * shadow does not keep. */
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/net.h>
#include <linux/pipe_fs_i.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/vmalloc.h>
#include <net/af_unix.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "compat.h"
#include "session.h"

#define INFO_MAX (1024 * 1024)

/* Their words in /proc/PID/fdinfo need no more than the file. */
static bool has_info(const struct file *f)
{
	static const char *const names[] = { "[eventfd]", "[eventpoll]", "[timerfd]", "[signalfd]",
					     "inotify" };
	const char *name = f->f_path.dentry->d_name.name;
	int i;

	if (file_inode(f)->i_sb->s_magic != ANON_INODE_FS_MAGIC || !f->f_op->show_fdinfo)
		return false;
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* *LEN bytes that the caller frees; NULL: there are none. */
static char *info(struct rrc_proc *p, struct file *f, size_t *len)
{
	struct seq_file m = { .file = f, .size = 4096 };

	*len = 0;
	if (!has_info(f))
		return NULL;
	for (; m.size <= INFO_MAX; m.size *= 2) {
		m.count = 0;
		m.buf = kvmalloc(m.size, GFP_KERNEL);
		if (!m.buf)
			break;
		f->f_op->show_fdinfo(&m, f);
		if (!seq_has_overflowed(&m)) {
			*len = m.count;
			return m.buf;
		}
		kvfree(m.buf);
	}
	p->state.failed = true;
	return NULL;
}

static u32 unread(struct file *f)
{
	struct pipe_inode_info *pipe = file_inode(f)->i_pipe;
	unsigned int i;
	u32 n = 0;

	if (!pipe)
		return 0;
	mutex_lock(&pipe->mutex);
	for (i = pipe->tail; i != pipe->head; i++)
		n += pipe->bufs[i & (pipe->ring_size - 1)].len;
	mutex_unlock(&pipe->mutex);
	return n;
}

static void tell_tcp(struct sock *sk, struct rrc_fork_socket *r)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	r->snd_una = tp->snd_una;
	r->snd_nxt = tp->snd_nxt;
	r->write_seq = tp->write_seq;
	r->rcv_nxt = tp->rcv_nxt;
	r->copied_seq = tp->copied_seq;
	r->snd_wnd = tp->snd_wnd;
	r->rcv_wnd = tp->rcv_wnd;
	r->queued = r->state == TCP_LISTEN ? sk->sk_ack_backlog : tp->rcv_nxt - tp->copied_seq;
}

static u64 unix_peer_ino(struct sock *sk)
{
	struct sock *peer;
	u64 ino = 0;

	unix_state_lock(sk);
	peer = unix_peer(sk);
	if (peer)
		ino = sock_i_ino(peer);
	unix_state_unlock(sk);
	return ino;
}

static void tell_socket(struct rrc_proc *p, struct file *f, int fd)
{
	struct rrc_fork_socket *r = rrc_buf_rec(p, RRC_FORK_SOCKET, sizeof(*r), 0);
	struct socket *sock = sock_from_file(f);
	struct sock *sk = sock ? sock->sk : NULL;

	if (!r)
		return;
	r->fd = fd;
	if (!sk)
		return;
	lock_sock(sk);
	r->family = sk->sk_family;
	r->type = sk->sk_type;
	r->protocol = sk->sk_protocol;
	r->state = sk->sk_state;
	r->cookie = rrc_kernel.sock_gen_cookie(sk);
	r->queued = skb_queue_len_lockless(&sk->sk_receive_queue);
	if ((sk->sk_family == AF_INET || sk->sk_family == AF_INET6) &&
	    sk->sk_protocol == IPPROTO_TCP && sk->sk_type == SOCK_STREAM)
		tell_tcp(sk, r);
	release_sock(sk);
	if (sk->sk_family == AF_UNIX)
		r->peer_ino = unix_peer_ino(sk);
}

static void tell(struct rrc_proc *p, struct file *f, unsigned int fd, bool cloexec)
{
	const struct inode *inode = file_inode(f);
	struct rrc_fork_file *r;
	size_t len;
	char *text = info(p, f, &len);

	r = rrc_buf_rec(p, RRC_FORK_FILE, sizeof(*r) + len, 0);
	if (r) {
		r->fd = fd;
		r->cloexec = cloexec;
		r->flags = f->f_flags;
		r->mode = inode->i_mode;
		r->pos = f->f_pos;
		r->ino = inode->i_ino;
		r->dev_major = MAJOR(inode->i_sb->s_dev);
		r->dev_minor = MINOR(inode->i_sb->s_dev);
		r->closed = rrc_files_closed(f);
		r->unread = S_ISFIFO(inode->i_mode) && !(f->f_mode & FMODE_PATH) ? unread(f) : 0;
		r->info_len = len;
		if (len)
			memcpy(r->info, text, len);
	}
	kvfree(text);
	if (r && S_ISSOCK(inode->i_mode) && !(f->f_mode & FMODE_PATH))
		tell_socket(p, f, fd);
}

void rrc_descriptors_tell(struct rrc_proc *p)
{
	unsigned int fd = 0;
	struct file *f;
	bool cloexec;

	for (; (f = rrc_files_next(&fd, &cloexec)); fd++) {
		tell(p, f, fd, cloexec);
		fput(f);
	}
}
