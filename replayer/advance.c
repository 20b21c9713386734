// SPDX-License-Identifier: MIT
/* A stopped tree is brought on to a later checkpoint, see advance.h; its calls are in again.c. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "advance_int.h"
#include "ptrace.h"
#include "util.h"

static struct adv_thread *thread_at(struct rrc_advance *a, uint32_t tid)
{
	for (size_t i = 0; i < a->nthreads; i++)
		if (a->threads[i].ns_tid == tid)
			return &a->threads[i];
	return NULL;
}

struct adv_thread *rrc_advance_find(struct rrc_advance *a, uint32_t tid)
{
	return thread_at(a, tid);
}

static struct adv_proc *proc_at(struct rrc_advance *a, uint32_t pid)
{
	for (size_t i = 0; i < a->nprocs; i++)
		if (a->procs[i].ns_pid == pid)
			return &a->procs[i];
	return NULL;
}

static int take_process(struct rrc_advance *a, pid_t pid, struct rrc_error *err)
{
	struct adv_proc *p = &a->procs[a->nprocs];
	rrc_autofree pid_t *tids = NULL;
	char path[64];
	void *bigger;
	int n = rrc_seize_process(pid, PTRACE_O_EXITKILL, &tids, err);

	if (n == -ESRCH) {
		memset(err, 0, sizeof(*err)); /* a zombie: nothing of it changes */
		return 0;
	}
	if (n < 0)
		return n;
	bigger = realloc(a->threads, (a->nthreads + (size_t)n) * sizeof(*a->threads));
	if (!bigger)
		return rrc_fail(err, ENOMEM, "no memory");
	a->threads = bigger;
	for (int i = 0; i < n; i++)
		a->threads[a->nthreads++] = (struct adv_thread){
			.tid = tids[i], .ns_tid = (uint32_t)rrc_ns_tid(tids[i]), .proc = a->nprocs
		};
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	*p = (struct adv_proc){ .pid = pid,
				.ns_pid = (uint32_t)rrc_ns_tid(pid),
				.pidfd = (int)syscall(SYS_pidfd_open, pid, 0),
				.mem = open(path, O_RDWR | O_CLOEXEC) };
	a->nprocs++;
	if (p->pidfd < 0 || p->mem < 0)
		return rrc_fail(err, errno, "process %u of the copy: %s", p->ns_pid,
				strerror(errno));
	return 0;
}

static void release(struct rrc_advance *a)
{
	for (size_t i = 0; i < a->nthreads; i++)
		ptrace(PTRACE_DETACH, a->threads[i].tid, NULL, NULL);
	for (size_t i = 0; i < a->nprocs; i++) {
		rrc_closep(&a->procs[i].pidfd);
		rrc_closep(&a->procs[i].mem);
	}
	free(a->procs);
	free(a->threads);
	free(a->pages);
	free(a);
}

struct rrc_advance *rrc_advance_begin(pid_t init, struct rrc_error *err)
{
	struct rrc_advance *a = calloc(1, sizeof(*a));
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(rrc_pidns_ino(init), &pids), ret = 0;

	if (!a || n <= 0) {
		free(a);
		rrc_fail(err, a ? ESRCH : ENOMEM, "the copy of the container is gone");
		return NULL;
	}
	a->procs = calloc((size_t)n, sizeof(*a->procs));
	a->pages = malloc((size_t)ADV_PAGES * RRC_DELTA_PAGE);
	if (!a->procs || !a->pages)
		ret = rrc_fail(err, ENOMEM, "no memory");
	for (int i = 0; i < n && !ret; i++)
		ret = take_process(a, pids[i], err);
	if (ret) {
		release(a);
		return NULL;
	}
	return a;
}

/* ---- pages ---- */

