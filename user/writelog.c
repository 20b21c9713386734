// SPDX-License-Identifier: MIT
/* The reader of the log of write faults, see writelog.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../bpf/writes.h"
#include "recorder_int.h"
#include "util.h"
#include "writelog.h"
#include "writes.skel.h"

#define LOG_BYTES   (RRC_WRITES * sizeof(uint64_t))
#define FIRST_TABLE 256u

struct rrc_writelog {
	struct writes_bpf *skel;
	uint64_t *entries;
	uint64_t tail; /* read up to here, which is the mark */
	bool lost;
	/* The last fault of each thread before the mark: it may not have been resolved by then. An entry is made when a
	 * fault begins, so the page may become written after the look that the mark stands for. */
	uint64_t *last; /* open addressing by thread */
	size_t nlast, last_size;
	struct rrc_written *found;
	size_t size;
};

static int load(struct rrc_writelog *w, uint64_t pidns)
{
	libbpf_print_fn_t print = rrc_libbpf_silence(false);
	int ret = -ENOENT;

	w->skel = writes_bpf__open();
	if (w->skel) {
		w->skel->rodata->cfg_pidns = (__u32)pidns;
		ret = writes_bpf__load(w->skel);
	}
	if (!ret)
		ret = writes_bpf__attach(w->skel);
	rrc_libbpf_restore(print);
	return ret;
}

struct rrc_writelog *rrc_writelog_open(uint64_t pidns, struct rrc_error *err)
{
	struct rrc_writelog *w = calloc(1, sizeof(*w));
	int ret = w ? load(w, pidns) : -ENOMEM;

	if (!ret) {
		w->last = calloc(FIRST_TABLE, sizeof(*w->last));
		w->last_size = FIRST_TABLE;
		w->entries = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
				  bpf_map__fd(w->skel->maps.rrc_writes), 0);
		if (w->entries == MAP_FAILED)
			w->entries = NULL;
		ret = w->last && w->entries ? 0 : -ENOMEM;
	}
	if (!ret)
		return w;
	rrc_fail(err, ret, "write faults cannot be logged here: %s", strerror(-ret));
	rrc_writelog_free(w);
	return NULL;
}

void rrc_writelog_free(struct rrc_writelog *w)
{
	if (!w)
		return;
	if (w->entries)
		munmap(w->entries, LOG_BYTES);
	writes_bpf__destroy(w->skel);
	free(w->last);
	free(w->found);
	free(w);
}

static uint64_t *slot(uint64_t *table, size_t size, uint64_t tid)
{
	size_t i = tid * 0x9e3779b97f4a7c15ull >> 40;

	for (;; i++) {
		uint64_t *s = &table[i & (size - 1)];

		if (!*s || RRC_WRITE_TID(*s) == tid)
			return s;
	}
}

static int grow(struct rrc_writelog *w)
{
	uint64_t *table = calloc(w->last_size * 2, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < w->last_size; i++)
		if (w->last[i])
			*slot(table, w->last_size * 2, RRC_WRITE_TID(w->last[i])) = w->last[i];
	free(w->last);
	w->last = table;
	w->last_size *= 2;
	return 0;
}

static int note_last(struct rrc_writelog *w, uint64_t entry)
{
	uint64_t *s = slot(w->last, w->last_size, RRC_WRITE_TID(entry));

	w->nlast += !*s;
	*s = entry;
	return w->nlast * 2 > w->last_size ? grow(w) : 0;
}

static uint64_t head_of(const struct rrc_writelog *w)
{
	return __atomic_load_n(&w->skel->bss->head, __ATOMIC_ACQUIRE);
}

uint64_t rrc_writelog_since(const struct rrc_writelog *w)
{
	return head_of(w) - w->tail;
}

void rrc_writelog_mark(struct rrc_writelog *w)
{
	uint64_t head = head_of(w);

	w->lost |= head - w->tail > RRC_WRITES;
	for (; w->tail < head && !w->lost; w->tail++) {
		uint64_t *e = &w->entries[w->tail & (RRC_WRITES - 1)];
		uint64_t entry = __atomic_load_n(e, __ATOMIC_ACQUIRE);

		/* Begun and not written yet: the mark stays before it. */
		if (!entry)
			break;
		w->lost |= note_last(w, entry) != 0;
		*e = 0;
	}
}

/* Nothing is under way while all threads stand. */
static void start_over(struct rrc_writelog *w, uint64_t head)
{
	if (w->lost)
		memset(w->entries, 0, LOG_BYTES);
	memset(w->last, 0, w->last_size * sizeof(*w->last));
	w->nlast = 0;
	w->lost = false;
	w->tail = head;
}

static int reserve(struct rrc_writelog *w, size_t n)
{
	void *bigger = n > w->size ? realloc(w->found, n * 2 * sizeof(*w->found)) : w->found;

	if (!bigger)
		return -ENOMEM;
	w->found = bigger;
	w->size = n > w->size ? n * 2 : w->size;
	return 0;
}

static struct rrc_written written(uint64_t entry)
{
	return (struct rrc_written){ RRC_WRITE_ADDRESS(entry), RRC_WRITE_TID(entry) };
}

long rrc_writelog_take(struct rrc_writelog *w, const struct rrc_written **list)
{
	uint64_t head = head_of(w);
	size_t n = 0;

	w->lost |= head - w->tail > RRC_WRITES;
	w->lost = w->lost || reserve(w, head - w->tail + w->nlast + 1);
	for (size_t i = 0; i < w->last_size && !w->lost; i++)
		if (w->last[i])
			w->found[n++] = written(w->last[i]);
	for (; w->tail < head && !w->lost; w->tail++) {
		uint64_t *e = &w->entries[w->tail & (RRC_WRITES - 1)];

		w->lost = !*e;
		w->found[n++] = written(*e);
		*e = 0;
	}
	*list = w->found;
	if (w->lost) {
		start_over(w, head);
		return -EOVERFLOW;
	}
	start_over(w, head);
	return (long)n;
}
