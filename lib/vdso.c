// SPDX-License-Identifier: MIT
/*
 * vDSO entry points patched to real calls, see vdso.h. The image is read from the process itself: it
 * need not be this kernel's own (CRIU redirects a foreign one by trampolines at the same symbols).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "util.h"
#include "vdso.h"

#define IMAGE_MAX (16 * 4096)
#define PAGE	  4096u
#define STUB	  8

static const struct entry {
	const char *name;
	int nr; /* < 0: answers -ENOSYS, and libc makes the call itself */
} entries[] = {
	{ "__vdso_clock_gettime", SYS_clock_gettime },
	{ "__vdso_gettimeofday", SYS_gettimeofday },
	{ "__vdso_time", SYS_time },
	{ "__vdso_getcpu", SYS_getcpu },
	{ "__vdso_clock_getres", SYS_clock_getres },
	{ "__vdso_getrandom", -1 },
};

/* What stood at the entry points before, kept in the last bytes of the image. */
struct stash {
	uint32_t count;
	struct {
		uint32_t off;
		uint8_t bytes[STUB];
	} e[RRC_ARRAY_SIZE(entries)];
	char magic[8];
};

static const char stash_magic[8] = "RRCvDSO1";

struct image {
	int mem; /* /proc/PID/mem */
	uint64_t base;
	size_t len; /* whole pages */
	size_t used; /* end of what the file occupies */
	uint8_t bytes[IMAGE_MAX];
};

static void stub_for(int nr, uint8_t code[STUB])
{
	/* mov $nr,%eax; syscall; ret */
	static const uint8_t call[STUB] = { 0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	/* mov $-ENOSYS,%rax; ret */
	static const uint8_t enosys[STUB] = { 0x48, 0xc7, 0xc0, (uint8_t)-ENOSYS,
					      0xff, 0xff, 0xff, 0xc3 };

	memcpy(code, nr < 0 ? enosys : call, STUB);
	if (nr >= 0)
		memcpy(code + 1, &nr, 4);
}

int rrc_auxv(pid_t pid, unsigned long type, uint64_t *value)
{
	rrc_autoclose int fd = -1;
	uint64_t av[2 * 64];
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, av, sizeof(av));
	if (n < 0)
		return -errno;
	for (size_t i = 0; i + 1 < (size_t)n / 8 && av[i] != AT_NULL; i += 2) {
		if (av[i] == type) {
			*value = av[i + 1];
			return 0;
		}
	}
	return -ENOENT;
}

/* The range [off, off + len) lies in the image. */
static bool inside(const struct image *im, uint64_t off, uint64_t len)
{
	return off <= im->len && len <= im->len - off;
}

/* Takes sizes from the program headers of the first page, then reads the rest. */
static int read_image(struct image *im)
{
	const Elf64_Ehdr *eh = (const void *)im->bytes;
	const Elf64_Phdr *ph;
	uint64_t end = 0;

	if (pread(im->mem, im->bytes, PAGE, (off_t)im->base) != PAGE)
		return -EFAULT;
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_phoff > PAGE || eh->e_phnum > 16 ||
	    eh->e_phoff + eh->e_phnum * sizeof(*ph) > PAGE)
		return -ENOEXEC;
	ph = (const void *)(im->bytes + eh->e_phoff);
	for (int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && ph[i].p_memsz < IMAGE_MAX && ph[i].p_offset < PAGE)
			end = rrc_max(end, ph[i].p_offset + ph[i].p_memsz);
	/* section headers are not loaded, but they lie in the pages behind */
	im->used = rrc_max(end, eh->e_shoff + (uint64_t)eh->e_shnum * eh->e_shentsize);
	if (im->used < end || im->used > IMAGE_MAX)
		im->used = end;
	im->len = (im->used + PAGE - 1) & ~(size_t)(PAGE - 1);
	if (!end || im->len > IMAGE_MAX)
		return -ENOEXEC;
	if (pread(im->mem, im->bytes, im->len, (off_t)im->base) != (ssize_t)im->len)
		return -EFAULT;
	return 0;
}

/* 0, -ENOENT if the process has no vDSO, or another negative errno. im->mem is the caller's. */
static int open_image(pid_t pid, struct image *im, int flags)
{
	char path[64];
	int r;

	im->mem = -1;
	r = rrc_auxv(pid, AT_SYSINFO_EHDR, &im->base);
	if (r)
		return r;
	if (!im->base)
		return -ENOENT;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	im->mem = open(path, flags | O_CLOEXEC);
	if (im->mem < 0)
		return -errno;
	return read_image(im);
}

