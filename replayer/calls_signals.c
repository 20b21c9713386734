// SPDX-License-Identifier: MIT
/*
 * Signals: those of the log are sent by us when their place is reached and get the recorded siginfo
 * at the delivery stop; those that the kernel makes during replay are held back and remembered.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "ptrace.h"
#include "reclog.h"
#include "tracee.h"
#include "util.h"

#define KERNEL_SIGSET_BYTES 8

static const struct rrc_rec_signal *signal_of(const struct rrc_rec *rec)
{
	const uint8_t *data = NULL;

	return rrc_rec_seg(rec, 0, &data) ? (const struct rrc_rec_signal *)data : NULL;
}

static bool is_fault(int sig, int code)
{
	return code > 0 && (sig == SIGILL || sig == SIGTRAP || sig == SIGBUS || sig == SIGFPE ||
			    sig == SIGSEGV);
}

static bool fault_record(const struct rrc_rec *rec, const struct rrc_rec_signal *s)
{
	int code;

	memcpy(&code, s->info + offsetof(siginfo_t, si_code), sizeof(code));
	return s->orig_ax < 0 && is_fault((int)rec->ret, code);
}

/* Delivered in user code, no fault and yet no barrier: one that the program does not notice. */
static bool unnoticed(const struct rrc_rec *rec, const struct rrc_rec_signal *s)
{
	return s->orig_ax < 0 && rec->ret != SIGKILL && !fault_record(rec, s);
}

/* Is it the call whose registers t has that this signal came with? */
static bool belongs(const struct tracee *t, const struct rrc_rec_signal *s)
{
	return s->ip == t->regs.rip && s->sp == t->regs.rsp &&
	       (s->orig_ax == (int64_t)t->regs.orig_rax || s->orig_ax == RRC_NR_restart_syscall);
}

static bool ours(const struct rrc_engine *e, const siginfo_t *si)
{
	return si->si_code == SI_QUEUE && si->si_value.sival_ptr == e;
}

static int send_ours(struct rrc_engine *e, struct tracee *t, int sig)
{
	siginfo_t si;

	memset(&si, 0, sizeof(si));
	si.si_signo = sig;
	si.si_code = SI_QUEUE;
	si.si_value.sival_ptr = e;
	return (int)syscall(SYS_rt_tgsigqueueinfo, t->proc->pid, t->tid, sig, &si);
}

/* The mask that holds only during the call t stands at; else its own without this signal. */
static uint64_t call_mask(const struct tracee *t, int sig, uint64_t mask)
{
	uint64_t at = 0, pair[2], own = mask & ~(1ull << (sig - 1));

	switch (t->regs.orig_rax) {
	case RRC_NR_ppoll:
		at = t->regs.r10;
		break;
	case RRC_NR_epoll_pwait:
	case RRC_NR_epoll_pwait2:
		at = t->regs.r8;
		break;
	case RRC_NR_pselect6:
		if (t->regs.r9 && !rrc_mem_read(t->tid, t->regs.r9, pair, sizeof(pair)))
			at = pair[0];
		break;
	}
	if (!at || rrc_mem_read(t->tid, at, &mask, sizeof(mask)) || mask & 1ull << (sig - 1))
		return own;
	return mask;
}

/* It was deliverable on the primary, so its being blocked here is the doing of a mask that only held
 * during the call (ppoll and the like), which was emulated. */
static void unblock(struct tracee *t, int sig)
{
	uint64_t mask;

	if (t->mask_changed || ptrace(PTRACE_GETSIGMASK, t->tid, KERNEL_SIGSET_BYTES, &mask) ||
	    !(mask & 1ull << (sig - 1)))
		return;
	t->mask = mask;
	t->mask_changed = true;
	mask = call_mask(t, sig, mask);
	ptrace(PTRACE_SETSIGMASK, t->tid, KERNEL_SIGSET_BYTES, &mask);
}

/* The handler's frame is to bring back the mask from before the call: delivers the signal up to the
 * handler's first instruction and puts it there. */
