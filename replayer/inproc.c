// SPDX-License-Identifier: MIT
/* Our code's way into a program and out again, see inproc.h. What it is told to do is in inproc_fill.c. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "inproc.h"
#include "inproc_int.h"
#include "ptrace.h"
#include "util.h"

#define LEAST 64 /* calls; fewer are not worth the set-up */
#define TRIES \
	65536 /* moments at which libc was not there yet, or somebody stood in the wrong place */
#define LOG_AT	  0x1c0000000000ull /* addresses that no program uses: the log, … */
#define AREA_AT	  0x1d0000000000ull /* … the area */
#define CODE_AT	  (16ull << 20) /* the code: so far above the highest mapping below the stack */
#define STACK_MAX (48ull << 20) /* below its present end the stack may grow so far */
#define PAGE	  4096ull

static uint64_t pages(uint64_t len)
{
	return (len + PAGE - 1) & ~(PAGE - 1);
}

/* ---- in ---- */

/* Does t make enough calls, before the log ends, that are worth it? */
static bool worth_it(const struct rrc_engine *e, const struct tracee *t)
{
	unsigned int n = 0;

	for (uint32_t i = t->next_rec; i < e->end && n < LEAST; i = e->next[i])
		n += rrc_inproc_fit(e, i);
	return n >= LEAST;
}

/* Whoever computes may be between the bytes that are about to change. */
static bool others_stand(const struct rrc_engine *e, const struct tracee *t)
{
	for (const struct tracee *o = e->threads; o; o = o->next)
		if (o->proc == t->proc && o != t && (o->state == TR_RUN || o->state == TR_NEW))
			return false;
	return true;
}

/* Between the libraries and the stack, where nothing is mapped on its own: near enough to libc for a jump. */
static uint64_t find_place(pid_t pid)
{
	rrc_autofclose FILE *f = NULL;
	unsigned long from, to, top = 0;
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		if (strstr(line, "[stack]"))
			return top && top + 2 * CODE_AT + STACK_MAX < from ? top + CODE_AT : 0;
		top = to;
	}
	return 0;
}

static int inject(struct tracee *t, long nr, const uint64_t args[6], uint64_t want,
		  struct rrc_error *err)
{
	long ret;
	int r = rrc_inject(t->tid, nr, args, &ret, err);

	t->at = ST_NONE; /* the entry that it stood at is used up */
	return r ? r : (uint64_t)ret == want ? 0 : 1;
}

/* A memfd that the process maps as well, log and area; then nobody there has it open. 1: it may not. */
static int share(struct rrc_engine *e, struct rrc_inproc *ip, struct tracee *t, uint64_t name,
		 struct rrc_error *err)
{
	uint64_t make[6] = { name + 9 }; /* an empty string: padding of the ELF header */
	uint64_t map[6] = { AREA_AT, ip->data_len, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED_NOREPLACE };
	uint64_t close_it[6] = { 0 };
	size_t log_len = ip->log_len, len = ip->data_len + log_len;
	rrc_autoclose int fd = -1;
	void *log = MAP_FAILED;
	long there;
	int r;

