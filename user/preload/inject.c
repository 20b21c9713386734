/* SPDX-License-Identifier: MIT */
/* When this object comes into a program that runs already (user/inject.c): what names resolved to in the
 * objects that are there is made ours, in those that come later by taking our place in the loader's list;
 * threads get their slots, and those that wait in an acquisition of libc's own come back through us. */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>

#include "preload.h"
#include "injected.h"

#define NAMES	  128
#define MAP_BYTES 2048 /* of a struct link_map, whose inside is the loader's own */

/* What we define: `real` is what the program had of that name. */
static struct name {
	const char *name;
	void *ours, *real;
	bool old; /* not the version that a program gets that asks for none */
} names[NAMES];
static size_t nnames;

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

/* Where an object's tables are. */
struct tables {
	const ElfW(Sym) * syms;
	const char *strings;
	const ElfW(Half) * versyms;
	const ElfW(Verneed) * needs;
	const ElfW(Rela) * rela[2];
	size_t count[2];
	const uint32_t *gnu_hash;
};

/* The loader has made addresses of these offsets, but not in every object. */
static const void *at(uintptr_t base, uintptr_t value)
{
	return (const void *)(value < base ? base + value : value);
}

static void find_tables(uintptr_t base, const ElfW(Dyn) * d, struct tables *t)
{
	memset(t, 0, sizeof(*t));
	for (; d->d_tag != DT_NULL; d++) {
		const void *p = at(base, d->d_un.d_ptr);

		if (d->d_tag == DT_SYMTAB)
			t->syms = p;
		else if (d->d_tag == DT_STRTAB)
			t->strings = p;
		else if (d->d_tag == DT_VERSYM)
			t->versyms = p;
		else if (d->d_tag == DT_VERNEED)
			t->needs = p;
		else if (d->d_tag == DT_GNU_HASH)
			t->gnu_hash = p;
		else if (d->d_tag == DT_JMPREL)
			t->rela[0] = p;
		else if (d->d_tag == DT_PLTRELSZ)
			t->count[0] = d->d_un.d_val / sizeof(ElfW(Rela));
		else if (d->d_tag == DT_RELA)
			t->rela[1] = p;
		else if (d->d_tag == DT_RELASZ)
			t->count[1] = d->d_un.d_val / sizeof(ElfW(Rela));
	}
}

static uint32_t last_symbol(const uint32_t *gnu)
{
	const uint32_t *buckets = gnu + 4 + gnu[2] * 2, *chain = buckets + gnu[0];
	uint32_t last = 0;

	for (uint32_t i = 0; i < gnu[0]; i++)
		if (buckets[i] > last)
			last = buckets[i];
	while (last >= gnu[1] && !(chain[last - gnu[1]] & 1))
		last++;
	return last;
}

/* Is the other one there of two of a name? Only condition variables have them. */
#define HIDDEN_VERSION 0x8000

static void list_names(void)
{
	uintptr_t base = (uintptr_t)&__ehdr_start;
	struct tables t;

	find_tables(base, _DYNAMIC, &t);
	for (uint32_t i = t.gnu_hash[1]; i <= last_symbol(t.gnu_hash) && nnames < NAMES; i++) {
		struct name *n = &names[nnames];

		if (ELF64_ST_TYPE(t.syms[i].st_info) != STT_FUNC || !t.syms[i].st_shndx)
			continue;
		n->name = t.strings + t.syms[i].st_name;
		n->ours = (void *)(base + t.syms[i].st_value);
		n->old = t.versyms && t.versyms[i] & HIDDEN_VERSION;
		n->real = n->old ? dlvsym(RTLD_DEFAULT, n->name, "GLIBC_2.2.5")
				 : dlsym(RTLD_DEFAULT, n->name);
		nnames += n->real != NULL;
	}
}

/* A preloaded object comes before libc, one that is loaded later behind all that were there. */
bool rrc_pl_came_late(void)
{
	const char *name;

	for (struct link_map *m = _r_debug.r_map; m; m = m->l_next) {
		if (m->l_ld == _DYNAMIC)
			return false;
		name = strrchr(m->l_name, '/');
		if (name && !strncmp(name, "/libc.so.", 9))
			return true;
	}
	return false;
}

static const char *version_of(const struct tables *t, uint32_t symbol)
{
	const ElfW(Verneed) *n = t->needs;
	const ElfW(Vernaux) * a;

	while (n && t->versyms) {
		a = (const void *)((const char *)n + n->vn_aux);
		for (int i = 0; i < n->vn_cnt; i++) {
			if (a->vna_other == (t->versyms[symbol] & ~HIDDEN_VERSION))
				return t->strings + a->vna_name;
			a = (const void *)((const char *)a + a->vna_next);
		}
		n = n->vn_next ? (const void *)((const char *)n + n->vn_next) : NULL;
	}
	return "";
}

