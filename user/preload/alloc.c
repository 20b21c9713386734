/* SPDX-License-Identifier: MIT */
/* The malloc family, in one order once there are threads: whoever allocates next gets what was freed last, so
 * addresses (and the locks and buffers at them) are the same in replay only if the order is. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "preload.h"

RRC_NEXT_OF(malloc)
RRC_NEXT_OF(calloc)
RRC_NEXT_OF(realloc)
RRC_NEXT_OF(free)
RRC_NEXT_OF(posix_memalign)
RRC_NEXT_OF(aligned_alloc)
RRC_NEXT_OF(memalign)
RRC_NEXT_OF(valloc)
RRC_NEXT_OF(pvalloc)

/* A thread gives its caches back after the last of our code in it, inside libc. It dies holding this robust
 * mutex: the kernel lets go of it at the thread's end, and the next one who allocates waits for that. */
static pthread_mutex_t dead;
static bool dying; /* under alloc_lock */

RRC_NEXT_AS(mutex_lock, "pthread_mutex_lock", NULL)

static int lock_dead(void)
{
	return ((__typeof__(&pthread_mutex_lock))find_mutex_lock())(&dead);
}

void rrc_pl_init_alloc(void)
{
	pthread_mutexattr_t attr;

	dying = false;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&dead, &attr);
	pthread_mutexattr_destroy(&attr);
}

static void bury(void)
{
	if (lock_dead() == EOWNERDEAD)
		pthread_mutex_consistent(&dead);
	pthread_mutex_unlock(&dead);
	dying = false;
}

/* The caller has the allocator, and keeps it until it is gone. */
void rrc_pl_alloc_die(void)
{
	if (lock_dead() == EOWNERDEAD)
		pthread_mutex_consistent(&dead);
	dying = true;
}

static int take(struct rrc_pl_call *c)
{
	(void)c;
	rrc_pl_lock(&rrc_pl_area->alloc_lock);
	if (rrc_unlikely(dying))
		bury();
	return 0;
}

static void drop(struct rrc_pl_call *c)
{
	(void)c;
	rrc_pl_unlock(&rrc_pl_area->alloc_lock);
}

static const struct rrc_pl_op alloc_op = {
	RRC_LL_ALLOC, take, take, drop, NULL, RRC_LL_LOCK_MALLOC
};

/* True: the caller has the allocator to itself until rrc_pl_alloc_leave(). What the allocator calls
 * meanwhile (locks of its own) is recorded as ever; what it allocates for itself is not. */
static __attribute__((noinline)) bool enter_ordered(void)
{
	struct rrc_pl_call c = { .lock = NULL };

	if (rrc_me.in_alloc | rrc_me.ended)
		return false;
	if (rrc_me.inside) {
		if (rrc_me.slot)
			__atomic_fetch_add(&rrc_me.slot->skipped, 1, __ATOMIC_RELAXED);
		return false;
	}
	rrc_pl_acquire(&alloc_op, &c);
	rrc_me.in_alloc = true;
	return true;
}

static inline bool enter(void)
{
	uint32_t mode = rrc_pl_mode();

	if (rrc_likely(mode != RRC_LL_RECORD && mode != RRC_LL_REPLAY))
		return false;
	return rrc_pl_area->threaded && enter_ordered();
}

bool rrc_pl_alloc_enter(void)
{
	return enter();
}

static inline void leave(bool entered)
{
	if (entered) {
		rrc_me.in_alloc = false;
		rrc_pl_unlock(&rrc_pl_area->alloc_lock);
	}
}

void rrc_pl_alloc_leave(bool entered)
{
	leave(entered);
}

/* The loader may allocate while it looks for the allocator. */
static char early[16384] __attribute__((aligned(16)));
static size_t early_used;
static __thread bool finding __attribute__((tls_model("initial-exec")));

static void *early_alloc(size_t align, size_t size)
{
	size_t at = (early_used + align - 1) & ~(align - 1);

	if (at > sizeof(early) || size > sizeof(early) - at)
		return NULL;
	early_used = at + size;
	return early + at;
}

static inline bool is_early(const void *p)
{
	return rrc_unlikely((const char *)p >= early && (const char *)p < early + sizeof(early));
}

static bool RRC_SLOW find_all(void)
{
	if (finding)
		return false;
	finding = true;
	find_malloc();
	find_calloc();
	find_realloc();
	find_free();
	finding = false;
	return true;
}

static inline bool found(void)
{
	return rrc_likely(next_free) || find_all();
}

RRC_EXPORT void *malloc(size_t size)
{
	bool in;
	void *p;

	if (!found())
		return early_alloc(16, size);
	in = enter();
	p = RRC_NEXT(malloc)(size);
	leave(in);
	return p;
}

RRC_EXPORT void *calloc(size_t n, size_t size)
{
	size_t whole;
	bool in;
	void *p;

	if (!found())
		return __builtin_mul_overflow(n, size, &whole) ? NULL : early_alloc(16, whole);
	in = enter();
	p = RRC_NEXT(calloc)(n, size);
	leave(in);
	return p;
}

RRC_EXPORT void *realloc(void *old, size_t size)
{
	bool in;
	void *p;

	if (!found())
		return NULL;
	if (is_early(old)) {
		p = malloc(size);
		if (p)
			memcpy(p, old,
			       size < (size_t)(early + sizeof(early) - (char *)old)
				       ? size
				       : (size_t)(early + sizeof(early) - (char *)old));
		return p;
	}
	in = enter();
	p = RRC_NEXT(realloc)(old, size);
	leave(in);
	return p;
}

RRC_EXPORT void free(void *p)
{
	bool in;

	if (!p || is_early(p) || !found())
		return;
	in = enter();
	RRC_NEXT(free)(p);
	leave(in);
}

RRC_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	bool in = enter();
	int r = RRC_NEXT(posix_memalign)(out, align, size);

	leave(in);
	return r;
}

#define ALIGNED(name)                                    \
	RRC_EXPORT void *name(size_t align, size_t size) \
	{                                                \
		bool in = enter();                       \
		void *p = RRC_NEXT(name)(align, size);   \
                                                         \
		leave(in);                               \
		return p;                                \
	}
ALIGNED(aligned_alloc)
ALIGNED(memalign)

#define PAGES(name)                             \
	RRC_EXPORT void *name(size_t size)      \
	{                                       \
		bool in = enter();              \
		void *p = RRC_NEXT(name)(size); \
                                                \
		leave(in);                      \
		return p;                       \
	}
PAGES(valloc)
PAGES(pvalloc)
