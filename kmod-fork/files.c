// SPDX-License-Identifier: GPL-2.0
/* Descriptors of the shadow: a fork shares open files with the parent, offsets and all. Files are opened
 * anew at the offset of the pause; what cannot be had twice is closed. */
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446
#endif

bool rrc_files_closed(const struct file *f)
{
	umode_t mode = file_inode(f)->i_mode;
	unsigned long magic = file_inode(f)->i_sb->s_magic;

	if (f->f_mode & FMODE_PATH)
		return false;
	return S_ISSOCK(mode) || S_ISFIFO(mode) || magic == ANON_INODE_FS_MAGIC ||
	       magic == PID_FS_MAGIC;
}

static bool opened_anew(const struct file *f)
{
	umode_t mode = file_inode(f)->i_mode;

	return !(f->f_mode & FMODE_PATH) && !rrc_files_closed(f) &&
	       (S_ISREG(mode) || S_ISDIR(mode));
}

/* The first open descriptor from *FD on, counted; NULL behind the last. */
struct file *rrc_files_next(unsigned int *fd, bool *cloexec)
{
	struct files_struct *files = current->files;
	struct file *f = NULL;
	struct fdtable *t;

	spin_lock(&files->file_lock);
	t = files_fdtable(files);
	for (; !f; (*fd)++) {
		*fd = find_next_bit(t->open_fds, t->max_fds, *fd);
		if (*fd >= t->max_fds)
			break;
		f = files_lookup_fd_locked(files, *fd);
		if (f) {
			get_file(f);
			*cloexec = test_bit(*fd, t->close_on_exec);
			break;
		}
	}
	spin_unlock(&files->file_lock);
	return f;
}

static struct rrc_open *find(struct rrc_session *s, const struct file *f)
{
	struct rrc_open *o;

	hash_for_each_possible (s->opens, o, hash, (unsigned long)f)
		if (o->file == f)
			return o;
	return NULL;
}

static int remember(struct rrc_session *s, struct file *f)
{
	struct rrc_open *o;
	int r = 0;

	mutex_lock(&s->share);
	if (!find(s, f)) {
		o = kzalloc(sizeof(*o), GFP_KERNEL);
		if (o) {
			o->file = get_file(f);
			o->pos = f->f_pos;
			hash_add(s->opens, &o->hash, (unsigned long)f);
		} else {
			r = -ENOMEM;
		}
	}
	mutex_unlock(&s->share);
	return r;
}

/* In the original, before its copy: where it stands in its files. */
int rrc_files_before(struct rrc_session *s)
{
	unsigned int fd = 0;
	struct file *f;
	bool cloexec;
	int r = 0;

	for (; !r && (f = rrc_files_next(&fd, &cloexec)); fd++) {
		if (opened_anew(f)) {
			r = remember(s, f);
			if (!r && rrc_memory_copyable(f))
				r = rrc_memory_copy(s, f);
		}
		fput(f);
	}
	return r;
}

/* In the shadow, while it is one thread: what cannot be had twice, or everything. */
void rrc_files_close(bool all)
{
	unsigned int fd = 0;
	struct file *f;
	bool cloexec;

	for (; (f = rrc_files_next(&fd, &cloexec)); fd++) {
		if (all || rrc_files_closed(f))
			close_fd(fd);
		fput(f);
	}
}

static struct file *open_anew(struct rrc_session *s, const struct file *f)
{
	struct file *copy = rrc_memory_copyable(f) ? rrc_memory_copy_of(s, file_inode(f)) : NULL;

	return dentry_open(copy ? &copy->f_path : &f->f_path,
			   f->f_flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY), current_cred());
}

/* Descriptors that shared one open file share the new one, in whatever process. */
static struct file *own(struct rrc_session *s, const struct file *f)
{
	struct rrc_open *o = NULL;
	struct file *opened, *mine = NULL;

	mutex_lock(&s->share);
	o = find(s, f);
	mine = o ? o->own : NULL;
	mutex_unlock(&s->share);
	if (!o || mine)
		return mine;
	/* Not under the lock: the copies of shared memory are looked up with it. */
	opened = open_anew(s, f);
	if (IS_ERR(opened))
		return NULL;
	mutex_lock(&s->share);
	if (!o->own) {
		opened->f_pos = o->pos;
		o->own = opened;
		opened = NULL;
	}
	mine = o->own;
	mutex_unlock(&s->share);
	if (opened)
		fput(opened);
	return mine;
}

int rrc_files_reopen(struct rrc_session *s)
{
	struct file *f, *mine;
	unsigned int fd = 0;
	bool cloexec;
	int r = 0;

	for (; r >= 0 && (f = rrc_files_next(&fd, &cloexec)); fd++) {
		if (opened_anew(f)) {
			mine = own(s, f);
			if (mine) {
				r = rrc_kernel.replace_fd(fd, mine, cloexec ? O_CLOEXEC : 0);
			} else {
				mutex_lock(&s->share);
				s->kept_shared++;
				mutex_unlock(&s->share);
			}
		}
		fput(f);
	}
	return r < 0 ? r : 0;
}
