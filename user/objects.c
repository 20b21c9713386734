/* SPDX-License-Identifier: MIT */
/* Names of an object in another process, see objects.h. Everything read is that process's to change: sizes are
 * bounded, names looked at within what was read. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"
#include "ptrace.h"
#include "util.h"

#define SYMS_MAX    200000
#define STRINGS_MAX (8u << 20)

static int find_mapping(pid_t pid, const char *name, struct rrc_object *o)
{
	rrc_autofclose FILE *f = NULL;
	rrc_autofree char *line = NULL;
	char path[64];
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&line, &room, f) > 0) {
		unsigned long from, to, offset;
		char *file = strrchr(line, '/');

		if (!file || sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) != 3)
			continue;
		file[strcspn(file, " \n")] = 0;
		if (fnmatch(name, file + 1, 0))
			continue;
		if (!o->base && offset == 0)
			o->base = from;
		if (o->base)
			o->end = to;
	}
	return o->base ? 0 : -ENOENT;
}

/* Number of symbols by the GNU hash table at addr. */
static size_t count_symbols(pid_t pid, uint64_t addr)
{
	rrc_autofree uint32_t *buckets = NULL;
	uint32_t head[4], last = 0, link = 0;
	uint64_t chain;

	if (!addr || rrc_mem_read(pid, addr, head, sizeof(head)) || head[0] > SYMS_MAX ||
	    head[2] > SYMS_MAX)
		return 0;
	buckets = calloc(head[0] + 1, sizeof(*buckets));
	addr += sizeof(head) + 8ull * head[2];
	if (!buckets || rrc_mem_read(pid, addr, buckets, head[0] * sizeof(*buckets)))
		return 0;
	for (uint32_t i = 0; i < head[0]; i++)
		last = rrc_max(last, buckets[i]);
	if (last < head[1])
		return head[1];
	chain = addr + 4ull * head[0];
	for (; last < SYMS_MAX; last++) {
		if (rrc_mem_read(pid, chain + 4ull * (last - head[1]), &link, sizeof(link)))
			return 0;
		if (link & 1)
			break;
	}
	return last + 1;
}

static int read_names(struct rrc_object *o, const Elf64_Dyn *dyn, size_t n)
{
	uint64_t syms = 0, strings = 0, hash = 0;

	for (size_t i = 0; i < n && dyn[i].d_tag != DT_NULL; i++) {
		uint64_t v = dyn[i].d_un.d_val;
		uint64_t at =
			v < o->base ? v + o->base : v; /* the loader made it an address, or not */

		if (dyn[i].d_tag == DT_SYMTAB)
			syms = at;
		else if (dyn[i].d_tag == DT_STRTAB)
			strings = at;
		else if (dyn[i].d_tag == DT_STRSZ)
			o->nstrings = v;
		else if (dyn[i].d_tag == DT_GNU_HASH)
			hash = at;
	}
	o->nsyms = count_symbols(o->pid, hash);
	if (!syms || !strings || !o->nsyms || !o->nstrings || o->nstrings > STRINGS_MAX)
		return -ENOEXEC;
	o->syms = calloc(o->nsyms, sizeof(*o->syms));
	o->strings = malloc(o->nstrings);
	if (!o->syms || !o->strings)
		return -ENOMEM;
	if (rrc_mem_read(o->pid, syms, o->syms, o->nsyms * sizeof(*o->syms)) ||
	    rrc_mem_read(o->pid, strings, o->strings, o->nstrings))
		return -EFAULT;
	o->strings[o->nstrings - 1] = 0;
	return 0;
}

int rrc_object_open(pid_t pid, const char *name, struct rrc_object *o)
{
	Elf64_Dyn dyn[128];
	Elf64_Phdr ph[32];
	Elf64_Ehdr eh;
	size_t n = 0;
	int ret;

	memset(o, 0, sizeof(*o));
	o->pid = pid;
	ret = find_mapping(pid, name, o);
	if (ret)
		return ret;
	if (rrc_mem_read(pid, o->base, &eh, sizeof(eh)) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phnum > RRC_ARRAY_SIZE(ph) ||
	    rrc_mem_read(pid, o->base + eh.e_phoff, ph, eh.e_phnum * sizeof(*ph)))
		return -ENOEXEC;
	for (int i = 0; i < eh.e_phnum; i++) {
		if (ph[i].p_type == PT_GNU_EH_FRAME)
			o->frame_hdr = o->base + ph[i].p_vaddr;
		if (ph[i].p_type != PT_DYNAMIC)
			continue;
		n = rrc_min(ph[i].p_memsz / sizeof(*dyn), RRC_ARRAY_SIZE(dyn));
		if (rrc_mem_read(pid, o->base + ph[i].p_vaddr, dyn, n * sizeof(*dyn)))
			return -EFAULT;
	}
	ret = read_names(o, dyn, n);
	if (ret)
		rrc_object_close(o);
	return ret;
}

void rrc_object_close(struct rrc_object *o)
{
	free(o->syms);
	free(o->strings);
	o->syms = NULL;
	o->strings = NULL;
	o->nsyms = 0;
}

static int defines(const struct rrc_object *o, const Elf64_Sym *s, const char *name)
{
	return s->st_shndx && s->st_name < o->nstrings && !strcmp(o->strings + s->st_name, name);
}

uint64_t rrc_object_find(const struct rrc_object *o, const char *name)
{
	for (size_t i = 0; i < o->nsyms; i++)
		if (defines(o, &o->syms[i], name))
			return o->base + o->syms[i].st_value;
	return 0;
}

const char *rrc_object_name(const struct rrc_object *o, uint64_t addr, size_t *i)
{
	while (*i < o->nsyms) {
		const Elf64_Sym *s = &o->syms[(*i)++];

		if (s->st_shndx && s->st_name < o->nstrings &&
		    addr - o->base - s->st_value < s->st_size)
			return o->strings + s->st_name;
	}
	return NULL;
}
