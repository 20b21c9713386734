// SPDX-License-Identifier: MIT
/*
 * The area that a recorded program shares with us, with anything written into it: the program may. What
 * is drained is at most a ring's worth, what is told of a slot is a line of text.
 */
#include <stddef.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "locklog.h"

/* Words anywhere in the slots and the head, and some locks. */
static void scribble(struct rrc_ll_area *a, struct input *in)
{
	uint32_t words = take_num(in, 32);

	while (words-- && in->len) {
		uint32_t *p = (uint32_t *)(void *)a, at;

		switch (take_num(in, 3)) {
		case 0:
			at = take_num(in,
				      16); /* the head's first words, mode and counts among them */
			break;
		case 1:
			at = (uint32_t)(RRC_LL_SLOT_OFFSET / 4) + take_num(in, 48 * 4);
			break;
		default:
			at = take_num(in, (uint32_t)(sizeof(*a) / 4));
		}
		p[at] = take_num(in, 2) ? take_num(in, UINT32_MAX) : take_num(in, 256);
	}
}

static void drain_all(struct rrc_locklog *ll)
{
	struct rrc_locklog_feed feeds[RRC_LL_SLOTS] = { 0 };
	char text[512];

	for (uint32_t slot = 0; slot < RRC_LL_SLOTS; slot++) {
		struct rrc_locklog_batch b = { .events = NULL };

		if (slot < 4) {
			b.events = malloc(RRC_LL_RING * sizeof(*b.events));
			must(b.events != NULL);
			rrc_locklog_drain(ll, slot, &b);
			must(b.count <= RRC_LL_RING);
			feeds[slot].count = rrc_locklog_settle(b.events, b.count);
			must(feeds[slot].count <= b.count);
			feeds[slot].events = b.events;
			feeds[slot].done = b.done;
			for (uint32_t i = 0; i < b.count; i++)
				must(rrc_locklog_kind(b.events[i].kind) != NULL);
		}
		rrc_locklog_describe(ll, slot, text, sizeof(text));
		must(memchr(text, 0, sizeof(text)) != NULL);
	}
	rrc_locklog_resolve(feeds);
	for (uint32_t slot = 0; slot < 4; slot++)
		free(feeds[slot].events);
}

/* Zeros, with a page behind that nobody may touch. */
static struct rrc_ll_area *fresh_area(void)
{
	static void *area;
	size_t size = sizeof(struct rrc_ll_area);

	if (!area) {
		area = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
		must(area != MAP_FAILED && !mprotect((char *)area + size, 4096, PROT_NONE));
	}
	must(!madvise(area, size, MADV_DONTNEED));
	return area;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rrc_locklog ll = { .area = fresh_area() };
	struct input in = { data, size };

	scribble(ll.area, &in);
	drain_all(&ll);
	rrc_locklog_set_mode(&ll, take_num(&in, 3));
	scribble(ll.area, &in);
	drain_all(&ll);
	rrc_locklog_replay(&ll, 0);
	rrc_locklog_live(&ll);
	return 0;
}
