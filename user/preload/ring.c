/* SPDX-License-Identifier: MIT */
/* A ring that runs full, and the library's own waiting: futex calls made from this object's text, so that
 * whoever watches calls can tell them from the program's. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "preload.h"

/* Raw: errno is the program's. Shared futexes: others map the area too. */
long rrc_pl_futex(void *word, int op, uint32_t value, const struct timespec *timeout)
{
	register const struct timespec *r10 __asm__("r10") = timeout;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"((long)SYS_futex), "D"(word), "S"((long)op), "d"((long)value),
			   "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

/* Half full: say that a drain is wanted. Full: wait for it, and never drop (rule 4). */
bool rrc_pl_ring_slow(struct rrc_ll_slot *s, uint32_t head)
{
	struct rrc_ll_area *a = rrc_pl_area;
	uint32_t tail;

	for (;;) {
		tail = __atomic_load_n(&s->tail, __ATOMIC_SEQ_CST);
		rrc_me.tail_seen = tail;
		if (head - tail < RRC_LL_RING / 2)
			return true;
		if (!__atomic_load_n(&a->wanted, __ATOMIC_RELAXED))
			__atomic_store_n(&a->wanted, 1, __ATOMIC_SEQ_CST);
		if (head - tail < RRC_LL_RING)
			return true;
		if (rrc_pl_mode() != RRC_LL_RECORD) {
			s->state = RRC_LL_RUNNING;
			return false;
		}
		__atomic_store_n(&s->state, RRC_LL_RING_FULL, __ATOMIC_SEQ_CST);
		rrc_pl_futex(&s->tail, FUTEX_WAIT, tail, NULL);
		__atomic_store_n(&s->state, RRC_LL_RUNNING, __ATOMIC_SEQ_CST);
	}
}

/* A mutex of one word: 0 free, 1 taken, 2 taken and waited for. */
void rrc_pl_lock(uint32_t *word)
{
	uint32_t free = 0;

	if (__atomic_compare_exchange_n(word, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
		rrc_pl_futex(word, FUTEX_WAIT, 2, NULL);
}

void rrc_pl_unlock(uint32_t *word)
{
	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
		rrc_pl_futex(word, FUTEX_WAKE, 1, NULL);
}