static int deliver_masked(struct rrc_engine *e, struct tracee *t, int sig, struct rrc_error *err)
{
	/* struct rt_sigframe: return address, then ucontext with the mask behind its registers */
	const uint64_t mask_at =
		8 + offsetof(ucontext_t, uc_sigmask) - offsetof(ucontext_t, uc_flags);
	struct user_regs_struct r;
	int status;

	t->mask_changed = false;
	if (ptrace(PTRACE_SINGLESTEP, t->tid, NULL, (long)sig))
		return errno == ESRCH ? 0 : -errno;
	while (waitpid(t->tid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFSTOPPED(status) || status >> 8 != SIGTRAP) {
		t->state = TR_RUN; /* no handler: it dies of it */
		return rrc_on_status(e, t->tid, status, err);
	}
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &r))
		return errno == ESRCH ? 0 : -errno;
	if (rrc_mem_write(t->tid, r.rsp + mask_at, &t->mask, sizeof(t->mask)))
		return rrc_fail(err, -EFAULT, "thread %u: its signal frame", t->ns_tid);
	t->stopped = true;
	t->at = ST_NONE;
	return rrc_resume(e, t, 0);
}

int rrc_signal_attach(struct rrc_engine *e, struct tracee *t)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t);
	const struct rrc_rec_signal *s;

	if (!rec || rec->kind != RRC_REC_SIGNAL || rec->ret == SIGKILL || t->expect != RRC_NO_REC)
		return 0;
	s = signal_of(rec);
	/* CRIU set it back to before its call, and there the signal came: the image has no orig_rax */
	if (!s || s->orig_ax < 0 ||
	    (!belongs(t, s) &&
	     !(t->regs.orig_rax == (uint64_t)-1 && s->ip == t->regs.rip && s->sp == t->regs.rsp)))
		return 0;
	t->expect = t->next_rec;
	unblock(t, (int)rec->ret);
	return send_ours(e, t, (int)rec->ret) ? 0 : 1;
}

/* rt_sigsuspend is made for real: its mask holds until the handler returns. */
static int sigsuspend_how(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			  struct user_regs_struct *real, struct rrc_error *err)
{
	uint32_t i = e->next[t->next_rec];

	(void)real;
	(void)err;
	if (rec->ret >= 0 || i >= e->end || rrc_log_rec(e, i)->kind != RRC_REC_SIGNAL)
		return RRC_HOW_EMULATE;
	t->expect = i;
	send_ours(e, t, (int)rrc_log_rec(e, i)->ret);
	return RRC_HOW_EXECUTE;
}

const struct rrc_call_ops rrc_ops_sigsuspend = { .how = sigsuspend_how };

/* Registers as the kernel looks at them when it decides about a restart. */
static int set_interrupted(struct tracee *t, const struct rrc_rec_signal *s)
{
	if (ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.rax), s->ax) ||
	    ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.orig_rax), s->orig_ax))
		return -errno;
	return 0;
}

/* A stop signal that nobody catches would only stop us; what it does to others is in the log. */
static bool only_stops(const struct tracee *t, int sig)
{
	rrc_autofclose FILE *f = NULL;
	unsigned long long caught;
	char path[64], line[256];

	if (sig == SIGSTOP)
		return true;
	if (sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", t->tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigCgt: %llx", &caught) == 1)
			return !(caught & 1ull << (sig - 1));
	return true;
}

static void settle(struct tracee *t, int sig, bool by_us)
{
	struct pending_signal *p = rrc_pending(t->proc, sig);

	if (!p)
		return;
	p->sent = false;
	if (by_us && sig == SIGCHLD)
		p->made--;
	else if (by_us)
		p->made = 0;
}

/* The signal that the log has here. */
static int deliver(struct rrc_engine *e, struct tracee *t, int sig, const siginfo_t *si,
		   struct rrc_error *err)
{
	const struct rrc_rec *rec;
	const struct rrc_rec_signal *s;
	struct user_regs_struct now;
	siginfo_t info = *si;
	bool fault = t->expect == RRC_NO_REC;

	/* a call made for real that this signal ends (rt_sigsuspend) */
	if (!fault && t->next_rec != t->expect) {
		e->rep.calls++;
		e->rep.executed++;
		rrc_pass_rec(e, t);
	}
	rec = rrc_next_rec(e, t);
	s = rec ? signal_of(rec) : NULL;
	if (!s)
		return rrc_fail(err, -EBADMSG, "thread %u: a signal without its record", t->ns_tid);
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &now))
		return errno == ESRCH ? 0 : -errno;
	if (now.rip != s->ip || now.rsp != s->sp)
		return rrc_diverge(e, t->next_rec, t, err,
				   "signal %d comes at ip %#llx, sp %#llx instead of %#llx, %#llx",
				   sig, now.rip, now.rsp, (unsigned long long)s->ip,
				   (unsigned long long)s->sp);
	if (!fault) {
		memcpy(&info, s->info, sizeof(s->info));
		if (set_interrupted(t, s) || ptrace(PTRACE_SETSIGINFO, t->tid, NULL, &info))
			return errno == ESRCH ? 0 : -errno;
		settle(t, sig, ours(e, si));
	}
	rrc_trace_step(e, t, "signal");
	e->rep.signals++;
	rrc_pass_rec(e, t);
	t->expect = RRC_NO_REC;
	/* one more that came at the same time: the kernel stacks them as it did */
	rec = rrc_next_rec(e, t);
	if (rec && rec->kind == RRC_REC_SIGNAL && rec->ret != SIGKILL && signal_of(rec) &&
	    signal_of(rec)->orig_ax >= 0) {
		t->expect = t->next_rec;
		send_ours(e, t, (int)rec->ret);
	}
	if (t->mask_changed && !only_stops(t, sig))
		return deliver_masked(e, t, sig, err);
	return rrc_resume(e, t, only_stops(t, sig) ? 0 : sig);
}