	r = rrc_inject(t->tid, RRC_NR_memfd_create, make, &there, err);
	t->at = ST_NONE;
	if (r || there < 0)
		return r ? r : 1;
	fd = rrc_tracee_getfd(t, (int)there);
	if (fd >= 0 && !ftruncate(fd, (off_t)len)) {
		ip->area = mmap(NULL, ip->data_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		log = mmap(NULL, log_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   (off_t)ip->data_len);
	}
	if (log != MAP_FAILED) {
		memcpy(log, e->log, e->end < e->n ? e->off[e->end] : e->len);
		munmap(log, log_len);
	}
	map[4] = (uint64_t)there;
	r = ip->area == MAP_FAILED || log == MAP_FAILED;
	r = r ? r : inject(t, RRC_NR_mmap, map, AREA_AT, err);
	if (!r) {
		ip->data = AREA_AT;
		map[0] = LOG_AT;
		map[1] = log_len;
		map[2] = PROT_READ;
		map[5] = ip->data_len;
		r = inject(t, RRC_NR_mmap, map, LOG_AT, err);
	}
	if (!r)
		ip->log = LOG_AT;
	close_it[0] = (uint64_t)there;
	if (r >= 0 && inject(t, RRC_NR_close, close_it, 0, err) < 0)
		return err->code;
	return r;
}

/* The code as it is to stand at ip->code. NULL: libc is too far. */
static uint8_t *assemble(const struct rrc_inproc *ip, struct rrc_error *err)
{
	size_t len = (size_t)(__stop_rrc_inproc - __start_rrc_inproc);
	uint64_t thunks = ip->code + pages(len), enter;
	uint8_t *code = calloc(1, ip->code_len);
	int r = 0;

	if (!code) {
		rrc_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	memcpy(code, __start_rrc_inproc, len);
	enter = ip->code + (uint64_t)(rrc_ip_enter - __start_rrc_inproc);
	memcpy(code + (rrc_ip_table - __start_rrc_inproc), &ip->data, 8);
	memcpy(code + (rrc_ip_thunks - __start_rrc_inproc), &thunks, 8);
	for (size_t i = 0; i < ip->sites && !r; i++) {
		uint64_t at = thunks + i * RRC_SITE_THUNK;

		r = rrc_site_thunk(&ip->site[i], (unsigned int)i, at, enter,
				   code + (at - ip->code));
	}
	if (!r)
		return code;
	free(code);
	return NULL;
}

static uint64_t thunk_of(const struct rrc_inproc *ip, size_t i)
{
	return ip->code + pages((uint64_t)(__stop_rrc_inproc - __start_rrc_inproc)) +
	       i * RRC_SITE_THUNK;
}

/* Is somebody of it between the bytes that are overwritten, or may he be? */
static bool in_the_way(const struct rrc_engine *e, const struct rrc_inproc *ip)
{
	for (const struct tracee *t = e->threads; t; t = t->next) {
		uint64_t rip = t->regs.rip;
		struct user_regs_struct r;

		if (t->proc != ip->proc || t->state >= TR_EXITING)
			continue;
		if (t->stopped && !ptrace(PTRACE_GETREGS, t->tid, NULL, &r))
			rip = r.rip;
		for (size_t i = 0; i < ip->sites; i++)
			if (rip > ip->site[i].addr && rip < ip->site[i].addr + ip->site[i].len)
				return true;
	}
	return false;
}

static int patch(const struct rrc_inproc *ip, bool back)
{
	int r = 0;

	for (size_t i = 0; i < ip->sites && !r; i++) {
		const struct rrc_site *s = &ip->site[i];
		uint8_t code[RRC_SITE_MAX];

		r = rrc_site_jump(s, thunk_of(ip, i), code);
		r = r ? r : rrc_mem_write(ip->proc->pid, s->addr, back ? s->bytes : code, s->len);
	}
	return r;
}

static void unmap(struct rrc_inproc *ip, struct tracee *t)
{
	const uint64_t what[][2] = { { ip->code, ip->code_len },
				     { ip->data, ip->data_len },
				     { ip->log, ip->log_len } };

	for (size_t i = 0; i < RRC_ARRAY_SIZE(what); i++) {
		uint64_t args[6] = { what[i][0], what[i][1] };
		long ret;

		if (!args[0])
			continue;
		rrc_inject(t->tid, RRC_NR_munmap, args, &ret, NULL);
		t->at = ST_NONE;
	}
	ip->code = ip->data = ip->log = 0;
}

static int bring_code(struct rrc_inproc *ip, struct tracee *t, struct rrc_error *err)
{
	uint64_t at = find_place(ip->proc->pid);
	uint64_t map[6] = { at, ip->code_len, PROT_READ | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, (uint64_t)-1 };
	rrc_autofree uint8_t *code = NULL;
	int r = at ? inject(t, RRC_NR_mmap, map, at, err) : 1;

	if (r)
		return r;
	ip->code = at;
	code = assemble(ip, err);
	if (!code)
		return err->code ? err->code : 1;
	r = rrc_mem_write(ip->proc->pid, at, code, ip->code_len);
	r = r ? r : patch(ip, false);
	return r ? rrc_fail(err, r, "process %u: code for its calls: %s", ip->proc->ns_pid,
			    strerror(-r))
		 : 0;
}

/* 1: this program cannot have it; -EAGAIN: not yet. */
static int install(struct rrc_engine *e, struct rrc_inproc *ip, struct tracee *t,
		   struct rrc_error *err)
{
	uint64_t image;
	int r = rrc_sites_find(ip->proc->pid, ip->site, RRC_SITES, &image);

	if (r < 0)
		return r == -ENOENT ? -EAGAIN : 1;
	ip->sites = (size_t)r;
	ip->code_len = pages((uint64_t)(__stop_rrc_inproc - __start_rrc_inproc)) +
		       pages(ip->sites * RRC_SITE_THUNK);
	ip->data_len = pages(sizeof(struct rrc_ip_area));
	ip->log_len = pages(e->len + 1);
	if (in_the_way(e, ip))
		return -EAGAIN;
	r = share(e, ip, t, image, err);
	return r ? r : bring_code(ip, t, err);
}

static void drop(struct rrc_inproc *ip)
{
	if (ip->area != MAP_FAILED)
		munmap(ip->area, ip->data_len);
	free(ip);
}

int rrc_inproc_offer(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	struct rrc_inproc *ip;
	unsigned int tries;
	int r;

	if (t->proc->inproc || t->proc->inproc_tries >= TRIES || e->opts.by_ptrace ||
	    e->opts.trace || t->clocks || !others_stand(e, t) || !worth_it(e, t))
		return 0;
	/* less and less often: each attempt reads libc */
	tries = ++t->proc->inproc_tries;
	if (tries & (tries - 1))
		return 0;
	if (!rrc_log_stays_alone(e, t->proc, t->next_rec)) {
		t->proc->inproc_tries = TRIES;
		return 0;
	}
	ip = calloc(1, sizeof(*ip));
	if (!ip)
		return rrc_fail(err, ENOMEM, "out of memory");
	ip->area = MAP_FAILED;
	ip->proc = t->proc;
	r = install(e, ip, t, err);
	if (r) {
		if (r != -EAGAIN)
			t->proc->inproc_tries = TRIES;
		if (r == 1)
			unmap(ip, t);
		drop(ip);
		return r < 0 && r != -EAGAIN ? r : 0;
	}
	ip->next = e->inprocs;
	e->inprocs = ip;
	t->proc->inproc = ip;
	return 0;
}

/* ---- out ---- */

static bool in_code(const struct rrc_inproc *ip, uint64_t rip)
{
	return rip >= ip->code && rip < ip->code + ip->code_len;
}

int rrc_inproc_fault(struct rrc_engine *e, struct tracee *t, int sig)
{
	const struct rrc_inproc *ip = t->proc->inproc;
	struct rrc_ip_slot *s = t->slot;
	struct user_regs_struct r;

	(void)e;
	if (!s || (sig != SIGSEGV && sig != SIGBUS) || ptrace(PTRACE_GETREGS, t->tid, NULL, &r) ||
	    !in_code(ip, r.rip) || s->site >= ip->sites)
		return 0;
	s->active = 0;
	r.rdi = s->args[0];
	r.rsi = s->args[1];
	r.rdx = s->args[2];
	r.r10 = s->args[3];
	r.r8 = s->args[4];
	r.r9 = s->args[5];
	r.rax = s->rax;
	r.rsp = s->rsp;
	r.rbx = s->rbx;
	r.rbp = s->rbp;
	r.r12 = s->r12;
	r.r13 = s->r13;
	r.r14 = s->r14;
	r.r15 = s->r15;
	r.rip = thunk_of(ip, s->site) + RRC_SITE_REAL;
	return !ptrace(PTRACE_SETREGS, t->tid, NULL, &r);
}

/* Interrupted in our code, with nothing to take any more: a few steps lead out of it. */
static int step_out(const struct rrc_inproc *ip, struct tracee *t)
{
	struct user_regs_struct r;
	int status;

	for (unsigned int i = 0; i < 1000000; i++) {
		if (ptrace(PTRACE_GETREGS, t->tid, NULL, &r))
			return errno == ESRCH ? 0 : -errno;
		if (!in_code(ip, r.rip))
			return 0;
		if (ptrace(PTRACE_SINGLESTEP, t->tid, NULL, NULL))
			return errno == ESRCH ? 0 : -errno;
		while (waitpid(t->tid, &status, __WALL) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFSTOPPED(status))
			return -ESRCH;
	}
	return -ELOOP;
}

static int remove_one(struct rrc_engine *e, struct rrc_inproc *ip, struct rrc_error *err)
{
	struct tracee *by = NULL;
	bool all = true;
	int r = 0;

	for (struct tracee *t = e->threads; t && !r; t = t->next) {
		if (t->proc != ip->proc || t->state >= TR_EXITING)
			continue;
		all &= t->stopped;
		if (!t->stopped)
			continue;
		rrc_inproc_no_wait(t);
		r = step_out(ip, t);
		by = t;
	}
	if (!by)
		return 0; /* nobody is left of it */
	r = r ? r : patch(ip, true);
	if (r)
		return rrc_fail(err, r, "process %u: its code as it was: %s", ip->proc->ns_pid,
				strerror(-r));
	if (all)
		unmap(ip, by);
	return 0;
}

int rrc_inproc_remove(struct rrc_engine *e, struct rrc_error *err)
{
	int r = 0;

	for (struct rrc_inproc *ip = e->inprocs; ip && !r; ip = ip->next)
		r = remove_one(e, ip, err);
	return r;
}

void rrc_inproc_free(struct rrc_engine *e)
{
	while (e->inprocs) {
		struct rrc_inproc *ip = e->inprocs;

		e->inprocs = ip->next;
		drop(ip);
	}
}
