/* SPDX-License-Identifier: MIT */
/* How long an epoch may be, see epoch.h. */
#include "epoch.h"
#include "util.h"

/* What may be recorded, so that its replay fits. A replay takes no longer than the recording did. */
static uint64_t recorded(uint64_t room, const struct rrc_epoch_seen *s)
{
	uint64_t replay = s->records * RRC_EPOCH_RECORD_NS;

	if (!replay || !s->over_ns)
		return UINT64_MAX;
	if (replay >= s->over_ns)
		return room;
	return (uint64_t)((double)room * (double)s->over_ns / (double)replay);
}

int rrc_epoch_over(uint64_t limit_ns, uint64_t silence_ns, const struct rrc_epoch_seen *s)
{
	uint64_t fixed = silence_ns + RRC_EPOCH_FIXED_NS;

	if (s->over_ns < RRC_EPOCH_LEAST_NS)
		return 0;
	return limit_ns <= fixed || s->over_ns + 2 * s->took_ns >= recorded(limit_ns - fixed, s);
}

uint64_t rrc_epoch_choose(uint64_t limit_ns, uint64_t silence_ns, const struct rrc_epoch_seen *s)
{
	uint64_t fixed = silence_ns + RRC_EPOCH_FIXED_NS, may, longest;

	if (limit_ns <= fixed)
		return RRC_EPOCH_LEAST_NS;
	may = recorded(limit_ns - fixed, s);
	longest = may > s->took_ns ? may - s->took_ns : 0;
	/* A longer epoch has more written pages, so that its checkpoint takes longer, at most by as much. */
	if (longest > s->epoch_ns)
		longest = (uint64_t)((double)may /
				     (1 + (double)s->took_ns / (double)(s->epoch_ns + 1)));
	longest = rrc_min(longest, 2 * s->epoch_ns);
	longest = rrc_min(longest, (uint64_t)RRC_EPOCH_MOST_NS);
	return rrc_max(longest, (uint64_t)RRC_EPOCH_LEAST_NS);
}
