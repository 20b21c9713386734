/* SPDX-License-Identifier: MIT */
/* Pages by address, see pages.h. The bytes are in chunks that never move; a table finds them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pages.h"
#include "util.h"

#define KEPT_CHUNKS 64 /* from one time to the next: 256 MB */
#define FIRST_TABLE 4096u

struct rrc_pages {
	uint8_t **chunks;
	size_t nchunks, used, fill; /* chunks begun; pages of the last one that are taken */
	uint64_t *addr;
	const uint8_t **data; /* NULL: dropped */
	size_t n, size;
	uint32_t *table; /* open addressing: index + 1 into addr; a power of two */
	size_t table_size;
};

struct rrc_pages *rrc_pages_new(void)
{
	return calloc(1, sizeof(struct rrc_pages));
}

void rrc_pages_free(struct rrc_pages *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nchunks; i++)
		free(p->chunks[i]);
	free(p->chunks);
	free(p->addr);
	free(p->data);
	free(p->table);
	free(p);
}

uint8_t *rrc_pages_room(struct rrc_pages *p, size_t n)
{
	uint8_t *at;

	if (!p->used || p->fill + n > RRC_PAGES_RUN) {
		if (p->used == p->nchunks) {
			uint8_t **more = realloc(p->chunks, (p->nchunks + 1) * sizeof(*more));

			if (!more)
				return NULL;
			p->chunks = more;
			more[p->nchunks] = aligned_alloc(RRC_PAGE, RRC_PAGES_RUN * RRC_PAGE);
			if (!more[p->nchunks])
				return NULL;
			p->nchunks++;
		}
		p->used++;
		p->fill = 0;
	}
	at = p->chunks[p->used - 1] + p->fill * RRC_PAGE;
	p->fill += n;
	return at;
}

static uint32_t *slot(const struct rrc_pages *p, uint64_t addr)
{
	size_t i = (addr / RRC_PAGE * 0x9e3779b97f4a7c15ull) >> 32;

	for (;; i++) {
		uint32_t *s = &p->table[i & (p->table_size - 1)];

		if (!*s || p->addr[*s - 1] == addr)
			return s;
	}
}

static int grow_table(struct rrc_pages *p)
{
	size_t size = p->table_size ? p->table_size * 2 : FIRST_TABLE;
	uint32_t *table = calloc(size, sizeof(*table));

	if (!table)
		return -ENOMEM;
	free(p->table);
	p->table = table;
	p->table_size = size;
	for (size_t i = 0; i < p->n; i++)
		*slot(p, p->addr[i]) = (uint32_t)i + 1;
	return 0;
}

static int grow_list(struct rrc_pages *p)
{
	size_t size = p->size ? p->size * 2 : FIRST_TABLE;
	uint64_t *addr = realloc(p->addr, size * sizeof(*addr));
	const uint8_t **data;

	if (!addr)
		return -ENOMEM;
	p->addr = addr;
	data = realloc(p->data, size * sizeof(*data));
	if (!data)
		return -ENOMEM;
	p->data = data;
	p->size = size;
	return 0;
}

int rrc_pages_put(struct rrc_pages *p, uint64_t addr, const uint8_t *data)
{
	uint32_t *s;

	if ((p->n == p->size && grow_list(p)) || (p->n * 2 >= p->table_size && grow_table(p)))
		return -ENOMEM;
	s = slot(p, addr);
	if (!*s) {
		p->addr[p->n] = addr;
		*s = (uint32_t)++p->n;
	}
	p->data[*s - 1] = data;
	return 0;
}

void rrc_pages_drop(struct rrc_pages *p, uint64_t start, uint64_t end)
{
	if (!p->n)
		return;
	if ((end - start) / RRC_PAGE > p->n) {
		for (size_t i = 0; i < p->n; i++)
			if (p->addr[i] >= start && p->addr[i] < end)
				p->data[i] = NULL;
		return;
	}
	for (uint64_t at = start & ~(uint64_t)(RRC_PAGE - 1); at < end; at += RRC_PAGE) {
		uint32_t s = *slot(p, at);

		if (s)
			p->data[s - 1] = NULL;
	}
}

size_t rrc_pages_all(struct rrc_pages *p, const uint64_t **addr, const uint8_t *const **data)
{
	size_t n = 0;

	/* Those that were dropped go now: places change, so the table does, too. */
	for (size_t i = 0; i < p->n; i++) {
		if (!p->data[i])
			continue;
		p->addr[n] = p->addr[i];
		p->data[n++] = p->data[i];
	}
	if (n != p->n) {
		p->n = n;
		memset(p->table, 0, p->table_size * sizeof(*p->table));
		for (size_t i = 0; i < n; i++)
			*slot(p, p->addr[i]) = (uint32_t)i + 1;
	}
	*addr = p->addr;
	*data = p->data;
	return n;
}

void rrc_pages_clear(struct rrc_pages *p)
{
	if (p->n)
		memset(p->table, 0, p->table_size * sizeof(*p->table));
	while (p->nchunks > KEPT_CHUNKS)
		free(p->chunks[--p->nchunks]);
	p->n = p->used = p->fill = 0;
}