/* Offset of a symbol's code in the image, or 0. */
static uint64_t find_symbol(const struct image *im, const char *name)
{
	const Elf64_Ehdr *eh = (const void *)im->bytes;
	const Elf64_Phdr *ph = (const void *)(im->bytes + eh->e_phoff);
	uint64_t dyn = 0, dynlen = 0, sym = 0, str = 0, hash = 0, bias = 0, nsym;

	for (int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type == PT_LOAD)
			bias = ph[i].p_vaddr - ph[i].p_offset;
		if (ph[i].p_type == PT_DYNAMIC) {
			dyn = ph[i].p_offset;
			dynlen = ph[i].p_filesz;
		}
	}
	if (!dyn || dyn % 8 || !inside(im, dyn, dynlen))
		return 0;
	for (uint64_t o = dyn; o + sizeof(Elf64_Dyn) <= dyn + dynlen; o += sizeof(Elf64_Dyn)) {
		const Elf64_Dyn *d = (const void *)(im->bytes + o);

		if (d->d_tag == DT_SYMTAB)
			sym = d->d_un.d_ptr - bias;
		else if (d->d_tag == DT_STRTAB)
			str = d->d_un.d_ptr - bias;
		else if (d->d_tag == DT_HASH)
			hash = d->d_un.d_ptr - bias;
	}
	if (!sym || sym % 8 || !inside(im, str, 1) || str < sym)
		return 0;
	if (hash && hash % 4 == 0 && inside(im, hash, 8))
		nsym = ((const uint32_t *)(im->bytes + hash))[1];
	else
		nsym = (str - sym) / sizeof(Elf64_Sym); /* without DT_HASH: the strings follow */
	if (!inside(im, sym, nsym * sizeof(Elf64_Sym)))
		return 0;
	for (uint64_t i = 0; i < nsym; i++) {
		const Elf64_Sym *s = (const Elf64_Sym *)(im->bytes + sym) + i;
		uint64_t at = str + s->st_name, off = s->st_value - bias;
		size_t n = strlen(name) + 1;

		if (inside(im, at, n) && !memcmp(im->bytes + at, name, n) && off &&
		    inside(im, off, STUB))
			return off;
	}
	return 0;
}

/* The stash, if the image is patched. */
static const struct stash *find_stash(const struct image *im)
{
	const struct stash *st = (const void *)(im->bytes + im->len - sizeof(*st));

	if (memcmp(st->magic, stash_magic, sizeof(stash_magic)) ||
	    st->count > RRC_ARRAY_SIZE(st->e))
		return NULL;
	for (uint32_t i = 0; i < st->count; i++)
		if (!inside(im, st->e[i].off, STUB))
			return NULL;
	return st;
}

static int put(const struct image *im, uint64_t off, const void *data, size_t len)
{
	if (pwrite(im->mem, data, len, (off_t)(im->base + off)) != (ssize_t)len)
		return errno ? -errno : -EIO;
	return 0;
}

static int patch_image(struct image *im, struct rrc_error *err)
{
	struct stash st = { 0 };
	size_t at = im->len - sizeof(st);
	int r;

	if (at < im->used)
		return rrc_fail(err, -ENOSPC, "its vDSO has no room for what is overwritten");
	for (size_t i = at; i < im->len; i++)
		if (im->bytes[i])
			return rrc_fail(err, -ENOSPC, "the end of its vDSO is in use");
	for (size_t i = 0; i < RRC_ARRAY_SIZE(entries); i++) {
		uint64_t off = find_symbol(im, entries[i].name);

		if (!off)
			continue;
		st.e[st.count].off = (uint32_t)off;
		memcpy(st.e[st.count].bytes, im->bytes + off, STUB);
		st.count++;
	}
	memcpy(st.magic, stash_magic, sizeof(stash_magic));
	/* the stash first: a patch that is cut short can still be undone */
	r = put(im, at, &st, sizeof(st));
	for (size_t i = 0; !r && i < RRC_ARRAY_SIZE(entries); i++) {
		uint64_t off = find_symbol(im, entries[i].name);
		uint8_t code[STUB];

		stub_for(entries[i].nr, code);
		if (off)
			r = put(im, off, code, STUB);
	}
	if (r)
		return rrc_fail(err, r, "cannot write: %s", strerror(-r));
	return (int)st.count;
}

