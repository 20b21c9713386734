// SPDX-License-Identifier: MIT
/* Clock readings answered inside the program, see clockq.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#include "clockq.h"
#include "ptrace.h"
#include "reclog.h"
#include "util.h"
#include "vdso.h"

#define LEAST	  64 /* readings; fewer are not worth the set-up */
#define ENTRIES	  4096u /* in the page at a time */
#define BELOW	  (64ull << 20) /* the page lies so far below the stack: nobody maps anything there */
#define STACK_MAX (32ull << 20) /* below its present end the stack may grow so far */
#define CODE_AT	  64u /* behind the head */
#define CODE_MAX  448u
#define QUEUE_AT  512u
#define SIZE	  (QUEUE_AT + ENTRIES * sizeof(struct entry))

struct head {
	uint64_t taken, filled; /* entries; the program counts the first up */
};

struct entry {
	uint32_t nr, clock;
	uint64_t ptr; /* where the program wants it */
	uint64_t value[2];
};
_Static_assert(sizeof(struct entry) == 32, "the instructions shift by 5");

struct rrc_clockq {
	struct tproc *proc;
	struct tracee *owner;
	uint64_t base;
	int mem; /* /proc/PID/mem */
	uint32_t *recs; /* its readings, as indices into the log */
	size_t n;
	size_t first, filled, taken; /* of recs: first in the page, how many are, were taken */
	struct rrc_clockq *next;
};

static bool is_reading(const struct rrc_rec *rec)
{
	return rec->kind == RRC_REC_SYSCALL && rec->ret == 0 && rec->nseg == 1 &&
	       (rec->nr == RRC_NR_clock_gettime ||
		(rec->nr == RRC_NR_gettimeofday && !rec->args[1])) &&
	       rrc_rec_segs(rec)->len == 16;
}

/* A signal that follows at once is delivered where the call returns: the engine must be there. */
static bool engine_needed(const struct rrc_engine *e, uint32_t i)
{
	uint32_t next = e->next[i];

	return next < e->end && rrc_log_rec(e, next)->kind == RRC_REC_SIGNAL;
}

/* The readings of a thread up to its last call of another kind: behind that, it might never stop again
 * for us to learn what it took. */
static int collect(const struct rrc_engine *e, const struct tracee *t, struct rrc_clockq *q)
{
	size_t size = 0, keep = 0;

	for (uint32_t i = e->next[t->next_rec]; i < e->end; i = e->next[i]) {
		const struct rrc_rec *rec = rrc_log_rec(e, i);

		if (!is_reading(rec)) {
			if (rec->kind == RRC_REC_SYSCALL)
				keep = q->n;
			continue;
		}
		if (q->n == size) {
			uint32_t *more =
				realloc(q->recs, (size = size ? size * 2 : 1024) * sizeof(*more));

			if (!more)
				return -ENOMEM;
			q->recs = more;
		}
		q->recs[q->n++] = i;
	}
	q->n = keep;
	return 0;
}

/* rdi, rsi: arguments; the number of the call in eax. Only registers that a call of a C function may
 * change are. The two constants are the ends of the stack. */
