/* SPDX-License-Identifier: MIT */
/* The area: made by the constructor, made anew in a forked child before fork() returns there; and the
 * functions behind the wrappers. */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"

__thread struct rrc_pl_thread rrc_me __attribute__((tls_model("initial-exec")));

/* Mode UNSET for whoever comes before the constructor; nothing else of it is looked at. */
static uint64_t before[8] __attribute__((aligned(64)));
struct rrc_ll_area *rrc_pl_area = (struct rrc_ll_area *)before;

extern const struct rrc_pl_next __attribute__((visibility("hidden"))) __start_rrc_next[],
	__stop_rrc_next[];

/* Who comes late is the last whom names are looked up in, and not before the constructor is done. */
static bool late;

void *rrc_pl_find(void **slot, const char *name, const char *version)
{
	void *where = late ? RTLD_DEFAULT : RTLD_NEXT;
	void *fn = version ? dlvsym(where, name, version) : dlsym(where, name);

	__atomic_store_n(slot, fn, __ATOMIC_RELEASE);
	return fn;
}

/* A descriptor with the area's bytes, all zero, or -1. A limit on file sizes would kill: it counts. */
static int make_file(void)
{
	struct rlimit limit;
	int fd;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur < sizeof(struct rrc_ll_area))
		return -1;
	fd = (int)syscall(SYS_memfd_create, RRC_LL_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Others map it too, and must not die because the program makes it smaller. */
	if (fd >= 0 && (ftruncate(fd, sizeof(struct rrc_ll_area)) < 0 ||
			fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void fill(struct rrc_ll_area *a, uint32_t mode)
{
	a->magic = RRC_LL_MAGIC;
	a->version = RRC_LL_VERSION;
	a->addr = (uint64_t)(uintptr_t)a;
	a->size = sizeof(*a);
	__atomic_store_n(&a->mode, mode, __ATOMIC_RELEASE);
}

/* What the child inherits is its parent's area: nothing may be written to it. */
static void child(void)
{
	struct rrc_ll_area *a = rrc_pl_area;
	uint32_t mode = rrc_pl_mode(), patience;
	int fd, saved = errno;
	void *map;

	if (mode == RRC_LL_UNSET)
		return;
	patience = a->patience_ns;
	fd = make_file();
	if (fd >= 0)
		map = mmap(a, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	else /* not recorded: nobody finds an area, which is a barrier */
		map = mmap(a, sizeof(*a), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (map == MAP_FAILED)
		abort();
	a->patience_ns = patience;
	rrc_pl_init_alloc();
	if (rrc_me.slot)
		rrc_pl_use_slot(rrc_me.index);
	fill(a, fd >= 0 ? mode : RRC_LL_OFF);
	if (fd >= 0)
		close(fd);
	errno = saved;
}

/* Handlers of fork() run in the child in the order of their registration: ours must be the first, since
 * the others may take locks. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
			     void *dso);
extern void *__dso_handle;
RRC_NEXT_OF(__register_atfork)
static bool fork_known;

void rrc_pl_init_fork(void)
{
	if (!__atomic_exchange_n(&fork_known, true, __ATOMIC_ACQ_REL))
		RRC_NEXT(__register_atfork)(NULL, NULL, child, &__dso_handle);
}

RRC_EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void),
				 void (*in_child)(void), void *dso)
{
	rrc_pl_init_fork();
	return RRC_NEXT(__register_atfork)(prepare, parent, in_child, dso);
}

__attribute__((constructor)) static void start(void)
{
	const struct rrc_pl_next *f;
	struct rrc_ll_area *a;
	int fd, saved = errno;

	late = rrc_pl_came_late();
	for (f = __start_rrc_next; f < __stop_rrc_next; f++)
		rrc_pl_find(f->slot, f->name, f->version);
	rrc_pl_find_vdso();
	fd = make_file();
	if (fd < 0) {
		errno = saved;
		return;
	}
	a = mmap((void *)RRC_LL_BASE, sizeof(*a), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (a == MAP_FAILED)
		a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a != MAP_FAILED) {
		rrc_pl_init_fork();
		fill(a, RRC_LL_OFF);
		rrc_pl_area = a;
		rrc_pl_init_alloc();
		rrc_pl_init_threads();
		rrc_pl_redirect_vdso();
		if (late)
			rrc_pl_redirect_names((void *)getauxval(AT_BASE));
	}
	close(fd); /* the last call: who traces sets the mode when it returns */
	errno = saved;
}