/* Made by the kernel in replay; the program must not see it here. */
static int hold_back(struct rrc_engine *e, struct tracee *t, int sig, const siginfo_t *si)
{
	struct pending_signal *p = rrc_pending(t->proc, sig);
	/* of our own stopping and continuing, and of ptrace */
	bool noise = sig == SIGCONT || (sig == SIGCHLD && (si->si_code == CLD_STOPPED ||
							   si->si_code == CLD_CONTINUED ||
							   si->si_code == CLD_TRAPPED));

	if (p && !ours(e, si) && !noise) {
		p->made++;
		p->tid = 0;
		p->info = *si;
	}
	return rrc_tracee_go_on(t);
}

int rrc_signal_stop(struct rrc_engine *e, struct tracee *t, int sig, struct rrc_error *err)
{
	const struct rrc_rec *rec = rrc_next_rec(e, t);
	siginfo_t si;

	if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &si))
		return errno == ESRCH ? 0 : -errno;
	if (t->expect != RRC_NO_REC && rrc_log_rec(e, t->expect)->ret == sig)
		return deliver(e, t, sig, &si, err);
	if (!is_fault(sig, si.si_code))
		return hold_back(e, t, sig, &si);
	if (rec && rec->kind == RRC_REC_SIGNAL && rec->ret == sig)
		return deliver(e, t, sig, &si, err);
	ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs);
	return rrc_diverge(e, t->next_rec, t, err,
			   "the program fails with signal %d at ip %#llx, address %p", sig,
			   t->regs.rip, si.si_addr);
}

static bool any_running(const struct rrc_engine *e, const struct tproc *p)
{
	for (const struct tracee *t = e->threads; t; t = t->next)
		if (t->proc == p && t->state == TR_RUN)
			return true;
	return false;
}

/* The end of a process by SIGKILL, or of a thread because another one executes a new program: the
 * log does not tell them apart. */
static int kill_turn(struct rrc_engine *e, struct tracee *t)
{
	if (!t->proc->exiting) {
		if (any_running(e, t->proc))
			return 0;
		if (!rrc_exec_start(e, t->proc)) {
			t->proc->exiting = true;
			kill(t->proc->pid, SIGKILL);
		}
	}
	t->killed = true;
	e->rep.signals++;
	rrc_pass_rec(e, t);
	return 1;
}

int rrc_signal_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct rrc_error *err)
{
	const struct rrc_rec_signal *s = signal_of(rec);

	if (!s)
		return rrc_fail(err, -EBADMSG, "a signal record without its structure");
	if (rec->ret == SIGKILL)
		return kill_turn(e, t);
	if (unnoticed(rec, s)) {
		rrc_pass_rec(e, t);
		return 1;
	}
	if (t->expect == t->next_rec)
		return 0;
	if (t->state == TR_LOCAL && belongs(t, s)) {
		/* it waits in a futex, which is not in the log, and this is what ended that */
		t->expect = t->next_rec;
		unblock(t, (int)rec->ret);
		send_ours(e, t, (int)rec->ret);
		return 0;
	}
	if (t->state == TR_CALL && belongs(t, s)) {
		/* it was in this call already when the log began */
		int r = rrc_call_interrupted(e, t, s->ax);

		return r ? rrc_fail(err, r, "thread %u: %s", t->ns_tid, strerror(-r)) : 0;
	}
	if (t->state == TR_CALL || t->state == TR_DONE)
		return rrc_diverge(e, t->next_rec, t, err,
				   "the program is at another place (call %lld, ip %#llx)",
				   (long long)t->regs.orig_rax, t->regs.rip);
	return 0;
}