int rrc_vdso_patch(pid_t pid, struct rrc_error *err)
{
	rrc_autofree struct image *im = malloc(sizeof(*im));
	const struct stash *st;
	int r;

	if (!im)
		return rrc_fail(err, -ENOMEM, "out of memory");
	r = open_image(pid, im, O_RDWR);
	st = r ? NULL : find_stash(im);
	if (r == -ENOENT)
		r = 0;
	else if (r)
		rrc_fail(err, r, "vDSO of process %d: %s", pid, strerror(-r));
	else if (st)
		r = (int)st->count;
	else if ((r = patch_image(im, err)) < 0)
		rrc_wrap(err, "vDSO of process %d", pid);
	rrc_closep(&im->mem);
	return r;
}

int rrc_vdso_restore(pid_t pid, struct rrc_error *err)
{
	rrc_autofree struct image *im = malloc(sizeof(*im));
	static const uint8_t zeros[sizeof(struct stash) + 8 * RRC_ARRAY_SIZE(entries)];
	const struct stash *st;
	int r, n = 0;

	if (!im)
		return rrc_fail(err, -ENOMEM, "out of memory");
	r = open_image(pid, im, O_RDWR);
	st = r ? NULL : find_stash(im);
	if (r == -ENOENT)
		r = 0;
	if (st) {
		n = (int)st->count;
		for (uint32_t i = 0; !r && i < st->count; i++)
			r = put(im, st->e[i].off, st->e[i].bytes, STUB);
		if (!r && im->len - sizeof(zeros) >= im->used)
			r = put(im, im->len - sizeof(zeros), zeros, sizeof(zeros));
		else if (!r)
			r = put(im, im->len - sizeof(*st), zeros, sizeof(*st));
	}
	rrc_closep(&im->mem);
	if (r)
		return rrc_fail(err, r, "vDSO of process %d: %s", pid, strerror(-r));
	return n;
}

/* Where the address that entry point i jumps to is kept: in the zeros before the stash. */
static size_t slot_of(const struct image *im, size_t i)
{
	return im->len - sizeof(struct stash) - 8 * (i + 1);
}

static int divert(struct image *im, long nr, uint64_t target)
{
	int done = 0;

	for (size_t i = 0; i < RRC_ARRAY_SIZE(entries); i++) {
		uint64_t off = entries[i].nr == nr ? find_symbol(im, entries[i].name) : 0;
		/* jmp *slot(%rip); the last byte stays: a thread in the stub's call returns to that `ret` */
		uint8_t code[STUB] = { 0xff, 0x25, 0, 0, 0, 0, 0xcc, 0xc3 };
		size_t slot = slot_of(im, i);
		int32_t rel = (int32_t)(slot - (off + 6));
		int r;

		if (!off || slot < im->used)
			continue;
		memcpy(code + 2, &rel, sizeof(rel));
		r = put(im, slot, &target, sizeof(target));
		r = r ? r : put(im, off, code, STUB);
		if (r)
			return r;
		done = 1;
	}
	return done;
}

int rrc_vdso_divert(pid_t pid, long nr, uint64_t target)
{
	rrc_autofree struct image *im = malloc(sizeof(*im));
	int r;

	if (!im)
		return -ENOMEM;
	r = open_image(pid, im, O_RDWR);
	if (!r)
		r = find_stash(im) ? divert(im, nr, target) : 0;
	rrc_closep(&im->mem);
	return r;
}

int rrc_vdso_patched(pid_t pid)
{
	rrc_autofree struct image *im = malloc(sizeof(*im));
	int r;

	if (!im)
		return -ENOMEM;
	r = open_image(pid, im, O_RDONLY);
	if (!r)
		r = find_stash(im) != NULL;
	else if (r == -ENOENT)
		r = 0;
	rrc_closep(&im->mem);
	return r;
}

int rrc_vdso_range(pid_t pid, uint64_t *start, uint64_t *end)
{
	rrc_autofree struct image *im = malloc(sizeof(*im));
	int r;

	if (!im)
		return -ENOMEM;
	r = open_image(pid, im, O_RDONLY);
	if (!r) {
		*start = im->base;
		*end = im->base + im->len;
	}
	rrc_closep(&im->mem);
	return r;
}