static const struct name *wanted(const struct tables *t, uint32_t symbol)
{
	const char *name = t->strings + t->syms[symbol].st_name;
	const struct name *found = NULL;

	for (size_t i = 0; i < nnames; i++)
		if (!strcmp(names[i].name, name) && (!found || names[i].old))
			found = names[i].old && strcmp(version_of(t, symbol), "GLIBC_2.2.5")
					? found
					: &names[i];
	return found;
}

static void put(void **slot, void *value, const struct dl_phdr_info *info)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + ph->p_vaddr, to = from + ph->p_memsz;
		uintptr_t page = (uintptr_t)slot & ~4095UL;

		if (ph->p_type != PT_GNU_RELRO || (uintptr_t)slot < from || (uintptr_t)slot >= to)
			continue;
		/* the loader protects whole pages only: the last one's rest stays as it is */
		if (page + 4096 > (to & ~4095UL))
			break;
		if (mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) < 0)
			return;
		__atomic_store_n(slot, value, __ATOMIC_RELEASE);
		mprotect((void *)page, 4096, PROT_READ);
		return;
	}
	__atomic_store_n(slot, value, __ATOMIC_RELEASE);
}

static void redirect(const struct dl_phdr_info *info, const struct tables *t)
{
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; t->rela[k] && i < t->count[k]; i++) {
			const ElfW(Rela) *r = &t->rela[k][i];
			uint32_t type = ELF64_R_TYPE(r->r_info), symbol = ELF64_R_SYM(r->r_info);
			void **slot = (void **)(info->dlpi_addr + r->r_offset);
			const struct name *n;

			if (!symbol || (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT &&
					type != R_X86_64_64))
				continue;
			n = wanted(t, symbol);
			/* data may hold something else since; what is weak may have been left out */
			if (!n || !*slot || *slot == n->ours ||
			    (type == R_X86_64_64 && *slot != n->real))
				continue;
			put(slot, n->ours, info);
		}
	}
}

/* The loader keeps the allocator that it found when it started in words of its own. */
static void redirect_words(const struct dl_phdr_info *info)
{
	static const char *const wanted_names[] = { "malloc", "calloc", "realloc", "free" };

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		void **p = (void **)(info->dlpi_addr + ph->p_vaddr);
		void **end = (void **)(info->dlpi_addr + ph->p_vaddr + ph->p_filesz);

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_W))
			continue;
		for (; p < end; p++)
			for (size_t n = 0; n < nnames; n++)
				for (size_t w = 0; w < 4 && *p == names[n].real; w++)
					if (!strcmp(names[n].name, wanted_names[w]))
						put(p, names[n].ours, info);
	}
}

static int object(struct dl_phdr_info *info, size_t size, void *loader)
{
	const ElfW(Dyn) *d = NULL;
	struct tables t;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	if (!d || d == _DYNAMIC || strstr(info->dlpi_name, "linux-vdso"))
		return 0;
	if (info->dlpi_addr == (uintptr_t)loader) {
		redirect_words(info);
		return 0;
	}
	find_tables(info->dlpi_addr, d, &t);
	if (t.syms && t.strings)
		redirect(info, &t);
	return 0;
}

/* In memory, since who called it may not see what it returns. */
RRC_EXPORT long librrc_injected_answer;

/* In the constructor, others run: in mode OFF it does not matter who calls through us and who does not. */
void rrc_pl_redirect_names(void *loader)
{
	librrc_injected_answer = RRC_INJECTED_LOADED;
	list_names();
	dl_iterate_phdr(object, loader);
}

/* ---- the rest is done while all others stand still, without locks and without memory ---- */

/* Searched in this order for every name that is looked up from now on: the program, us, all others. */
static bool take_place(void)
{
	struct link_map *first = _r_debug.r_map, *self = first, **list;
	uintptr_t *w = (uintptr_t *)(first + 1);
	uint32_t n, i;

	while (self && self->l_ld != _DYNAMIC)
		self = self->l_next;
	for (; self && (char *)w < (char *)first + MAP_BYTES; w++) {
		list = (struct link_map **)w[0];
		n = (uint32_t)w[1];
		if (n < 2 || n > 4096 || w[0] & 7 ||
		    msync((void *)(w[0] & ~4095UL), n * sizeof(*list) + (w[0] & 4095), MS_ASYNC) <
			    0 ||
		    list[0] != first)
			continue;
		for (i = 1; i < n && list[i] != self; i++)
			;
		if (i == n)
			continue;
		/* who stands still in the middle of a search sees every object, one perhaps twice */
		for (; i > 1; i--)
			list[i] = list[i - 1];
		list[1] = self;
		return true;
	}
	return false;
}

