// SPDX-License-Identifier: MIT
/* What happened since the last whole checkpoint, see copy.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "carry.h"
#include "copy.h"
#include "copycalls.h"
#include "syscalls.h"
#include "util.h"

#define FULL_CALLS 20000 /* a failed replay makes them again: half a second */
#define FULL_BYTES (8ull << 30)

#define RRC_PAGE_UP(a) (((a) + RRC_DELTA_PAGE - 1) & ~(uint64_t)(RRC_DELTA_PAGE - 1))

/* A page's newest bytes. Pages of zeros have none. */
struct page {
	uint64_t addr; /* 0: the place is free */
	uint32_t pid;
	bool gone; /* its mapping went */
	uint8_t *data;
};

struct thread {
	struct rrc_delta_thread d;
	uint8_t *xsave;
};

/* Where the heap of a process ends. */
struct heap {
	uint32_t pid;
	uint64_t end;
};

struct rrc_copy {
	struct page *pages; /* hashed, a power of two */
	size_t npages, size;
	struct rrc_copycalls calls;
	struct thread *threads;
	size_t nthreads;
	struct rrc_delta_stack *stacks;
	size_t nstacks;
	struct heap *heaps;
	size_t nheaps;
	size_t data_bytes;
};

/* An epoch, made ready before anything of the copy is touched. */
struct rrc_copy_epoch {
	const struct rrc_copy *copy;
	struct rrc_copycalls calls;
	struct page *pages;
	size_t npages, pages_size;
	struct thread *threads;
	size_t nthreads;
	struct rrc_delta_stack *stacks;
	size_t nstacks;
};

struct rrc_copy *rrc_copy_new(void)
{
	return calloc(1, sizeof(struct rrc_copy));
}

static void free_threads(struct thread *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(t[i].xsave);
	free(t);
}

void rrc_copy_free(struct rrc_copy *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->size; i++)
		free(c->pages[i].data);
	free(c->pages);
	rrc_copycalls_free(&c->calls);
	free_threads(c->threads, c->nthreads);
	free(c->stacks);
	free(c->heaps);
	free(c);
}

static struct heap *heap_of(const struct rrc_copy *c, uint32_t pid)
{
	for (size_t i = 0; i < c->nheaps; i++)
		if (c->heaps[i].pid == pid)
			return &c->heaps[i];
	return NULL;
}

