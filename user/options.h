/* SPDX-License-Identifier: MIT */
/* What rrc-trace was asked to do, after its command line was read. */
#ifndef RRC_OPTIONS_H
#define RRC_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "inject.h"

enum rrc_mode {
	RRC_MODE_HYBRID,
	RRC_MODE_PASSIVE
};
enum rrc_on_loss {
	RRC_LOSS_STOP,
	RRC_LOSS_CONTINUE
};

struct rrc_options {
	const char *container; /* id, prefix or name */
	pid_t pid; /* or a process */
	char **command; /* or what to start; NULL */
	const char *backup; /* HOST:PORT, or NULL */
	const char *out; /* directory, or NULL */
	enum rrc_mode mode;
	enum rrc_on_loss on_loss;
	const char *engine; /* that takes checkpoints; NULL: the best that there is */
	uint64_t epoch_ns; /* 0: checkpoints only where a barrier asks for one */
#define RRC_EPOCH_CHOOSE UINT64_MAX
	uint64_t
		recovery_ns; /* --epoch auto: epochs are as long as a recovery takes no longer than this; 0: not */
	bool json;
	bool no_gate; /* record and send, hold nothing: to measure what recording costs */
	bool no_preload; /* the command is started without the in-process recorder */
	enum rrc_inject_how inject; /* into what runs already */
	bool explain;
	int verbose;
};

#endif
