/* SPDX-License-Identifier: MIT */
/* Which engine takes the checkpoints, see engines.h. */
#include <errno.h>
#include <string.h>

#include "engines.h"
#include "util.h"

/* The shortest pause first. */
static const struct rrc_ckpt_engine *const engines[] = { &rrc_ckpt_precopy, &rrc_ckpt_kfork,
							 &rrc_ckpt_stop };

const struct rrc_ckpt_engine *rrc_ckpt_engine_choose(const char *name, struct rrc_error *err)
{
	for (size_t i = 0; i < RRC_ARRAY_SIZE(engines); i++) {
		const struct rrc_ckpt_engine *e = engines[i];
		struct rrc_error why = { 0 };

		if (name && strcmp(name, e->name))
			continue;
		if (!e->probe || !e->probe(&why))
			return e;
		if (!name)
			continue;
		*err = why;
		err->exit = RRC_EXIT_HOST;
		return NULL;
	}
	rrc_fail(err, EINVAL, "there is no checkpoint engine '%s'", name);
	return NULL;
}
