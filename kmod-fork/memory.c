// SPDX-License-Identifier: GPL-2.0
/* Memory that the kernel's fork does not copy: what the program asked to leave out or to wipe, and
 * anonymous memory that is shared. The first is copied after all, the second becomes a memory object of
 * the shadow's own, with the contents of the pause. */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

#define NOT_COPIED (VM_DONTCOPY | VM_WIPEONFORK)

/* Of the kernel's own mount of shared memory, what mmap and memfd_create make; not System V's, not a
 * driver's. */
bool rrc_memory_copyable(const struct file *f)
{
	const char *name;

	if (!f || file_inode(f)->i_mapping->a_ops != rrc_kernel.shmem_aops ||
	    !(file_inode(f)->i_sb->s_flags & SB_KERNMOUNT))
		return false;
	name = f->f_path.dentry->d_name.name;
	return !strcmp(name, "dev/zero") || !strncmp(name, "memfd:", 6);
}

/* Page by page, in the pause: reading and writing the files takes longer. */
static int copy_pages(struct address_space *from, struct address_space *to, pgoff_t at, pgoff_t end)
{
	for (; at < end; at++) {
		struct page *have = shmem_read_mapping_page(from, at), *copy;

		if (IS_ERR(have))
			return PTR_ERR(have);
		copy = shmem_read_mapping_page(to, at);
		if (!IS_ERR(copy)) {
			copy_highpage(copy, have);
			set_page_dirty(copy);
			put_page(copy);
		}
		put_page(have);
		if (IS_ERR(copy))
			return PTR_ERR(copy);
	}
	return 0;
}

static int copy_contents(struct file *from, struct file *to)
{
	loff_t at = 0, hole, end = i_size_read(file_inode(from));
	int r = 0;

	while (!r && at < end) {
		at = vfs_llseek(from, at, SEEK_DATA);
		if (at < 0)
			break; /* no more data */
		hole = vfs_llseek(from, at, SEEK_HOLE);
		if (hole < 0)
			return hole;
		r = copy_pages(from->f_mapping, to->f_mapping, at >> PAGE_SHIFT,
			       DIV_ROUND_UP_ULL(hole, PAGE_SIZE));
		at = hole;
	}
	return r;
}

static struct file *copy_object(struct file *f)
{
	const char *name = f->f_path.dentry->d_name.name;
	loff_t size = i_size_read(file_inode(f));
	struct file *from, *to;
	int r;

	/* A descriptor of its own: looking for data moves the offset. */
	from = dentry_open(&f->f_path, O_RDONLY | O_LARGEFILE, current_cred());
	if (IS_ERR(from))
		return from;
	if (name[0] == 'm') {
		to = shmem_file_setup(name, size, VM_NORESERVE);
		if (!IS_ERR(to))
			to->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	} else {
		to = rrc_kernel.shmem_kernel_file_setup(name, size, VM_NORESERVE);
	}
	if (!IS_ERR(to)) {
		r = copy_contents(from, to);
		SHMEM_I(file_inode(to))->seals = SHMEM_I(file_inode(from))->seals;
		if (r) {
			fput(to);
			to = ERR_PTR(r);
		}
	}
	fput(from);
	return to;
}

static struct rrc_shm *find(struct rrc_session *s, const struct inode *inode)
{
	struct rrc_shm *m;

	list_for_each_entry (m, &s->shms, node)
		if (m->inode == inode)
			return m;
	return NULL;
}

/* Once an object: processes and descriptors that share it share the copy. */
int rrc_memory_copy(struct rrc_session *s, struct file *f)
{
	struct rrc_shm *m;
	int r = 0;

	mutex_lock(&s->share);
	if (find(s, file_inode(f)))
		goto out;
	r = -ENOMEM;
	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		goto out;
	m->copy = copy_object(f);
	r = PTR_ERR_OR_ZERO(m->copy);
	if (r) {
		kfree(m);
		goto out;
	}
	m->inode = file_inode(f);
	ihold(m->inode);
	list_add_tail(&m->node, &s->shms);
out:
	mutex_unlock(&s->share);
	return r;
}

/* Not counted: lives until the shadow is whole. */
struct file *rrc_memory_copy_of(struct rrc_session *s, const struct inode *inode)
{
	struct rrc_shm *m;

	mutex_lock(&s->share);
	m = find(s, inode);
	mutex_unlock(&s->share);
	return m ? m->copy : NULL;
}

/* Anonymous memory and files; a driver's reasons not to copy stay. */
static bool programs_own(const struct vm_area_struct *vma)
{
	if (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
		return false;
	return !vma->vm_file || S_ISREG(file_inode(vma->vm_file)->i_mode);
}

/* Mappings of the current process that have to be replaced in its shadow. */
struct piece {
	struct list_head node;
	struct file *file; /* counted */
	unsigned long start, len, prot, offset;
};

static int shared_pieces(struct rrc_proc *p, struct list_head *pieces)
{
	VMA_ITERATOR(it, current->mm, 0);
	struct vm_area_struct *vma;
	struct piece *c;
	int r = 0;

	mmap_read_lock(current->mm);
	for_each_vma (it, vma) {
		if (!(vma->vm_flags & VM_MAYSHARE))
			continue;
		if (!rrc_memory_copyable(vma->vm_file)) {
			if (vma->vm_flags & VM_SHARED)
				p->shares = true;
			continue;
		}
		c = kmalloc(sizeof(*c), GFP_KERNEL);
		if (!c) {
			r = -ENOMEM;
			break;
		}
		*c = (struct piece){
			.file = get_file(vma->vm_file),
			.start = vma->vm_start,
			.len = vma->vm_end - vma->vm_start,
			.prot = vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC),
			.offset = vma->vm_pgoff << PAGE_SHIFT,
		};
		list_add_tail(&c->node, pieces);
	}
	mmap_read_unlock(current->mm);
	return r;
}

