/* SPDX-License-Identifier: MIT */
/*
 * Loads the recorder (bpf/) for one container: programs, maps and their pins, its switches and
 * counters, and the two tc filters on the container's link. Apart from the collector, which decides
 * what to do with the records.
 */
#ifndef RRC_RECORDER_H
#define RRC_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../bpf/maps.h"
#include "err.h"
#include "ring.h"

#define RRC_PIN_ROOT "/sys/fs/bpf/rrc"

struct rrc_recorder;

struct rrc_recorder_opts {
	const char *name; /* of the container: maps are pinned below RRC_PIN_ROOT/name; NULL: not */
	uint64_t pidns; /* inode number of its pid namespace */
	uint64_t netns; /* … of its network namespace; 0: no network */
	size_t ring_bytes; /* a power of two; 0: 64 MiB */
	size_t wake_bytes; /* the ring fuller than this wakes the reader; 0: an eighth of it */
	bool flag_unpatched; /* RRC_F_UNPATCHED for programs executed from now on, until
				 * rrc_recorder_patched() */
	bool verbose; /* libbpf may print to stderr: the verifier's log, when it refuses */
	bool old_kernel; /* do without what newer kernels than 6.1 offer */
};

/* Loads and pins; nothing runs yet. NULL on failure: RRC_EXIT_HOST when the kernel lacks something. */
struct rrc_recorder *rrc_recorder_open(const struct rrc_recorder_opts *opts, struct rrc_error *err);

/* Attaches the tracepoints. Connections and the state of threads are followed from here on; calls are
 * recorded after rrc_recorder_on(true). 0 or negative errno. */
int rrc_recorder_attach(struct rrc_recorder *rec, struct rrc_error *err);

/* Calls, signals, births and deaths are recorded or not: what begins to return after this call. To be
 * sure of what ran meanwhile, stop the threads first. Packets and connections are recorded always. */
void rrc_recorder_on(struct rrc_recorder *rec, bool on);

/* The exec watcher has the threads, or lets go of them: waits that its stops break off are recorded as calls that
 * are made again. */
void rrc_recorder_watched(struct rrc_recorder *rec, bool on);

/* Stopped thread tid (from here): was its last call recorded so? *began_ns gets when the wait began. */
bool rrc_recorder_broken_off(struct rrc_recorder *rec, pid_t tid, uint64_t *began_ns);

/* Process pid (as seen from here) is patched: its records are no barriers any more. 0 or -errno. */
int rrc_recorder_patched(struct rrc_recorder *rec, pid_t pid);

/* Process pid (from here) is not patched; for who finds one at protection. 0 or -errno. */
int rrc_recorder_unpatched(struct rrc_recorder *rec, pid_t pid);

/* The ring with the records; the recorder's, closed with it. */
struct rrc_ring *rrc_recorder_ring(struct rrc_recorder *rec);

/* rrc_ring_drain() on it, which also keeps the counters of what was drained. */
int rrc_recorder_drain(struct rrc_recorder *rec, rrc_ring_fn fn, void *ctx, enum rrc_drain mode);

void rrc_recorder_stats(struct rrc_recorder *rec, struct rrc_stats *out);

/* Barriers raised by call number nr (RRC_NR_OTHER: by numbers outside of the table). */
uint64_t rrc_recorder_barriers(struct rrc_recorder *rec, unsigned int nr);

/* Links, by name, inside the network namespace netns_fd: capture on the way in, the lease on the way
 * out. The filters outlive us: rule 7. 0 or negative errno. */
int rrc_recorder_attach_tc(struct rrc_recorder *rec, int netns_fd, const char *ifname,
			   struct rrc_error *err);

/* Removes our filters from the link, whoever put them there. 0, also if there were none. */
int rrc_recorder_detach_tc(int netns_fd, const char *ifname, struct rrc_error *err);

/*
 * The lease: until it is set for the first time everything passes; from then on packets leave only
 * while CLOCK_MONOTONIC is not past it. 0 takes the lease away: everything passes again.
 */
/* What cannot be read of the connections in that network right now: how many listeners have some to be accepted, how
 * many connections have bytes that came out of order. 0 or a negative errno. */
struct rrc_waiting {
	unsigned int unaccepted, gaps;
};
int rrc_recorder_waiting(struct rrc_recorder *rec, int netns_fd, struct rrc_waiting *w,
			 struct rrc_error *err);

void rrc_recorder_lease_set(struct rrc_recorder *rec, uint64_t until_ns);
void rrc_recorder_lease_get(struct rrc_recorder *rec, struct rrc_lease *out);

/* Detaches the tracepoints and removes the pins. tc filters stay: rrc_recorder_detach_tc(). */
void rrc_recorder_close(struct rrc_recorder *rec);

/* Removes the pins that a killed run left behind. 0, also if there were none. */
int rrc_recorder_cleanup_stale(const char *name, struct rrc_error *err);

#endif
