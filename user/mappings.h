/* SPDX-License-Identifier: MIT */
/* The mappings of a process, read again and again. */
#ifndef RRC_MAPPINGS_H
#define RRC_MAPPINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct rrc_mapping {
	uint64_t start, end;
	uint64_t offset, inode; /* of a file; 0: of none */
	uint8_t prot; /* PROT_* */
	bool shared;
	bool kernels; /* [vdso], [vvar], …: not the program's */
	bool stack, heap, locklog;
	bool unwatched; /* the reader's own mark */
	char name[64]; /* its beginning */
};

struct rrc_mappings {
	struct rrc_mapping *map; /* by address */
	size_t n, size;
	int fd;
	char *text;
	size_t text_size;
};

int rrc_mappings_open(struct rrc_mappings *m, pid_t pid, struct rrc_error *err);
void rrc_mappings_close(struct rrc_mappings *m);
int rrc_mappings_read(struct rrc_mappings *m, struct rrc_error *err);

/* The one that addr is in, or NULL. */
const struct rrc_mapping *rrc_mappings_at(const struct rrc_mappings *m, uint64_t addr);

#endif