static void drop_pieces(struct list_head *pieces)
{
	struct piece *c, *next;

	list_for_each_entry_safe (c, next, pieces, node) {
		fput(c->file);
		kfree(c);
	}
}

static int add_vma(struct rrc_proc *p, const struct vm_area_struct *vma, unsigned long flags)
{
	struct rrc_vma *v = kmalloc(sizeof(*v), GFP_KERNEL);

	if (!v)
		return -ENOMEM;
	v->start = vma->vm_start;
	v->end = vma->vm_end;
	v->flags = flags;
	list_add_tail(&v->node, &p->vmas);
	return 0;
}

/* In the original, before its copy. Undone by rrc_memory_after, in any case. */
int rrc_memory_before(struct rrc_proc *p)
{
	struct mm_struct *mm = current->mm;
	VMA_ITERATOR(it, mm, 0);
	struct vm_area_struct *vma;
	LIST_HEAD(pieces);
	struct piece *c;
	int r;

	r = shared_pieces(p, &pieces);
	list_for_each_entry (c, &pieces, node)
		r = r ?: rrc_memory_copy(p->s, c->file);
	drop_pieces(&pieces);
	if (r)
		return r;

	mmap_write_lock(mm);
	for_each_vma (it, vma) {
		if (!(vma->vm_flags & NOT_COPIED) || !programs_own(vma))
			continue;
		r = add_vma(p, vma, vma->vm_flags & NOT_COPIED);
		if (r)
			break;
		rrc_vm_flags_clear(vma, NOT_COPIED);
	}
	mmap_write_unlock(mm);
	return r;
}

static void set_flags_again(struct rrc_proc *p)
{
	struct vm_area_struct *vma;
	struct rrc_vma *v;

	if (list_empty(&p->vmas))
		return;
	mmap_write_lock(current->mm);
	list_for_each_entry (v, &p->vmas, node) {
		vma = find_vma(current->mm, v->start);
		if (vma && vma->vm_start == v->start)
			rrc_vm_flags_set(vma, v->flags);
	}
	mmap_write_unlock(current->mm);
}

void rrc_memory_after(struct rrc_proc *p)
{
	set_flags_again(p);
}

/* In the shadow, while it is one thread. */
int rrc_memory_shadow(struct rrc_proc *p)
{
	LIST_HEAD(pieces);
	struct file *copy;
	struct piece *c;
	long r;

	set_flags_again(p);
	r = shared_pieces(p, &pieces);
	list_for_each_entry (c, &pieces, node) {
		if (r)
			break;
		copy = rrc_memory_copy_of(p->s, file_inode(c->file));
		if (!copy) {
			r = -ENOENT;
			break;
		}
		r = vm_mmap(copy, c->start, c->len, c->prot, MAP_SHARED | MAP_FIXED, c->offset);
		r = IS_ERR_VALUE(r) ? r : 0;
	}
	drop_pieces(&pieces);
	return r;
}

static u32 special(const struct rrc_proc *p, const struct vm_area_struct *vma)
{
	u32 flags = 0;

	if ((vma->vm_flags & VM_SHARED) && !rrc_memory_copyable(vma->vm_file))
		flags |= RRC_FORK_MAP_SHARED;
	if (vma->vm_flags & VM_LOCKED)
		flags |= RRC_FORK_MAP_LOCKED;
	if (programs_own(vma) && (vma->vm_flags & VM_DONTCOPY))
		flags |= RRC_FORK_MAP_DONTFORK;
	if (programs_own(vma) && (vma->vm_flags & VM_WIPEONFORK))
		flags |= RRC_FORK_MAP_WIPEONFORK;
	return flags;
}

void rrc_memory_tell(struct rrc_proc *p)
{
	VMA_ITERATOR(it, current->mm, 0);
	struct vm_area_struct *vma;

	mmap_read_lock(current->mm);
	for_each_vma (it, vma) {
		u32 flags = special(p, vma);
		struct rrc_fork_mapping *m;

		if (!flags)
			continue;
		m = rrc_buf_rec(p, RRC_FORK_MAPPING, sizeof(*m), 0);
		if (!m)
			break;
		m->start = vma->vm_start;
		m->end = vma->vm_end;
		m->offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
		m->flags = flags;
		if (vma->vm_file) {
			m->ino = file_inode(vma->vm_file)->i_ino;
			m->dev_major = MAJOR(file_inode(vma->vm_file)->i_sb->s_dev);
			m->dev_minor = MINOR(file_inode(vma->vm_file)->i_sb->s_dev);
		}
	}
	mmap_read_unlock(current->mm);
}
