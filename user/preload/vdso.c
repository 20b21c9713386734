/* SPDX-License-Identifier: MIT */
/* The vDSO's functions, and libc's own way to them: pointers in the loader's read-only data and in libc's
 * table of indirect functions. Words there that hold such an address are made to hold ours. */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload.h"
#include "clock.h"

struct rrc_pl_vdso rrc_pl_vdso;

static const struct {
	const char *name;
	size_t at;
	void *ours;
} functions[] = {
	{ "__vdso_clock_gettime", offsetof(struct rrc_pl_vdso, clock_gettime),
	  rrc_pl_clock_gettime },
	{ "__vdso_clock_getres", offsetof(struct rrc_pl_vdso, clock_getres), rrc_pl_clock_getres },
	{ "__vdso_gettimeofday", offsetof(struct rrc_pl_vdso, gettimeofday), rrc_pl_gettimeofday },
	{ "__vdso_time", offsetof(struct rrc_pl_vdso, time), rrc_pl_time },
	{ "__vdso_getcpu", offsetof(struct rrc_pl_vdso, getcpu), rrc_pl_getcpu },
};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static void **function(size_t i)
{
	return (void **)((char *)&rrc_pl_vdso + functions[i].at);
}

/* Number of dynamic symbols, by either hash table. */
static uint32_t symbols(const uint32_t *hash, const uint32_t *gnu)
{
	const uint32_t *buckets, *chain;
	uint32_t i, last = 0;

	if (hash)
		return hash[1];
	if (!gnu)
		return 0;
	buckets = gnu + 4 + gnu[2] * 2;
	chain = buckets + gnu[0];
	for (i = 0; i < gnu[0]; i++)
		if (buckets[i] > last)
			last = buckets[i];
	while (last >= gnu[1] && !(chain[last - gnu[1]] & 1))
		last++;
	return last + 1;
}

void rrc_pl_find_vdso(void)
{
	const char *base = (const char *)getauxval(AT_SYSINFO_EHDR), *load = base, *strings = NULL;
	const ElfW(Ehdr) *ehdr = (const void *)base;
	const uint32_t *hash = NULL, *gnu = NULL;
	const ElfW(Sym) *syms = NULL;
	const ElfW(Dyn) *d = NULL;
	const ElfW(Phdr) * ph;
	uint32_t i, n;
	size_t f;

	if (!base)
		return;
	ph = (const void *)(base + ehdr->e_phoff);
	for (i = 0; i < ehdr->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD)
			load = base + ph[i].p_offset - ph[i].p_vaddr;
		else if (ph[i].p_type == PT_DYNAMIC)
			d = (const void *)(base + ph[i].p_offset);
	}
	for (; d && d->d_tag != DT_NULL; d++) {
		const void *at = load + d->d_un.d_ptr;

		if (d->d_tag == DT_SYMTAB)
			syms = at;
		else if (d->d_tag == DT_STRTAB)
			strings = at;
		else if (d->d_tag == DT_HASH)
			hash = at;
		else if (d->d_tag == DT_GNU_HASH)
			gnu = at;
	}
	n = syms && strings ? symbols(hash, gnu) : 0;
	for (i = 0; i < n; i++)
		for (f = 0; f < FUNCTIONS; f++)
			if (syms[i].st_shndx &&
			    !strcmp(strings + syms[i].st_name, functions[f].name))
				*function(f) = (void *)(load + syms[i].st_value);
}

/* Whether the word at p holds a function of the vDSO: then its index, else FUNCTIONS. */
static size_t held(void *const *p)
{
	size_t f;

	for (f = 0; f < FUNCTIONS; f++)
		if (*function(f) && *p == *function(f))
			return f;
	return FUNCTIONS;
}

static void redirect(void **from, void **to)
{
	size_t f;

	for (; from < to; from++) {
		f = held(from);
		if (f < FUNCTIONS)
			*from = functions[f].ours;
	}
}

/* What the loader made read-only after relocation: whole pages. */
static void redirect_relro(char *from, char *to)
{
	from = (char *)((uintptr_t)from & ~4095UL);
	if (to <= from || mprotect(from, (size_t)(to - from), PROT_READ | PROT_WRITE) < 0)
		return;
	redirect((void **)from, (void **)to);
	mprotect(from, (size_t)(to - from), PROT_READ);
}

/* The loader and libc only: all others bind to our wrappers by name. */
static int object(struct dl_phdr_info *info, size_t size, void *libc)
{
	const ElfW(Phdr) *ph = info->dlpi_phdr, *relro = NULL;
	bool wanted = info->dlpi_addr == getauxval(AT_BASE);
	char *base = (char *)info->dlpi_addr;
	int i;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++) {
		if (ph[i].p_type == PT_GNU_RELRO)
			relro = &ph[i];
		if (ph[i].p_type == PT_LOAD && (char *)libc >= base + ph[i].p_vaddr &&
		    (char *)libc < base + ph[i].p_vaddr + ph[i].p_memsz)
			wanted = true;
	}
	for (i = 0; wanted && i < info->dlpi_phnum; i++) {
		char *from = base + ph[i].p_vaddr, *to = from + ph[i].p_filesz;
		char *split = from;

		if (ph[i].p_type != PT_LOAD || !(ph[i].p_flags & PF_W))
			continue;
		if (relro && relro->p_vaddr == ph[i].p_vaddr) {
			/* the loader protects whole pages: down to the last page's beginning */
			split = (char *)(((uintptr_t)from + relro->p_memsz) & ~4095UL);
			redirect_relro(from, split);
		}
		redirect((void **)split, (void **)to);
	}
	return 0;
}

void rrc_pl_redirect_vdso(void)
{
	dl_iterate_phdr(object, dlsym(RTLD_NEXT, "__libc_start_main"));
}
