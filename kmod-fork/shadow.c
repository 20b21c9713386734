// SPDX-License-Identifier: GPL-2.0
/* The first and only thing that the shadow's threads do: become what the originals are, and stop. */
#include <linux/ktime.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "session.h"

static void count_built(struct rrc_session *s)
{
	if (!atomic_dec_and_test(&s->to_build))
		return;
	rrc_session_forget_shared(s);
	s->t_built = ktime_get_ns();
	complete_all(&s->built);
}

/* What is only half made dies before it would return to its program. */
static void settle(struct rrc_thread *t)
{
	struct rrc_session *s = t->proc->s;

	rrc_snapshot_put(t);
	if (READ_ONCE(s->err))
		send_sig(SIGKILL, current, 1);
	count_built(s);
	rrc_session_put(s);
}

static int sibling(void *thread)
{
	settle(thread);
	return 0;
}

static void make_siblings(struct rrc_proc *p)
{
	const u64 flags =
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	struct rrc_hidden hidden;
	struct rrc_thread *t;
	int r, hide;

	hide = rrc_hide_pending(&hidden);
	list_for_each_entry (t, &p->threads, node) {
		if (t->leader || !t->parked)
			continue;
		r = READ_ONCE(p->s->err) ? -ECANCELED : hide ?: rrc_clone(t, flags, sibling);
		if (r >= 0)
			continue;
		rrc_session_fail(p->s, r);
		count_built(p->s);
	}
	if (!hide)
		rrc_unhide_pending(&hidden);
}

int rrc_shadow_leader(void *thread)
{
	struct rrc_thread *t = thread;
	struct rrc_proc *p = t->proc;
	struct rrc_session *s = p->s;
	int r;

	p->shadow = get_task_struct(current);
	/* In the pause still: nobody sees an end of file later because of the shadow. */
	rrc_files_close(false);
	if (atomic_dec_and_test(&s->to_bear))
		complete_all(&s->born);
	r = rrc_memory_shadow(p);
	if (s->flags & RRC_FORK_NO_FILES)
		rrc_files_close(true);
	else
		r = r ?: rrc_files_reopen(s);
	if (r)
		rrc_session_fail(s, r);
	make_siblings(p);
	settle(t);
	return 0;
}