static size_t assemble(uint8_t *code, uint64_t base, uint64_t low, uint64_t high, size_t *gettime,
		       size_t *timeofday)
{
	/* clang-format off */
	static const uint8_t body[] = {
		0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0,	/*  0 movabs $base,%r11 */
		0x49, 0xba, 0, 0, 0, 0, 0, 0, 0, 0,	/* 10 movabs $low,%r10 */
		0x4c, 0x39, 0xd4,			/* 20 cmp %r10,%rsp */
		0x72, 0x4b,				/* 23 jb real */
		0x49, 0xba, 0, 0, 0, 0, 0, 0, 0, 0,	/* 25 movabs $high,%r10 */
		0x4c, 0x39, 0xd4,			/* 35 cmp %r10,%rsp */
		0x77, 0x3c,				/* 38 ja real */
		0x4d, 0x8b, 0x13,			/* 40 mov (%r11),%r10 */
		0x4d, 0x3b, 0x53, 0x08,			/* 43 cmp 8(%r11),%r10 */
		0x73, 0x33,				/* 47 jae real */
		0x49, 0xc1, 0xe2, 0x05,			/* 49 shl $5,%r10 */
		0x4f, 0x8d, 0x94, 0x13, 0, 2, 0, 0,	/* 53 lea 512(%r11,%r10),%r10 */
		0x41, 0x39, 0x02,			/* 61 cmp %eax,(%r10) */
		0x75, 0x22,				/* 64 jne real */
		0x41, 0x39, 0x4a, 0x04,			/* 66 cmp %ecx,4(%r10) */
		0x75, 0x1c,				/* 70 jne real */
		0x49, 0x39, 0x52, 0x08,			/* 72 cmp %rdx,8(%r10) */
		0x75, 0x16,				/* 76 jne real */
		0x49, 0x8b, 0x42, 0x10,			/* 78 mov 16(%r10),%rax */
		0x48, 0x89, 0x02,			/* 82 mov %rax,(%rdx) */
		0x49, 0x8b, 0x42, 0x18,			/* 85 mov 24(%r10),%rax */
		0x48, 0x89, 0x42, 0x08,			/* 89 mov %rax,8(%rdx) */
		0x49, 0xff, 0x03,			/* 93 incq (%r11) */
		0x31, 0xc0,				/* 96 xor %eax,%eax */
		0xc3,					/* 98 ret */
		0xcc,					/* 99 */
		0x0f, 0x05, 0xc3,			/* 100 real: syscall; ret */
	};
	/* clang-format on */
	/* What differs between the two: which argument is the pointer, and what must be equal beside. */
	static const uint8_t enter_gettime[] = {
		0xb8, RRC_NR_clock_gettime & 0xff, 0, 0, 0, 0x89, 0xf9, 0x48, 0x89, 0xf2, 0xeb,
		0x0c,
	}; /* mov $nr,%eax; mov %edi,%ecx; mov %rsi,%rdx; jmp body */
	static const uint8_t enter_timeofday[] = {
		0xb8, RRC_NR_gettimeofday & 0xff, 0, 0, 0, 0x89, 0xf1, 0x48, 0x89, 0xfa, 0x90, 0x90,
	}; /* mov $nr,%eax; mov %esi,%ecx; mov %rdi,%rdx */
	size_t at = sizeof(enter_gettime) + sizeof(enter_timeofday);

	*gettime = 0;
	*timeofday = sizeof(enter_gettime);
	memcpy(code, enter_gettime, sizeof(enter_gettime));
	memcpy(code + *timeofday, enter_timeofday, sizeof(enter_timeofday));
	memcpy(code + at, body, sizeof(body));
	memcpy(code + at + 2, &base, 8);
	memcpy(code + at + 12, &low, 8);
	memcpy(code + at + 27, &high, 8);
	return at + sizeof(body);
}

/* The first thread's stack, and that nothing is mapped where the page is to be. */
static int find_place(pid_t pid, uint64_t *base, uint64_t *low, uint64_t *high)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], line[512];
	unsigned long start, end;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	*high = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &start, &end) != 2 || !strstr(line, "[stack]"))
			continue;
		*low = start - STACK_MAX;
		*high = end;
		*base = (start - BELOW) & ~4095ull;
	}
	return *high ? 0 : -ENOENT;
}

static int write_at(struct rrc_clockq *q, uint64_t off, const void *buf, size_t len)
{
	return pwrite(q->mem, buf, len, (off_t)(q->base + off)) == (ssize_t)len ? 0 : -EFAULT;
}

