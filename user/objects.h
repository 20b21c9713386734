/* SPDX-License-Identifier: MIT */
/* A shared object that another process has mapped, read from that process's memory: its names and where they are. */
#ifndef RRC_OBJECTS_H
#define RRC_OBJECTS_H

#include <elf.h>
#include <stdint.h>
#include <sys/types.h>

struct rrc_object {
	pid_t pid;
	uint64_t base, end; /* from its first mapping to its last one's end */
	uint64_t frame_hdr; /* .eh_frame_hdr, or 0 */
	Elf64_Sym *syms;
	size_t nsyms;
	char *strings;
	size_t nstrings;
};

/* The one whose file has this name; name may end with `*`. 0, -ENOENT, or another negative errno. */
int rrc_object_open(pid_t pid, const char *name, struct rrc_object *o);
void rrc_object_close(struct rrc_object *o);

/* Address of what it defines under this name, or 0. */
uint64_t rrc_object_find(const struct rrc_object *o, const char *name);

/* A name of the function that addr is in; there may be several: *i begins as 0. NULL: no more. */
const char *rrc_object_name(const struct rrc_object *o, uint64_t addr, size_t *i);

static inline int rrc_object_has(const struct rrc_object *o, uint64_t addr)
{
	return addr >= o->base && addr < o->end;
}

#endif