static int flush_pages(struct rrc_advance *a, struct rrc_error *err)
{
	struct iovec from = { a->pages, a->npages * RRC_DELTA_PAGE }, to[ADV_PAGES];
	struct adv_proc *p = proc_at(a, a->pages_of);
	size_t n = a->npages;

	a->npages = 0;
	if (!n)
		return 0;
	if (!p)
		return rrc_fail(err, EBADMSG, "pages of process %u, which the copy has not",
				a->pages_of);
	for (size_t i = 0; i < n; i++)
		to[i] = (struct iovec){ (void *)(uintptr_t)a->addr[i], RRC_DELTA_PAGE };
	if (process_vm_writev(p->pid, &from, 1, to, n, 0) == (ssize_t)from.iov_len)
		return 0;
	/* Pages that the program may not write, too. */
	for (size_t i = 0; i < n; i++)
		if (pwrite(p->mem, a->pages + i * RRC_DELTA_PAGE, RRC_DELTA_PAGE,
			   (off_t)a->addr[i]) != RRC_DELTA_PAGE)
			return rrc_fail(err, EFAULT, "process %u of the copy has no page at %#llx",
					p->ns_pid, (unsigned long long)a->addr[i]);
	return 0;
}

int rrc_advance_page(struct rrc_advance *a, uint32_t pid, uint64_t addr, const uint8_t *data,
		     struct rrc_error *err)
{
	uint8_t *to;
	int ret = 0;

	if (a->npages == ADV_PAGES || (a->npages && a->pages_of != pid))
		ret = flush_pages(a, err);
	to = a->pages + a->npages * RRC_DELTA_PAGE;
	if (data)
		memcpy(to, data, RRC_DELTA_PAGE);
	else
		memset(to, 0, RRC_DELTA_PAGE);
	a->pages_of = pid;
	a->addr[a->npages++] = addr;
	return ret;
}

/* A stack grows when somebody touches it, be it the kernel for us: there is no call for it. */
int rrc_advance_stack(struct rrc_advance *a, const struct rrc_delta_stack *s, struct rrc_error *err)
{
	struct adv_proc *p = proc_at(a, s->pid);
	struct adv_thread *t = p ? thread_at(a, s->pid) : NULL;
	uint64_t args[6] = { SIG_BLOCK, 0, s->start, sizeof(uint64_t) };
	uint8_t byte;
	long ret;

	if (!t)
		return rrc_fail(err, EBADMSG, "a stack of process %u, which the copy has not",
				s->pid);
	if (!rrc_mem_read(p->pid, s->start, &byte, 1))
		return 0;
	if (rrc_inject(t->tid, SYS_rt_sigprocmask, args, &ret, err))
		return err->code;
	return ret ? rrc_fail(err, EFAULT, "the stack of process %u does not grow to %#llx", s->pid,
			      (unsigned long long)s->start)
		   : 0;
}

/* ---- threads ---- */

int rrc_advance_thread(struct rrc_advance *a, const struct rrc_delta_thread *d,
		       const uint8_t *xsave, struct rrc_error *err)
{
	struct adv_thread *t = thread_at(a, d->tid);
	struct user_regs_struct regs = d->regs;
	struct iovec area = { (void *)(uintptr_t)xsave, d->xsave_len };
	uint64_t mask = d->mask;

	if (!t || a->procs[t->proc].ns_pid != d->pid)
		return rrc_fail(err, EBADMSG, "registers of thread %u, which the copy has not",
				d->tid);
	if (ptrace(PTRACE_SETREGS, t->tid, NULL, &regs) ||
	    (d->xsave_len && ptrace(PTRACE_SETREGSET, t->tid, NT_X86_XSTATE, &area)) ||
	    ptrace(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask))
		return rrc_fail(err, errno, "registers of thread %u: %s", d->tid, strerror(errno));
	t->set = true;
	return 0;
}

int rrc_advance_end(struct rrc_advance *a, int whole, struct rrc_error *err)
{
	int ret = flush_pages(a, err);

	for (size_t i = 0; whole && !ret && i < a->nthreads; i++)
		if (!a->threads[i].set)
			ret = rrc_fail(err, EBADMSG, "the delta has no registers of thread %u",
				       a->threads[i].ns_tid);
	release(a);
	return ret;
}