/* A thread that came back from an acquisition that it had not called through us. */
static __thread struct {
	uint64_t ret, lock;
	uint32_t kind;
} back __attribute__((tls_model("initial-exec")));

RRC_NEXT_AS(mutex_lock, "pthread_mutex_lock", NULL)
RRC_NEXT_AS(real_sem_wait, "sem_wait", NULL)

static int force_mutex(struct rrc_pl_call *c)
{
	return ((int (*)(void *))find_mutex_lock())(c->lock);
}

static void drop_mutex(struct rrc_pl_call *c)
{
	pthread_mutex_unlock(c->lock);
}

static int force_sem(struct rrc_pl_call *c)
{
	while (((int (*)(void *))find_real_sem_wait())(c->lock) && errno == EINTR)
		;
	return 0;
}

static void drop_sem(struct rrc_pl_call *c)
{
	sem_post(c->lock);
}

static const struct rrc_pl_op ops[] = {
	{ RRC_LL_MUTEX, force_mutex, force_mutex, drop_mutex, NULL, 0 },
	{ RRC_LL_MUTEX_TIMED, force_mutex, force_mutex, drop_mutex, NULL, 0 },
	{ RRC_LL_COND, force_mutex, force_mutex, drop_mutex, drop_mutex, 0 },
	{ RRC_LL_COND_TIMED, force_mutex, force_mutex, drop_mutex, drop_mutex, 0 },
	{ RRC_LL_SEM, force_sem, force_sem, drop_sem, NULL, 0 },
	{ RRC_LL_SEM_TIMED, force_sem, force_sem, drop_sem, NULL, 0 },
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

/* From rrc_pl_back: its result, and where to put the address that it was to return to. */
__attribute__((used)) static long came_back(long result, uint64_t *slot)
{
	bool sem = back.kind == RRC_LL_SEM || back.kind == RRC_LL_SEM_TIMED;
	struct rrc_pl_call c = { .lock = (void *)back.lock };
	int r = sem && result ? errno : (int)result;
	uint32_t mode;
	size_t i;

	*slot = back.ret;
	for (i = 0; i < OPS && ops[i].kind != back.kind; i++)
		;
	mode = rrc_pl_mode();
	if (i < OPS && (mode == RRC_LL_RECORD || mode == RRC_LL_REPLAY))
		r = rrc_pl_commit(&ops[i], &c, r, false);
	rrc_me.inside = false;
	if (!sem || !r)
		return r;
	errno = r;
	return -1;
}

void rrc_pl_back(void);
/* The stack is as behind the return that led here; the word below it held this function's address. */
__asm__(".text\n.hidden rrc_pl_back\n.globl rrc_pl_back\n.type rrc_pl_back, @function\n"
	"rrc_pl_back:\n"
	"	endbr64\n"
	"	pushq $0\n"
	"	movslq %eax, %rdi\n"
	"	movq %rsp, %rsi\n"
	"	subq $8, %rsp\n"
	"	call came_back\n"
	"	addq $8, %rsp\n"
	"	ret\n"
	".size rrc_pl_back, .-rrc_pl_back\n");

RRC_EXPORT struct rrc_injected_thread librrc_injected_threads[RRC_INJECTED_MAX];

static uintptr_t thread_pointer(void)
{
	uintptr_t fs;

	__asm__("movq %%fs:0, %0" : "=r"(fs));
	return fs;
}

static void *theirs(uint64_t fs, void *mine)
{
	return (char *)mine - thread_pointer() + fs;
}

static long settle(long n)
{
	static bool placed;
	struct rrc_ll_area *a = rrc_pl_area;

	if (a->birth_lock)
		return RRC_INJECTED_AGAIN;
	if (!placed && !take_place())
		return RRC_INJECTED_SCOPE;
	placed = true;
	if (n > 1)
		a->threaded = 1;
	for (long i = 0; i < n && i < RRC_INJECTED_MAX; i++) {
		const struct rrc_injected_thread *t = &librrc_injected_threads[i];
		struct rrc_pl_thread *me = theirs(t->fs, &rrc_me);
		__typeof__(back) *b = theirs(t->fs, &back);
		uint64_t *slot = (uint64_t *)t->slot;

		rrc_pl_adopt(me, t->tid);
		if (t->kind == RRC_LL_NONE || *slot == (uint64_t)&rrc_pl_back)
			continue;
		b->ret = *slot;
		b->lock = t->lock;
		b->kind = t->kind;
		me->inside = true;
		*slot = (uint64_t)&rrc_pl_back;
	}
	return RRC_INJECTED_DONE;
}

void librrc_injected(long n);
RRC_EXPORT void librrc_injected(long n)
{
	librrc_injected_answer = settle(n);
}
