// SPDX-License-Identifier: GPL-2.0
/* Parks the threads of a container: each runs a piece of task work on its way to user space (one that
 * waits in a call is woken for it, and makes that call again afterwards), saves its state and stays. */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/nsproxy.h>
#include <linux/sched/jobctl.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "session.h"

/* Nobody stands longer than was asked for, whatever became of the agent. False: killed, or the time is over; then
 * the copy would not be of one moment. */
static bool stand(struct rrc_session *s, struct completion *until)
{
	long left = READ_ONCE(s->deadline) - jiffies;
	long r = wait_for_completion_killable_timeout(until, max(left, 1L));

	if (r > 0)
		return true;
	if (r < 0)
		WRITE_ONCE(s->broken, true);
	else if (!READ_ONCE(s->over))
		WRITE_ONCE(s->expired, true);
	WRITE_ONCE(s->over, true);
	return false;
}

/* While copies are made nobody leaves: until it is the agent's, the shadow is a child of the originals, of whose end
 * they must not hear (wait4 does not expect a child that has no number). The agent waits for nothing there. */
static void stand_to_the_end(struct rrc_session *s)
{
	if (stand(s, &s->release))
		return;
	if (cmpxchg(&s->stage, RRC_STAGE_PARKED, RRC_STAGE_RELEASED) == RRC_STAGE_FORKING)
		wait_for_completion(&s->linked);
	rrc_session_release(s);
}

static void come(struct rrc_session *s)
{
	if (atomic_dec_and_test(&s->to_park))
		wake_up(&s->wait);
}

static void park(struct callback_head *work)
{
	struct rrc_thread *t = container_of(work, struct rrc_thread, park);
	struct rrc_session *s = t->proc->s;

	if ((current->flags & PF_EXITING) || fatal_signal_pending(current)) {
		t->dead = true;
		come(s);
	} else if (READ_ONCE(s->over)) {
		come(s);
	} else {
		rrc_snapshot_take(t);
		t->parked = true;
		come(s);
		if (t->leader) {
			if (!stand(s, &s->go))
				cmpxchg(&s->stage, RRC_STAGE_PARKED, RRC_STAGE_RELEASED);
			rrc_fork_self(t);
		}
		stand_to_the_end(s);
	}
	rrc_session_put(s);
}

static void ask(struct rrc_session *s)
{
	struct rrc_proc *p;
	struct rrc_thread *t;

	list_for_each_entry (p, &s->procs, node) {
		list_for_each_entry (t, &p->threads, node) {
			if (t->queued)
				continue;
			t->queued = true;
			init_task_work(&t->park, park);
			atomic_inc(&s->to_park);
			rrc_session_get(s);
			if (!task_work_add(t->task, &t->park, TWA_SIGNAL))
				continue;
			t->dead = true; /* it is past the point where it could */
			atomic_dec(&s->to_park);
			rrc_session_put(s);
		}
	}
}

static struct task_struct *missing(struct rrc_session *s)
{
	struct rrc_proc *p;
	struct rrc_thread *t;

	list_for_each_entry (p, &s->procs, node)
		list_for_each_entry (t, &p->threads, node)
			if (!t->parked && !t->dead)
				return t->task;
	return NULL;
}

/* Where the shadow lives: a namespace like the container's, if its first process takes part. The first of
 * the list is that one, if anyone. */
static int make_ns(struct rrc_session *s)
{
	struct rrc_proc *p = list_first_entry_or_null(&s->procs, struct rrc_proc, node);
	struct pid_namespace *ns = p ? task_active_pid_ns(p->leader) : NULL, *above, *made;

	if (!ns)
		return -ESRCH;
	/* The agent is to be the shadow's parent: it must be able to see it. */
	for (above = ns; above != task_active_pid_ns(current); above = above->parent)
		if (!above->parent)
			return -EINVAL;
	if (task_pid_nr_ns(p->leader, ns) != 1)
		return 0;
	made = rrc_kernel.copy_pid_ns(CLONE_NEWPID, ns->user_ns, task_active_pid_ns(current));
	if (IS_ERR(made))
		return PTR_ERR(made);
	s->ns = made;
	return 0;
}

/* One try. On success every thread stands; else all go on, and BLOCKER is who could not be parked (not
 * counted: the session holds him). -EAGAIN: another try may succeed. */
int rrc_park(struct rrc_session *s, u64 try_ns, unsigned long hold, struct task_struct **blocker)
{
	bool ending;
	u64 left;
	int n;

	n = rrc_collect(s, &ending);
	if (n >= 0)
		n = make_ns(s) ?: n;
	rrc_phase(RRC_PHASE_COLLECTED);
	s->deadline = jiffies + hold;
	s->t_ask = ktime_get_ns();
	while (n >= 0) {
		ask(s);
		rrc_phase(RRC_PHASE_ASKED);
		left = ktime_get_ns() - s->t_ask;
		left = left < try_ns ? try_ns - left : 0;
		if (!left ||
		    wait_event_hrtimeout(s->wait, !atomic_read(&s->to_park), ns_to_ktime(left))) {
			*blocker = missing(s);
			n = -EAGAIN;
			break;
		}
		n = rrc_collect(s, &ending);
		if (!n && !ending)
			break;
		if (!n)
			usleep_range(20, 50);
	}
	if (!n)
		n = rrc_collect_check(s, blocker);
	s->t_parked = ktime_get_ns();
	if (!n && (READ_ONCE(s->over) || READ_ONCE(s->broken)))
		n = -EAGAIN;
	rrc_phase(RRC_PHASE_PARKED);
	if (n)
		rrc_session_release(s);
	return n;
}
