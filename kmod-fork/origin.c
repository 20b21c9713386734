// SPDX-License-Identifier: GPL-2.0
/* What the shadow does not have and only the originals can tell: registers as they stood, signals that
 * wait, timers. Each leader writes its process's records, in the pause, in its own context. */
#include <linux/math64.h>
#include <linux/posix-timers.h>
#include <linux/slab.h>
#include <linux/time.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "session.h"

/* SIZE zeroed bytes more; NULL when there is no memory. */
void *rrc_buf_add(struct rrc_buf *b, size_t size)
{
	size_t room = max_t(size_t, 2 * b->room, 4096);
	void *data;

	while (room < b->used + size)
		room *= 2;
	if (b->used + size > b->room) {
		data = kvzalloc(room, GFP_KERNEL);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		if (b->used)
			memcpy(data, b->data, b->used);
		kvfree(b->data);
		b->data = data;
		b->room = room;
	}
	data = b->data + b->used;
	b->used += size;
	return data;
}

void *rrc_buf_rec(struct rrc_proc *p, u32 kind, size_t size, pid_t tid)
{
	struct rrc_fork_rec *r;

	size = ALIGN(size, 8);
	r = rrc_buf_add(&p->state, size);
	if (r) {
		r->kind = kind;
		r->size = size;
		r->pid = task_tgid_nr_ns(p->leader, task_active_pid_ns(p->leader));
		r->tid = tid;
	}
	return r;
}

static u64 mask_of(const sigset_t *set)
{
	return set->sig[0];
}

/* In the order of struct user_regs_struct. */
static void tell_regs(const struct rrc_thread *t, __u64 *out)
{
	const struct pt_regs *r = &t->regs;
	const u64 all[27] = {
		r->r15,
		r->r14,
		r->r13,
		r->r12,
		r->bp,
		r->bx,
		r->r11,
		r->r10,
		r->r9,
		r->r8,
		r->ax,
		r->cx,
		r->dx,
		r->si,
		r->di,
		r->orig_ax,
		r->ip,
		r->cs,
		r->flags,
		r->sp,
		r->ss,
		t->fsbase,
		t->gsbase,
		current->thread.ds,
		current->thread.es,
		current->thread.fsindex,
		current->thread.gsindex,
	};

	memcpy(out, all, sizeof(all));
}

static void tell_restart(const struct restart_block *b, struct rrc_fork_thread *out)
{
	const void *fn = b->fn;
	__u64 *a = out->restart_args;

	if (fn == rrc_kernel.hrtimer_nanosleep_restart ||
	    fn == rrc_kernel.posix_cpu_nsleep_restart) {
		out->restart = RRC_FORK_RESTART_SLEEP;
		a[0] = b->nanosleep.clockid;
		a[1] = b->nanosleep.expires;
		a[2] = (unsigned long)b->nanosleep.rmtp;
	} else if (fn == rrc_kernel.futex_wait_restart) {
		out->restart = RRC_FORK_RESTART_FUTEX;
		a[0] = (unsigned long)b->futex.uaddr;
		a[1] = b->futex.val;
		a[2] = b->futex.flags;
		a[3] = b->futex.bitset;
		a[4] = b->futex.time;
	} else if (fn == rrc_kernel.do_restart_poll) {
		out->restart = RRC_FORK_RESTART_POLL;
		a[0] = (unsigned long)b->poll.ufds;
		a[1] = b->poll.nfds;
		a[2] = b->poll.has_timeout;
		a[3] = b->poll.tv_sec;
		a[4] = b->poll.tv_nsec;
	} else {
		out->restart = fn ? RRC_FORK_RESTART_OTHER : RRC_FORK_RESTART_NONE;
	}
}

