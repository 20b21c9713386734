// SPDX-License-Identifier: GPL-2.0
/* Life of a session: every thread that was asked, every thread of the shadow that is being made and the
 * open device hold it, so that nobody has to wait for a thread that comes late. */
#include <linux/cgroup.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "session.h"

static atomic_long_t sessions = ATOMIC_LONG_INIT(0); /* a test counts what is left */

long rrc_session_count(void)
{
	return atomic_long_read(&sessions);
}

struct rrc_session *rrc_session_new(const struct rrc_select *select)
{
	struct rrc_session *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	kref_init(&s->ref);
	__module_get(THIS_MODULE);
	s->select = select;
	INIT_LIST_HEAD(&s->procs);
	INIT_LIST_HEAD(&s->shms);
	hash_init(s->known);
	hash_init(s->known_procs);
	hash_init(s->opens);
	init_waitqueue_head(&s->wait);
	init_completion(&s->go);
	init_completion(&s->init_made);
	init_completion(&s->copied);
	init_completion(&s->born);
	init_completion(&s->built);
	init_completion(&s->linked);
	init_completion(&s->release);
	mutex_init(&s->share);
	s->agent = get_task_struct(current->group_leader);
	atomic_long_inc(&sessions);
	return s;
}

static void free_proc(struct rrc_proc *p)
{
	struct rrc_thread *t, *next;
	struct rrc_vma *v, *next_vma;

	list_for_each_entry_safe (t, next, &p->threads, node) {
		put_task_struct(t->task);
		if (t->cred)
			put_cred(t->cred);
		kvfree(t->fpu);
		kfree(t);
	}
	list_for_each_entry_safe (v, next_vma, &p->vmas, node)
		kfree(v);
	kvfree(p->state.data);
	if (p->shadow)
		put_task_struct(p->shadow);
	put_task_struct(p->leader);
	kfree(p);
}

/* Files and memory that are held for the shadow: until it is whole, or will never be. */
void rrc_session_forget_shared(struct rrc_session *s)
{
	struct rrc_shm *m, *next;
	struct rrc_open *o;
	struct hlist_node *tmp;
	int i;

	mutex_lock(&s->share);
	list_for_each_entry_safe (m, next, &s->shms, node) {
		list_del(&m->node);
		fput(m->copy);
		iput(m->inode);
		kfree(m);
	}
	hash_for_each_safe (s->opens, i, tmp, o, hash) {
		hash_del(&o->hash);
		fput(o->file);
		if (o->own)
			fput(o->own);
		kfree(o);
	}
	mutex_unlock(&s->share);
}

static void free_session(struct kref *ref)
{
	struct rrc_session *s = container_of(ref, struct rrc_session, ref);
	struct rrc_proc *p, *next;

	rrc_session_forget_shared(s);
	list_for_each_entry_safe (p, next, &s->procs, node)
		free_proc(p);
	if (s->ns)
		put_pid_ns(s->ns);
	put_task_struct(s->agent);
	kfree(s);
	atomic_long_dec(&sessions);
	module_put(THIS_MODULE);
}

void rrc_session_get(struct rrc_session *s)
{
	kref_get(&s->ref);
}

void rrc_session_put(struct rrc_session *s)
{
	kref_put(&s->ref, free_session);
}

void rrc_session_fail(struct rrc_session *s, int err)
{
	cmpxchg(&s->err, 0, err);
}

/* The originals go on. Whoever has not parked yet will not: he sees that it is over. */
void rrc_session_release(struct rrc_session *s)
{
	cmpxchg(&s->stage, RRC_STAGE_PARKED, RRC_STAGE_RELEASED);
	WRITE_ONCE(s->over, true);
	complete_all(&s->go);
	complete_all(&s->release);
}
