/* SPDX-License-Identifier: MIT */
/*
 * How long an epoch may be (--epoch auto): as long as a recovery stays under a limit, since a longer one costs less. A
 * failure finds at worst a whole epoch to be replayed, and what was recorded while the next checkpoint was made.
 */
#ifndef RRC_EPOCH_H
#define RRC_EPOCH_H

#include <stdint.h>

#define RRC_EPOCH_LIMIT_NS 1000000000ull /* unless another limit is asked for */
#define RRC_EPOCH_LEAST_NS 25000000ull
#define RRC_EPOCH_MOST_NS  5000000000ull
#define RRC_EPOCH_FIXED_NS 150000000ull /* of a recovery, beside silence and replay */
#define RRC_EPOCH_RECORD_NS \
	5000ull /* to replay one: twice what the slowest server that we measured took */

struct rrc_epoch_seen {
	uint64_t epoch_ns; /* as it is now */
	uint64_t
		took_ns; /* the last checkpoint, until it was committed: more with more written pages */
	uint64_t records, over_ns; /* so many, in such a time */
};

/* The next one. limit_ns: of a recovery; silence_ns: after which the backup takes over. */
uint64_t rrc_epoch_choose(uint64_t limit_ns, uint64_t silence_ns,
			  const struct rrc_epoch_seen *seen);

/* More was recorded since the last commit than was thought when the epoch began: it must end now. records, over_ns: since
 * then; took_ns: before that this long was recorded for it, and will be for the next one. */
int rrc_epoch_over(uint64_t limit_ns, uint64_t silence_ns, const struct rrc_epoch_seen *seen);

#endif
