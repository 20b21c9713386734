// SPDX-License-Identifier: MIT
/*
 * Who is let go next when nothing moves (replayer/later.c): threads of a lock log in this very process, which stand
 * where a recording had them when its replay asked one thread again and again and never came to its end.
 */
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>

#include "help.h"
#include "../../replayer/later.h"
#include "../../replayer/locks.h"
#include "../../replayer/tracee.h"
#include "locklog.h"

struct world {
	struct rrc_engine e;
	struct tproc *proc;
	struct rrc_ll_area *area;
};

static void build(struct world *w)
{
	int fd = memfd_create(RRC_LL_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct rrc_error err = { 0 };

	memset(w, 0, sizeof(*w));
	cr_assert(fd >= 0 && ftruncate(fd, sizeof(*w->area)) == 0 &&
		  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	w->area = mmap((void *)RRC_LL_BASE, sizeof(*w->area), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	cr_assert(w->area != MAP_FAILED);
	close(fd);
	w->area->magic = RRC_LL_MAGIC;
	w->area->version = RRC_LL_VERSION;
	w->area->mode = RRC_LL_REPLAY;
	w->area->addr = RRC_LL_BASE;
	w->area->size = sizeof(*w->area);
	w->proc = rrc_tproc_add(&w->e, getpid(), 1, &err);
	cr_assert(w->proc, "%s", err.msg);
}

/* In the next slot, and later than those before it. */
static struct tracee *thread(struct world *w, enum tracee_state state, enum rrc_ll_state lock)
{
	uint32_t i = w->area->slots++;
	struct rrc_error err = { 0 };
	struct tracee *t = rrc_tracee_add(&w->e, 1000000 + (pid_t)i, 10 + i, w->proc, &err);

	cr_assert(t, "%s", err.msg);
	t->state = state;
	t->later_ns = i + 1;
	w->area->slot[i].tid = t->ns_tid;
	w->area->slot[i].ops = 100 * (i + 1);
	w->area->slot[i].state = lock;
	return t;
}

static struct rrc_ll_slot *slot(struct world *w, const struct tracee *t)
{
	return &w->area->slot[t->ns_tid - 10];
}

/* t waits for its turn, and it is whom that has not done its own before. */
static void waits_for(struct world *w, const struct tracee *t, const struct tracee *whom)
{
	slot(w, t)->wait_word = (uint64_t)(whom->ns_tid - 10 + 1) << RRC_LL_OWNER_SHIFT;
}

/* Let run to one operation. */
static void partly(struct world *w, struct tracee *t, uint32_t op)
{
	t->part = true;
	w->e.nlater++;
	slot(w, t)->hold = op;
}

/* As when a thread comes to a futex call of its lock log. */
static void look(struct world *w, struct tracee *t)
{
	struct rrc_error err = { 0 };

	t->regs.rdi = RRC_LL_BASE + offsetof(struct rrc_ll_area, mode);
	cr_assert_eq(rrc_locks_at_futex(&w->e, t, &err), 0, "%s", err.msg);
	cr_assert(w->e.locks);
}

/* The earliest waits on its way there: it is another one, held back by us, that it waits for. */
Test(later, who_waits_on_its_way_is_not_let_go_again, .timeout = 30)
{
	struct tracee *waits, *holds;
	struct world w;

	build(&w);
	waits = thread(&w, TR_LOCAL, RRC_LL_WAIT_TURN);
	holds = thread(&w, TR_LOCAL, RRC_LL_HELD);
	look(&w, waits);
	waits_for(&w, waits, holds);
	partly(&w, waits, 150);
	partly(&w, holds, 201);
	cr_assert(rrc_later_next(&w.e));
	cr_assert_eq(slot(&w, waits)->hold, 150u, "it cannot do anything");
	cr_assert(waits->part);
	cr_assert_neq(slot(&w, holds)->hold, 201u, "nobody was let go who can");
}

/* It came to its call, which is all that those who wait for it can have of it. */
Test(later, who_came_to_its_call_is_asked_once, .timeout = 30)
{
	struct tracee *came, *waits;
	unsigned int asked = 0;
	struct world w;

	build(&w);
	came = thread(&w, TR_CALL, RRC_LL_RUNNING);
	waits = thread(&w, TR_LOCAL, RRC_LL_WAIT_TURN);
	look(&w, waits);
	waits_for(&w, waits, came);
	partly(&w, came, 150);
	while (asked < 10 && rrc_later_next(&w.e))
		asked++;
	cr_assert_leq(asked, 1u, "it was asked %u times", asked);
	cr_assert_eq(slot(&w, came)->hold, 0u);
	cr_assert_eq(w.e.nlater, 0u);
}