static void tell_thread(struct rrc_proc *p, const struct rrc_thread *t)
{
	struct rrc_fork_thread *r = rrc_buf_rec(p, RRC_FORK_THREAD, sizeof(*r), t->vtid);

	if (!r)
		return;
	tell_regs(t, r->regs);
	r->blocked = mask_of(&t->blocked);
	r->saved_mask = mask_of(&t->saved_mask);
	r->restore_mask = t->restore_mask;
	r->pending = mask_of(&t->task->pending.signal);
	r->altstack = t->altstack;
	r->altstack_size = t->altstack_size;
	r->altstack_flags = t->altstack_flags;
	r->clear_tid = (unsigned long)t->clear_tid;
	r->robust_list = (unsigned long)t->robust;
	r->rseq = (unsigned long)t->rseq;
	r->rseq_sig = t->rseq_sig;
	tell_restart(&t->restart, r);
	memcpy(r->comm, t->comm, sizeof(r->comm));
}

/* Room is made first: the queue is looked at under a spinlock. What comes in between, from outside, is as
 * if it had come after the pause began. */
static void tell_signals(struct rrc_proc *p, struct sigpending *pending, pid_t tid)
{
	struct rrc_fork_signal *r;
	unsigned int n = 0, i = 0;
	struct sigqueue *q;
	siginfo_t *infos;

	spin_lock_irq(&current->sighand->siglock);
	list_for_each_entry (q, &pending->list, list)
		n++;
	spin_unlock_irq(&current->sighand->siglock);
	if (!n)
		return;
	infos = kvmalloc_array(n, sizeof(*infos), GFP_KERNEL);
	if (!infos) {
		p->state.failed = true;
		return;
	}
	spin_lock_irq(&current->sighand->siglock);
	list_for_each_entry (q, &pending->list, list)
		if (i < n)
			copy_siginfo_to_external(&infos[i++], &q->info);
	spin_unlock_irq(&current->sighand->siglock);
	for (n = 0; n < i; n++) {
		r = rrc_buf_rec(p, RRC_FORK_SIGNAL, sizeof(*r), tid);
		if (!r)
			break;
		BUILD_BUG_ON(sizeof(r->siginfo) != sizeof(siginfo_t));
		memcpy(r->siginfo, &infos[n], sizeof(r->siginfo));
	}
	kvfree(infos);
}

static void tell_timer(struct rrc_proc *p, const struct k_itimer *timer)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct itimerspec64 left = {};
	struct rrc_fork_timer *r;
	pid_t tid = 0;

	if (timer->it_sigev_notify & SIGEV_THREAD_ID)
		tid = pid_nr_ns(timer->it_pid, ns);
	r = rrc_buf_rec(p, RRC_FORK_TIMER, sizeof(*r), tid);
	if (!r || rrc_kernel.do_timer_gettime(timer->it_id, &left))
		return;
	r->id = timer->it_id;
	r->clock = timer->it_clock;
	r->notify = timer->it_sigev_notify;
	r->signo = timer->sigq->info.si_signo;
	r->value = (unsigned long)timer->sigq->info.si_value.sival_ptr;
	r->overrun = timer->it_overrun;
	r->left_ns = timespec64_to_ns(&left.it_value);
	r->period_ns = timespec64_to_ns(&left.it_interval);
}

static void tell_itimer(struct rrc_proc *p, int which)
{
	struct itimerspec64 left = {};
	struct rrc_fork_itimer *r;

	if (rrc_kernel.do_getitimer(which, &left) ||
	    !(left.it_value.tv_sec | left.it_value.tv_nsec))
		return;
	r = rrc_buf_rec(p, RRC_FORK_ITIMER, sizeof(*r), 0);
	if (!r)
		return;
	r->which = which;
	r->left_us = div_s64(timespec64_to_ns(&left.it_value), NSEC_PER_USEC);
	r->period_us = div_s64(timespec64_to_ns(&left.it_interval), NSEC_PER_USEC);
}

void rrc_origin_tell(struct rrc_proc *p)
{
	const struct k_itimer *timer;
	struct rrc_thread *t;
	int which;

	list_for_each_entry (t, &p->threads, node) {
		if (!t->parked)
			continue;
		tell_thread(p, t);
		tell_signals(p, &t->task->pending, t->vtid);
	}
	tell_signals(p, &current->signal->shared_pending, 0);
	/* Only threads of this process make and delete timers, and they stand. */
	rrc_for_each_posix_timer (timer, current->signal)
		tell_timer(p, timer);
	for (which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		tell_itimer(p, which);
}