int rrc_copy_heap(struct rrc_copy *c, uint32_t pid, uint64_t end)
{
	struct heap *bigger = realloc(c->heaps, (c->nheaps + 1) * sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	c->heaps = bigger;
	bigger[c->nheaps++] = (struct heap){ pid, end };
	return 0;
}

void rrc_copy_drop(struct rrc_copy_epoch *e)
{
	if (!e)
		return;
	rrc_copycalls_free(&e->calls);
	for (size_t i = 0; i < e->npages; i++)
		free(e->pages[i].data);
	free(e->pages);
	free_threads(e->threads, e->nthreads);
	free(e->stacks);
	free(e);
}

/* ---- pages, hashed ---- */

static struct page *page_at(struct page *pages, size_t size, uint32_t pid, uint64_t addr)
{
	uint64_t h = (addr / RRC_DELTA_PAGE ^ (uint64_t)pid << 40) * 0x9e3779b97f4a7c15ull;
	size_t i = h >> 20 & (size - 1);

	while (pages[i].addr && (pages[i].addr != addr || pages[i].pid != pid))
		i = (i + 1) & (size - 1);
	return &pages[i];
}

/* ---- an epoch is read ---- */

/* Room for one more; *list may move. */
static int more(void *list, size_t n, size_t *size, size_t each)
{
	void **at = list, *bigger;
	size_t want = *size ? *size * 2 : 64;

	if (n < *size)
		return 0;
	bigger = realloc(*at, want * each);
	if (!bigger)
		return -ENOMEM;
	*at = bigger;
	*size = want;
	return 0;
}

static int on_thread(void *ctx, const struct rrc_delta_thread *t, const uint8_t *xsave,
		     struct rrc_error *err)
{
	struct rrc_copy_epoch *e = ctx;
	struct thread *bigger = realloc(e->threads, (e->nthreads + 1) * sizeof(*bigger));

	if (!bigger)
		return rrc_fail(err, ENOMEM, "no memory for the copy");
	e->threads = bigger;
	bigger[e->nthreads] = (struct thread){ *t, malloc(t->xsave_len + 1) };
	if (!bigger[e->nthreads].xsave)
		return rrc_fail(err, ENOMEM, "no memory for the copy");
	memcpy(bigger[e->nthreads++].xsave, xsave, t->xsave_len);
	return 0;
}

static int on_stack(void *ctx, const struct rrc_delta_stack *s, struct rrc_error *err)
{
	struct rrc_copy_epoch *e = ctx;
	struct rrc_delta_stack *bigger = realloc(e->stacks, (e->nstacks + 1) * sizeof(*bigger));

	if (!bigger)
		return rrc_fail(err, ENOMEM, "no memory for the copy");
	e->stacks = bigger;
	bigger[e->nstacks++] = *s;
	return 0;
}

static int on_page(void *ctx, uint32_t pid, uint64_t addr, const uint8_t *data,
		   struct rrc_error *err)
{
	struct rrc_copy_epoch *e = ctx;
	struct page p = { .addr = addr, .pid = pid, .data = data ? malloc(RRC_DELTA_PAGE) : NULL };

	if ((data && !p.data) || more(&e->pages, e->npages, &e->pages_size, sizeof(*e->pages))) {
		free(p.data);
		return rrc_fail(err, ENOMEM, "no memory for the copy");
	}
	if (data)
		memcpy(p.data, data, RRC_DELTA_PAGE);
	e->pages[e->npages++] = p;
	return 0;
}

/* Of a page that we have from an epoch before. */
static int on_lines(void *ctx, uint32_t pid, const struct rrc_delta_changed *l, const uint8_t *data,
		    struct rrc_error *err)
{
	static const uint8_t zeros[RRC_DELTA_PAGE];
	struct rrc_copy_epoch *e = ctx;
	const struct rrc_copy *c = e->copy;
	const struct page *old =
		c->size && l->addr ? page_at(c->pages, c->size, pid, l->addr) : NULL;
	int ret;

	if (!old || !old->addr || old->gone)
		return rrc_fail(err, EBADMSG,
				"lines of the page at %#llx of process %u, which the copy has not",
				(unsigned long long)l->addr, pid);
	ret = on_page(ctx, pid, l->addr, old->data ?: zeros, err);
	if (!ret)
		rrc_delta_put_lines(e->pages[e->npages - 1].data, l->lines, data);
	return ret;
}

/* Only where the heap ended before says what a call took away. */
static int heaps_known(const struct rrc_copy *copy, const struct rrc_copycalls *calls,
		       struct rrc_error *err)
{
	for (size_t i = 0; i < calls->n; i++)
		if (calls->list[i]->nr == RRC_NR_brk && !heap_of(copy, calls->list[i]->pid))
			return rrc_fail(err, EOPNOTSUPP, "brk needs a whole checkpoint");
	return 0;
}

static int reserve(struct rrc_copy *c, size_t extra)
{
	size_t size = c->size ? c->size : 1024;
	struct page *pages;

	while ((c->npages + extra) * 2 > size)
		size *= 2;
	if (size == c->size)
		return 0;
	pages = calloc(size, sizeof(*pages));
	if (!pages)
		return -ENOMEM;
	for (size_t i = 0; i < c->size; i++)
		if (c->pages[i].addr)
			*page_at(pages, size, c->pages[i].pid, c->pages[i].addr) = c->pages[i];
	free(c->pages);
	c->pages = pages;
	c->size = size;
	return 0;
}

static void drop(struct rrc_copy *c, struct page *p)
{
	c->data_bytes -= p->data ? RRC_DELTA_PAGE : 0;
	free(p->data);
	p->data = NULL;
	p->gone = true;
}

/* What lay there is there no more: pages that come after it are new ones. */
static void forget(struct rrc_copy *c, uint32_t pid, uint64_t start, uint64_t len)
{
	uint64_t end = start + len;

	if (end < start || !c->size)
		return;
	if (len / RRC_DELTA_PAGE > c->size) {
		for (size_t i = 0; i < c->size; i++)
			if (c->pages[i].addr >= start && c->pages[i].addr < end &&
			    c->pages[i].pid == pid && !c->pages[i].gone)
				drop(c, &c->pages[i]);
		return;
	}
	for (uint64_t at = start & ~(uint64_t)(RRC_DELTA_PAGE - 1); at < end;
	     at += RRC_DELTA_PAGE) {
		struct page *p = at ? page_at(c->pages, c->size, pid, at) : NULL;

		if (p && p->addr && !p->gone)
			drop(c, p);
	}
}

static void forget_by(struct rrc_copy *c, const struct rrc_rec *rec)
{
	struct heap *h;
	uint64_t start;

	switch (rec->nr) {
	case RRC_NR_brk:
		h = heap_of(c, rec->pid);
		start = RRC_PAGE_UP((uint64_t)rec->ret);
		if (start < h->end)
			forget(c, rec->pid, start, h->end - start);
		h->end = (uint64_t)rec->ret;
		break;
	case RRC_NR_munmap:
		forget(c, rec->pid, rec->args[0], rec->args[1]);
		break;
	case RRC_NR_mmap:
		forget(c, rec->pid, (uint64_t)rec->ret, rec->args[1]);
		break;
	case RRC_NR_madvise:
		if (rec->args[2] == MADV_DONTNEED || rec->args[2] == MADV_FREE ||
		    rec->args[2] == MADV_REMOVE)
			forget(c, rec->pid, rec->args[0], rec->args[1]);
		break;
	case RRC_NR_mremap:
		forget(c, rec->pid, rec->args[0], rec->args[1]);
		forget(c, rec->pid, (uint64_t)rec->ret, rec->args[2]);
		break;
	default:
		break;
	}
}

/* ---- both become one ---- */

static void take_page(struct rrc_copy *c, struct page *from)
{
	struct page *p = page_at(c->pages, c->size, from->pid, from->addr);

	if (!p->addr)
		c->npages++;
	else
		drop(c, p);
	*p = *from;
	c->data_bytes += p->data ? RRC_DELTA_PAGE : 0;
	from->data = NULL;
}

static void take_stack(struct rrc_copy *c, const struct rrc_delta_stack *s)
{
	for (size_t i = 0; i < c->nstacks; i++) {
		if (c->stacks[i].pid == s->pid && c->stacks[i].end == s->end) {
			c->stacks[i].start = rrc_min(c->stacks[i].start, s->start);
			return;
		}
	}
	c->stacks[c->nstacks++] = *s;
}

static int room(struct rrc_copy *c, const struct rrc_copy_epoch *e)
{
	struct rrc_delta_stack *stacks =
		realloc(c->stacks, (c->nstacks + e->nstacks + 1) * sizeof(*stacks));

	if (!stacks)
		return -ENOMEM;
	c->stacks = stacks;
	return rrc_copycalls_reserve(&c->calls, e->calls.n) ? -ENOMEM : reserve(c, e->npages);
}

static void take_epoch(struct rrc_copy *c, struct rrc_copy_epoch *e)
{
	for (size_t i = 0; i < e->calls.n; i++) {
		forget_by(c, e->calls.list[i]);
		rrc_copycalls_add(&c->calls, e->calls.list[i]);
	}
	e->calls.n = 0;
	for (size_t i = 0; i < e->npages; i++)
		take_page(c, &e->pages[i]);
	for (size_t i = 0; i < e->nstacks; i++)
		take_stack(c, &e->stacks[i]);
	free_threads(c->threads, c->nthreads);
	c->threads = e->threads;
	c->nthreads = e->nthreads;
	e->threads = NULL;
	e->nthreads = 0;
}

struct rrc_copy_epoch *rrc_copy_prepare(struct rrc_copy *c, const void *log, size_t log_len,
					const void *delta, size_t delta_len, struct rrc_error *err)
{
	struct rrc_copy_epoch *e = calloc(1, sizeof(*e));
	struct rrc_delta_reader r = { on_thread, on_stack, on_page, on_lines, e };
	int ret = e ? rrc_copycalls_read(&e->calls, log, log_len, err) : -ENOMEM;

	if (e)
		e->copy = c;
	if (!ret)
		ret = heaps_known(c, &e->calls, err);
	if (!ret)
		ret = rrc_delta_read(delta, delta_len, &r, err);
	if (!e || (!ret && room(c, e)))
		ret = rrc_fail(err, ENOMEM, "no memory for the copy");
	if (!ret)
		return e;
	rrc_copy_drop(e);
	return NULL;
}

void rrc_copy_take(struct rrc_copy *c, struct rrc_copy_epoch *e)
{
	take_epoch(c, e);
	rrc_copy_drop(e);
}

size_t rrc_copy_epoch_calls(const struct rrc_copy_epoch *e)
{
	return e->calls.n;
}

int rrc_copy_epoch_apply(const struct rrc_copy_epoch *e, struct rrc_advance *a,
			 struct rrc_error *err)
{
	int ret =
		rrc_advance_calls(a, (const struct rrc_rec *const *)e->calls.list, e->calls.n, err);

	/* Stacks before the pages that lie in what they have grown by. */
	for (size_t i = 0; i < e->nstacks && !ret; i++)
		ret = rrc_advance_stack(a, &e->stacks[i], err);
	for (size_t i = 0; i < e->npages && !ret; i++)
		ret = rrc_advance_page(a, e->pages[i].pid, e->pages[i].addr, e->pages[i].data, err);
	for (size_t i = 0; i < e->nthreads && !ret; i++)
		ret = rrc_advance_thread(a, &e->threads[i].d, e->threads[i].xsave, err);
	return ret;
}

int rrc_copy_apply(const struct rrc_copy *c, struct rrc_advance *a, struct rrc_error *err)
{
	int ret =
		rrc_advance_calls(a, (const struct rrc_rec *const *)c->calls.list, c->calls.n, err);

	for (size_t i = 0; i < c->nstacks && !ret; i++)
		ret = rrc_advance_stack(a, &c->stacks[i], err);
	for (size_t i = 0; i < c->size && !ret; i++)
		if (c->pages[i].addr && !c->pages[i].gone)
			ret = rrc_advance_page(a, c->pages[i].pid, c->pages[i].addr,
					       c->pages[i].data, err);
	for (size_t i = 0; i < c->nthreads && !ret; i++)
		ret = rrc_advance_thread(a, &c->threads[i].d, c->threads[i].xsave, err);
	return ret;
}

int rrc_copy_full(const struct rrc_copy *c)
{
	return c->calls.n > FULL_CALLS || c->data_bytes + c->calls.bytes > FULL_BYTES;
}

struct rrc_copy_size rrc_copy_size(const struct rrc_copy *c)
{
	return (struct rrc_copy_size){
		.pages = c->npages,
		.calls = c->calls.n,
		.bytes = c->data_bytes + c->calls.bytes + c->size * sizeof(*c->pages),
	};
}