/* The next readings, when all in the page were taken. */
static int refill(struct rrc_engine *e, struct rrc_clockq *q)
{
	rrc_autofree struct entry *entries = NULL;
	struct head head = { 0 };
	int r;

	if (q->taken < q->filled)
		return 0;
	q->first += q->filled;
	q->filled = q->taken = 0;
	entries = calloc(ENTRIES, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	while (q->filled < ENTRIES && q->first + q->filled < q->n) {
		uint32_t i = q->recs[q->first + q->filled];
		const struct rrc_rec *rec = rrc_log_rec(e, i);
		struct entry *en = &entries[q->filled];
		bool gettime = rec->nr == RRC_NR_clock_gettime;

		if (engine_needed(e, i))
			break;
		en->nr = rec->nr;
		en->clock = gettime ? (uint32_t)rec->args[0] : 0;
		en->ptr = rec->args[gettime ? 1 : 0];
		memcpy(en->value, rrc_rec_payload(rec), sizeof(en->value));
		q->filled++;
	}
	head.filled = q->filled;
	r = q->filled ? write_at(q, QUEUE_AT, entries, q->filled * sizeof(*entries)) : 0;
	return r ? r : write_at(q, 0, &head, sizeof(head));
}

static int install(struct rrc_engine *e, struct rrc_clockq *q, struct rrc_error *err)
{
	static const uint64_t flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	uint64_t args[6] = { 0, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, flags, (uint64_t)-1, 0 };
	uint64_t low, high;
	uint8_t code[CODE_MAX];
	size_t gettime, timeofday, len;
	char path[64];
	long ret;
	int r;

	if (find_place(q->proc->pid, &q->base, &low, &high))
		return 0;
	args[0] = q->base;
	r = rrc_inject(q->owner->tid, RRC_NR_mmap, args, &ret, err);
	q->owner->at = ST_NONE; /* the entry that it stood at is used up */
	if (r || ret != (long)q->base) {
		q->base = 0; /* a policy, or something is there: without, then */
		return r;
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", q->proc->pid);
	q->mem = open(path, O_RDWR | O_CLOEXEC);
	if (q->mem < 0)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	len = assemble(code, q->base, low, high, &gettime, &timeofday);
	r = write_at(q, CODE_AT, code, len);
	r = r ? r : refill(e, q);
	if (!r)
		r = rrc_vdso_divert(q->proc->pid, RRC_NR_clock_gettime,
				    q->base + CODE_AT + gettime);
	if (r >= 0)
		r = rrc_vdso_divert(q->proc->pid, RRC_NR_gettimeofday,
				    q->base + CODE_AT + timeofday);
	return r < 0 ? rrc_fail(err, r, "process %u: its clock readings: %s", q->proc->ns_pid,
				strerror(-r))
		     : 0;
}

static void drop(struct rrc_clockq *q)
{
	if (q->mem >= 0)
		close(q->mem);
	free(q->recs);
	free(q);
}

/* The entry points are about to change: nobody may be between two instructions of theirs. */
static bool others_stand(const struct rrc_engine *e, const struct tracee *t)
{
	for (const struct tracee *o = e->threads; o; o = o->next)
		if (o->proc == t->proc && o != t && o->state == TR_RUN)
			return false;
	return true;
}

int rrc_clockq_offer(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	struct rrc_clockq *q;
	int r;

	if (t->clocks || t->clocks_tried || t->ns_tid != t->proc->ns_pid || !others_stand(e, t))
		return 0;
	t->clocks_tried = true;
	/* else the page would be copied, or gone */
	if (!rrc_log_stays_alone(e, t->proc, t->next_rec))
		return 0;
	q = calloc(1, sizeof(*q));
	if (!q)
		return rrc_fail(err, ENOMEM, "out of memory");
	q->proc = t->proc;
	q->owner = t;
	q->mem = -1;
	r = collect(e, t, q);
	if (r)
		rrc_fail(err, r, "out of memory");
	if (!r && q->n >= LEAST)
		r = install(e, q, err);
	if (r || !q->base) {
		drop(q);
		return r;
	}
	q->next = e->clockqs;
	e->clockqs = q;
	t->clocks = q;
	return 0;
}

int rrc_clockq_sync(struct rrc_engine *e, struct tracee *t, struct rrc_error *err)
{
	struct rrc_clockq *q = t->clocks;
	uint64_t taken;

	if (!q || !q->filled)
		return 0;
	if (pread(q->mem, &taken, sizeof(taken), (off_t)q->base) != sizeof(taken))
		return 0; /* it is dying */
	if (taken < q->taken || taken > q->filled)
		return rrc_diverge(e, t->next_rec, t, err,
				   "the program overwrote its clock readings");
	for (; q->taken < taken; q->taken++) {
		if (t->next_rec != q->recs[q->first + q->taken])
			return rrc_diverge(e, t->next_rec, t, err, "the program reads the clock");
		e->rep.calls++;
		e->rep.emulated++;
		rrc_pass_rec(e, t);
	}
	return refill(e, q);
}

int rrc_clockq_took(struct rrc_engine *e, struct tracee *t)
{
	struct rrc_clockq *q = t->clocks;
	uint64_t taken;

	if (!q || q->first + q->taken >= q->n || q->recs[q->first + q->taken] != t->next_rec)
		return 0;
	if (q->taken < q->filled) {
		taken = ++q->taken;
		if (write_at(q, 0, &taken, sizeof(taken)))
			return 0; /* it is dying */
	} else {
		q->first++; /* one that is not put into the page */
	}
	return refill(e, q);
}

static struct rrc_clockq *find(const struct rrc_engine *e, const struct tproc *p)
{
	struct rrc_clockq *q = e->clockqs;

	while (q && q->proc != p)
		q = q->next;
	return q;
}

int rrc_clockq_range(const struct rrc_engine *e, const struct tproc *p, uint64_t *start,
		     uint64_t *end)
{
	const struct rrc_clockq *q = find(e, p);

	if (!q)
		return 0;
	*start = q->base;
	*end = q->base + SIZE;
	return 1;
}

void rrc_clockq_remove(struct rrc_engine *e, const struct tproc *p)
{
	struct rrc_clockq *q = find(e, p);
	uint64_t args[6] = { 0, SIZE };
	struct user_regs_struct r;
	long ret;

	if (!q || q->owner->state == TR_DEAD || !q->owner->stopped)
		return;
	/* Interrupted between two of its instructions: it needs them still. */
	if (ptrace(PTRACE_GETREGS, q->owner->tid, NULL, &r) ||
	    (r.rip >= q->base && r.rip < q->base + SIZE))
		return;
	args[0] = q->base;
	rrc_inject(q->owner->tid, RRC_NR_munmap, args, &ret, NULL);
}

void rrc_clockq_free(struct rrc_engine *e)
{
	while (e->clockqs) {
		struct rrc_clockq *q = e->clockqs;

		e->clockqs = q->next;
		drop(q);
	}
}
