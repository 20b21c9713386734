/* SPDX-License-Identifier: MIT */
/* Pages as the receiver has them, see sent.h. In chunks that never move; a table finds them. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pages.h"
#include "sent.h"

#define CHUNK	    512u /* pages: as much as one entry of a page table's second level has */
#define FIRST_TABLE 4096u

/* A place of the table. One that was dropped keeps its address and its room, for the same page. */
struct place {
	uint64_t addr; /* 0: free */
	uint8_t *page;
	bool dropped;
};

struct rrc_sent {
	size_t *budget;
	uint8_t **chunks;
	size_t nchunks, fill; /* pages of the last chunk that are taken */
	struct place *table; /* open addressing, a power of two */
	size_t n, size;
};

struct rrc_sent *rrc_sent_new(size_t *budget)
{
	struct rrc_sent *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->budget = budget;
	s->size = FIRST_TABLE;
	s->table = calloc(s->size, sizeof(*s->table));
	if (s->table)
		return s;
	free(s);
	return NULL;
}

void rrc_sent_free(struct rrc_sent *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nchunks; i++)
		munmap(s->chunks[i], CHUNK * RRC_PAGE);
	*s->budget += s->n;
	free(s->chunks);
	free(s->table);
	free(s);
}

static struct place *place(struct place *table, size_t size, uint64_t addr)
{
	size_t i = addr / RRC_PAGE * 0x9e3779b97f4a7c15ull >> 32;

	for (;; i++) {
		struct place *p = &table[i & (size - 1)];

		if (!p->addr || p->addr == addr)
			return p;
	}
}

uint8_t *rrc_sent_at(const struct rrc_sent *s, uint64_t addr)
{
	const struct place *p = place(s->table, s->size, addr);

	return p->addr && !p->dropped ? p->page : NULL;
}

static uint8_t *room(struct rrc_sent *s)
{
	uint8_t **more, *chunk;

	if (s->nchunks && s->fill < CHUNK)
		return s->chunks[s->nchunks - 1] + s->fill++ * RRC_PAGE;
	more = realloc(s->chunks, (s->nchunks + 1) * sizeof(*more));
	if (!more)
		return NULL;
	s->chunks = more;
	chunk = mmap(NULL, CHUNK * RRC_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	if (chunk == MAP_FAILED)
		return NULL;
	more[s->nchunks++] = chunk;
	s->fill = 1;
	return chunk;
}

static bool grow(struct rrc_sent *s)
{
	struct place *table = calloc(s->size * 2, sizeof(*table));

	if (!table)
		return false;
	for (size_t i = 0; i < s->size; i++)
		if (s->table[i].addr)
			*place(table, s->size * 2, s->table[i].addr) = s->table[i];
	free(s->table);
	s->table = table;
	s->size *= 2;
	return true;
}

void rrc_sent_add(struct rrc_sent *s, uint64_t addr, const uint8_t *page)
{
	struct place *p;
	uint8_t *at;

	if (!addr || (s->n * 2 >= s->size && !grow(s)))
		return;
	p = place(s->table, s->size, addr);
	if (!p->addr) {
		at = *s->budget ? room(s) : NULL;
		if (!at)
			return;
		--*s->budget;
		s->n++;
		*p = (struct place){ .addr = addr, .page = at };
	}
	p->dropped = false;
	memcpy(p->page, page, RRC_PAGE);
}

void rrc_sent_drop(struct rrc_sent *s, uint64_t start, uint64_t end)
{
	start &= ~(uint64_t)(RRC_PAGE - 1);
	if ((end - start) / RRC_PAGE > s->size) {
		for (size_t i = 0; i < s->size; i++)
			s->table[i].dropped |= s->table[i].addr >= start && s->table[i].addr < end;
		return;
	}
	for (; start < end; start += RRC_PAGE) {
		struct place *p = place(s->table, s->size, start);

		p->dropped |= p->addr != 0;
	}
}
