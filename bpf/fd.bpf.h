/* SPDX-License-Identifier: GPL-2.0 */
/* What is behind a descriptor of the current task: rec.fdkind, rec.obj, RRC_F_NONBLOCK. */
#ifndef RRC_FD_BPF_H
#define RRC_FD_BPF_H

#include "maps.bpf.h"

#define S_IFMT	   0170000
#define S_IFSOCK   0140000
#define S_IFREG	   0100000
#define S_IFBLK	   0060000
#define S_IFDIR	   0040000
#define S_IFCHR	   0020000
#define S_IFIFO	   0010000
#define O_NONBLOCK 04000

#define AF_UNIX	    1
#define AF_INET	    2
#define AF_INET6    10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define TCP_LISTEN  10

#define PROC_MAGIC	 0x9fa0
#define SYSFS_MAGIC	 0x62656572
#define CGROUP_MAGIC	 0x27e0eb
#define CGROUP2_MAGIC	 0x63677270
#define DEBUGFS_MAGIC	 0x64626720
#define TRACEFS_MAGIC	 0x74726163
#define SECURITYFS_MAGIC 0x73636673
#define BPF_FS_MAGIC	 0xcafe4a11
#define NSFS_MAGIC	 0x6e736673
#define ANON_INODE_MAGIC 0x09041934
#define PIDFS_MAGIC	 0x50494446

/* A TCP socket that has no cookie yet (neither listening nor connecting) goes by its inode number; the
 * bit keeps that apart from cookies. */
#define OBJ_NO_COOKIE (1ull << 63)

static __always_inline bool kernel_made(u64 magic)
{
	switch (magic) {
	case PROC_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_MAGIC:
	case CGROUP2_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case BPF_FS_MAGIC:
	case NSFS_MAGIC:
		return true;
	}
	return false;
}

extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;

/* A field of what an untyped pointer points to: a plain load where the kernel lets us say its type
 * (6.2), a call to read it where not. A walk is ten of these, on every call with a descriptor. */
#define AS(type, ptr) \
	((type *)(cfg_rdonly_cast ? bpf_rdonly_cast(ptr, bpf_core_type_id_kernel(type)) : (ptr)))
#define GET(ptr, field) (cfg_rdonly_cast ? (ptr)->field : BPF_CORE_READ(ptr, field))

static __always_inline u8 socket_kind(struct file *file, u64 *obj)
{
	struct socket *socket = AS(struct socket, GET(file, private_data));
	struct sock *sk = GET(socket, sk);
	u16 family = GET(sk, __sk_common.skc_family);
	u16 proto, type;
	u64 cookie;

	if (family == AF_UNIX)
		return RRC_FD_UNIX;
	if (family != AF_INET && family != AF_INET6)
		return RRC_FD_SOCK_OTHER;
	proto = GET(sk, sk_protocol);
	type = GET(sk, sk_type);
	if (proto == IPPROTO_UDP)
		return RRC_FD_UDP;
	if (proto != IPPROTO_TCP || type != SOCK_STREAM)
		return RRC_FD_SOCK_OTHER;
	cookie = GET(sk, __sk_common.skc_cookie.counter);
	*obj = cookie ?: *obj | OBJ_NO_COOKIE;
	if (GET(sk, __sk_common.skc_state) == TCP_LISTEN)
		return RRC_FD_TCP_LISTEN;
	return RRC_FD_TCP;
}

static __always_inline struct file *file_of(int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct files_struct *files = task->files;
	struct file *file = NULL;
	struct fdtable *fdt;

	if (!files)
		return NULL;
	fdt = files->fdt;
	if ((u32)fd >= fdt->max_fds)
		return NULL;
	if (bpf_probe_read_kernel(&file, sizeof(file), fdt->fd + (u32)fd))
		return NULL;
	return file;
}

/* Fills t->rec for descriptor fd of the current task. A function of its own for the verifier. */
__noinline int rrc_describe_fd(struct rrc_thread *t, int fd)
{
	struct super_block *sb;
	struct inode *inode;
	struct file *raw, *file;
	u64 obj, magic;
	u16 mode;
	u8 kind;

	if (!t)
		return 0;
	t->rec.fdkind = RRC_FD_NONE;
	t->rec.obj = 0;
	raw = file_of(fd);
	if (!raw)
		return 0;
	file = AS(struct file, raw);
	inode = GET(file, f_inode);
	mode = GET(inode, i_mode) & S_IFMT;
	obj = GET(inode, i_ino);
	if (GET(file, f_flags) & O_NONBLOCK)
		t->rec.flags |= RRC_F_NONBLOCK;
	if (mode == S_IFSOCK) {
		kind = socket_kind(file, &obj);
	} else if (mode == S_IFIFO) {
		kind = RRC_FD_FIFO;
	} else {
		sb = GET(inode, i_sb);
		magic = GET(sb, s_magic);
		if (kernel_made(magic)) {
			kind = RRC_FD_PROC;
		} else if (mode == S_IFREG && magic != PIDFS_MAGIC && magic != ANON_INODE_MAGIC) {
			kind = RRC_FD_REG;
		} else if (mode == S_IFDIR) {
			kind = RRC_FD_DIR;
		} else if (mode == S_IFCHR || mode == S_IFBLK) {
			kind = RRC_FD_CHR;
		} else {
			kind = RRC_FD_ANON;
			obj = (u64)raw * cfg_scramble;
		}
	}
	t->rec.fdkind = kind;
	t->rec.obj = obj;
	return 0;
}

/* sendfile: which file it was, and where that stands now, in argument registers that the call does not
 * have. The collector finds the bytes by them (user/sendfile.c). */
__noinline int rrc_describe_sent(struct rrc_thread *t)
{
	struct inode *inode;
	struct file *raw, *file;

	if (!t)
		return 0;
	t->rec.args[4] = 0;
	t->rec.args[5] = 0;
	raw = file_of(t->rec.args[1]);
	if (!raw)
		return 0;
	file = AS(struct file, raw);
	inode = GET(file, f_inode);
	t->rec.args[4] = GET(inode, i_ino);
	t->rec.args[5] = GET(file, f_pos);
	return 0;
}

#endif
