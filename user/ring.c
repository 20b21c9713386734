// SPDX-License-Identifier: MIT
/*
 * Reader of the BPF ring buffer: one page with our position, one with the producer's, then the data,
 * mapped twice in a row so that no record is ever split.
 * Layout: kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include "ring.h"
#include "util.h"

/* Room is given back in steps: each makes the producers' next look at our position a cache miss. */
#define GIVE_BACK      (256u << 10)
#define BUSY_LIMIT_NS  1000000000ull
#define SPINS_PER_LOOK 256

struct rrc_ring {
	int fd;
	size_t size;
	size_t page;
	void *consumer; /* page 0, ours to write */
	void *producer; /* page 1 and the data, twice */
};

static uint64_t *consumer_pos(const struct rrc_ring *ring)
{
	return ring->consumer;
}

static uint64_t producer_pos(const struct rrc_ring *ring)
{
	return __atomic_load_n((uint64_t *)ring->producer, __ATOMIC_ACQUIRE);
}

struct rrc_ring *rrc_ring_open(int map_fd, struct rrc_error *err)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);
	struct rrc_ring *ring;

	if (bpf_obj_get_info_by_fd(map_fd, &info, &len)) {
		rrc_fail(err, -errno, "ring buffer: %m");
		return NULL;
	}
	if (info.type != BPF_MAP_TYPE_RINGBUF) {
		rrc_fail(err, -EINVAL, "map %s is no ring buffer", info.name);
		return NULL;
	}
	ring = calloc(1, sizeof(*ring));
	if (!ring) {
		rrc_fail(err, -ENOMEM, "out of memory");
		return NULL;
	}
	ring->fd = map_fd;
	ring->size = info.max_entries;
	ring->page = (size_t)sysconf(_SC_PAGESIZE);
	ring->consumer = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	ring->producer = mmap(NULL, ring->page + 2 * ring->size, PROT_READ, MAP_SHARED, map_fd,
			      (off_t)ring->page);
	if (ring->consumer == MAP_FAILED || ring->producer == MAP_FAILED) {
		rrc_fail(err, -errno, "cannot map the ring buffer: %m");
		rrc_ring_close(ring);
		return NULL;
	}
	return ring;
}

void rrc_ring_close(struct rrc_ring *ring)
{
	if (!ring)
		return;
	if (ring->consumer && ring->consumer != MAP_FAILED)
		munmap(ring->consumer, ring->page);
	if (ring->producer && ring->producer != MAP_FAILED)
		munmap(ring->producer, ring->page + 2 * ring->size);
	free(ring);
}

int rrc_ring_fd(const struct rrc_ring *ring)
{
	return ring->fd;
}

uint64_t rrc_ring_pending(const struct rrc_ring *ring)
{
	return producer_pos(ring) - *consumer_pos(ring);
}

size_t rrc_ring_size(const struct rrc_ring *ring)
{
	return ring->size;
}

uint64_t rrc_ring_produced(const struct rrc_ring *ring)
{
	return producer_pos(ring);
}

/* Waits until a record is whole. Its writer cannot be preempted, so this is short, unless the
 * host takes its processor away: then it is bounded. Returns the length word. */
static uint32_t wait_whole(const uint32_t *word)
{
	uint64_t start = 0;
	uint32_t w;

	for (unsigned int i = 1;; i++) {
		w = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		if (!(w & BPF_RINGBUF_BUSY_BIT))
			return w;
		__builtin_ia32_pause();
		if (i % SPINS_PER_LOOK)
			continue;
		if (!start)
			start = rrc_now_ns(CLOCK_MONOTONIC);
		else if (rrc_now_ns(CLOCK_MONOTONIC) - start > BUSY_LIMIT_NS)
			return w;
	}
}

static void set_consumer(struct rrc_ring *ring, uint64_t pos)
{
	__atomic_store_n(consumer_pos(ring), pos, __ATOMIC_RELEASE);
}

int rrc_ring_drain(struct rrc_ring *ring, rrc_ring_fn fn, void *ctx, enum rrc_drain mode)
{
	const uint8_t *data = (const uint8_t *)ring->producer + ring->page;
	uint64_t pos = *consumer_pos(ring), given = pos, end = producer_pos(ring);
	int n = 0, ret = 0;

	while (pos < end) {
		const uint32_t *word = (const uint32_t *)(data + (pos & (ring->size - 1)));
		const struct rrc_rec *rec =
			(const void *)((const uint8_t *)word + BPF_RINGBUF_HDR_SZ);
		uint32_t w = __atomic_load_n(word, __ATOMIC_ACQUIRE), len;

		if (w & BPF_RINGBUF_BUSY_BIT) {
			if (mode == RRC_DRAIN_READY)
				break;
			w = wait_whole(word);
			if (w & BPF_RINGBUF_BUSY_BIT) {
				ret = -ETIMEDOUT;
				break;
			}
		}
		len = w & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		pos += RRC_ALIGN8((uint64_t)len + BPF_RINGBUF_HDR_SZ);
		if (!(w & BPF_RINGBUF_DISCARD_BIT)) {
			if (len < sizeof(*rec) || rec->size < sizeof(*rec) || rec->size > len) {
				ret = -EBADMSG;
				break;
			}
			ret = fn(ctx, rec);
			if (ret < 0)
				break;
			n++;
		}
		if (pos - given >= GIVE_BACK) {
			set_consumer(ring, pos);
			given = pos;
		}
	}
	set_consumer(ring, pos);
	return ret < 0 ? ret : n;
}
