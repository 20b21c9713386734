/* SPDX-License-Identifier: MIT */
/*
 * Reader of the BPF ring buffer. Our own, since rule 1 asks for "everything up to the producer's
 * position now": libbpf's stops at a record that is reserved but still being written. Knows that a
 * struct rrc_rec is in each of the ring's records.
 */
#ifndef RRC_RING_H
#define RRC_RING_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "record.h"

struct rrc_ring;

enum rrc_drain {
	RRC_DRAIN_READY, /* what is whole now: stops before a record that is being written */
	RRC_DRAIN_ALL, /* up to the producer's position at the call, waiting for such records */
};

/* One record, in the ring itself: valid until the callback returns. Its length is rec->size. A
 * negative result stops the drain; the record counts as taken. */
typedef int (*rrc_ring_fn)(void *ctx, const struct rrc_rec *rec);

/* Maps the ring buffer map_fd (which stays the caller's). NULL on failure. */
struct rrc_ring *rrc_ring_open(int map_fd, struct rrc_error *err);
void rrc_ring_close(struct rrc_ring *ring);

/* Readable when a producer asked for a wake-up; the map's descriptor, for epoll. */
int rrc_ring_fd(const struct rrc_ring *ring);

/* Returns the number of records, what the callback said if that is negative, -ETIMEDOUT when a record
 * was not finished within a second (with RRC_DRAIN_ALL), or -EBADMSG for what is no record. */
int rrc_ring_drain(struct rrc_ring *ring, rrc_ring_fn fn, void *ctx, enum rrc_drain mode);

/* Bytes that wait in the ring; its size; all bytes ever placed. */
uint64_t rrc_ring_pending(const struct rrc_ring *ring);
size_t rrc_ring_size(const struct rrc_ring *ring);
uint64_t rrc_ring_produced(const struct rrc_ring *ring);

#endif
