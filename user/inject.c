/* SPDX-License-Identifier: MIT */
/* The in-process recorder into a running process, see inject.h: its object is loaded by a thread that waits in a
 * call where it holds no lock of the loader or the allocator, while the others run; then, while all stand still,
 * it takes its place, and every thread that is inside an acquisition that did not go through it is seen to. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#include "inject.h"
#include "library.h"
#include "injected.h"
#include "locklog.h"
#include "log.h"
#include "objects.h"
#include "ptrace.h"
#include "remotecall.h"
#include "unwind.h"
#include "util.h"
#include "vdso.h"

#define DLOPEN_FLAGS 0x1102 /* RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE, in the process's libc */
#define ROUND_MS     2
#define ROUNDS_NS    15000000000ull /* for a moment that suits: it waits for threads to come by */
#define FRAMES_MAX   16

struct target {
	pid_t pid;
	char name[64];
	struct rrc_object libc, loader, ours;
	uint64_t vdso, vdso_end, restorer;
};

/* Calls in which a thread holds nothing of libc's. */
static const uint16_t safe_calls[] = {
	SYS_epoll_wait,	     SYS_epoll_pwait,	  SYS_epoll_pwait2, SYS_poll,	SYS_ppoll,
	SYS_select,	     SYS_pselect6,	  SYS_nanosleep,    SYS_accept, SYS_accept4,
	SYS_clock_nanosleep, SYS_rt_sigtimedwait, SYS_pause,	    SYS_wait4,	SYS_recvfrom,
	SYS_recvmsg,	     SYS_rt_sigsuspend,	  SYS_read,	    SYS_futex,	SYS_restart_syscall,
};

/* What a thread may be inside of when the library comes. What it waits in for long is completed by the library;
 * all others are over in a moment, so it is waited for. */
static const struct {
	const char *name;
	uint8_t kind;
} acquisitions[] = {
	{ "pthread_mutex_lock", RRC_LL_MUTEX },
	{ "pthread_mutex_timedlock", RRC_LL_MUTEX_TIMED },
	{ "pthread_mutex_clocklock", RRC_LL_MUTEX_TIMED },
	{ "pthread_cond_wait", RRC_LL_COND },
	{ "pthread_cond_timedwait", RRC_LL_COND_TIMED },
	{ "pthread_cond_clockwait", RRC_LL_COND_TIMED },
	{ "sem_wait", RRC_LL_SEM },
	{ "sem_timedwait", RRC_LL_SEM_TIMED },
	{ "sem_clockwait", RRC_LL_SEM_TIMED },
	{ "pthread_mutex_trylock", RRC_LL_NONE },
	{ "pthread_rwlock_rdlock", RRC_LL_NONE },
	{ "pthread_rwlock_tryrdlock", RRC_LL_NONE },
	{ "pthread_rwlock_timedrdlock", RRC_LL_NONE },
	{ "pthread_rwlock_clockrdlock", RRC_LL_NONE },
	{ "pthread_rwlock_wrlock", RRC_LL_NONE },
	{ "pthread_rwlock_trywrlock", RRC_LL_NONE },
	{ "pthread_rwlock_timedwrlock", RRC_LL_NONE },
	{ "pthread_rwlock_clockwrlock", RRC_LL_NONE },
	{ "pthread_spin_lock", RRC_LL_NONE },
	{ "pthread_spin_trylock", RRC_LL_NONE },
	{ "sem_trywait", RRC_LL_NONE },
	{ "pthread_once", RRC_LL_NONE },
	{ "call_once", RRC_LL_NONE },
	{ "pthread_create", RRC_LL_NONE },
	{ "thrd_create", RRC_LL_NONE },
	{ "malloc", RRC_LL_NONE },
	{ "calloc", RRC_LL_NONE },
	{ "realloc", RRC_LL_NONE },
	{ "free", RRC_LL_NONE },
	{ "posix_memalign", RRC_LL_NONE },
	{ "aligned_alloc", RRC_LL_NONE },
	{ "memalign", RRC_LL_NONE },
};

static void close_target(struct target *t)
{
	rrc_object_close(&t->libc);
	rrc_object_close(&t->loader);
	rrc_object_close(&t->ours);
}

/* ---- what kind of program it is ---- */

static void name_of(pid_t pid, char *name, size_t size)
{
	rrc_autofclose FILE *f = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (!f || !fgets(name, (int)size, f))
		snprintf(name, size, "?");
	name[strcspn(name, "\n")] = 0;
}

/* The program's interpreter, "" if it has none: it is static. */
static int interpreter(pid_t pid, char *buf, size_t size)
{
	rrc_autoclose int fd = -1;
	Elf64_Phdr ph[32];
	Elf64_Ehdr eh;
	char path[64];

	buf[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phnum > RRC_ARRAY_SIZE(ph) ||
	    pread(fd, ph, eh.e_phnum * sizeof(*ph), (off_t)eh.e_phoff) !=
		    (ssize_t)(eh.e_phnum * sizeof(*ph)))
		return -ENOEXEC;
	for (int i = 0; i < eh.e_phnum; i++) {
		size_t n = rrc_min((size_t)ph[i].p_filesz, size - 1);

		if (ph[i].p_type == PT_INTERP && pread(fd, buf, n, (off_t)ph[i].p_offset) > 0)
			buf[n] = 0;
	}
	return 0;
}

static int refuse(const struct target *t, struct rrc_error *err, const char *why)
{
	return rrc_fail_exit(
		err, RRC_EXIT_HOST, -ENOEXEC,
		"%s (process %d) has several threads, whose locks have an order that must be "
		"recorded in it, but %s: protect it with --mode passive",
		t->name, t->pid, why);
}

static int look_at(struct target *t, struct rrc_error *err)
{
	char interp[256], why[320];

	name_of(t->pid, t->name, sizeof(t->name));
	if (interpreter(t->pid, interp, sizeof(interp)))
		return refuse(t, err, "its program cannot be read");
	if (!interp[0])
		return refuse(t, err, "it is linked statically");
	if (rrc_object_open(t->pid, "libc.so.6", &t->libc) ||
	    rrc_object_open(t->pid, "ld-linux*.so*", &t->loader) ||
	    !rrc_object_find(&t->libc, "dlopen")) {
		snprintf(why, sizeof(why), "it does not run on this glibc (its loader is %s)",
			 interp);
		return refuse(t, err, why);
	}
	t->restorer = rrc_remote_restorer(t->pid, t->libc.base, t->libc.end);
	if (!t->restorer)
		return refuse(t, err, "its libc is not one that is known");
	if (rrc_vdso_range(t->pid, &t->vdso, &t->vdso_end))
		t->vdso = t->vdso_end = 0;
	return 0;
}

/* ---- where threads stand ---- */

/* What the instruction before address ret called: the function of ours that is there now, or NULL. */
static const char *called(const struct target *t, uint64_t ret, size_t *i)
{
	uint8_t code[6], stub[16];
	uint64_t at, target;
	int32_t rel;
	size_t n = 0;

	if (rrc_mem_read(t->pid, ret - 6, code, sizeof(code)))
		return NULL;
	memcpy(&rel, code + 2, sizeof(rel));
	at = ret + (uint64_t)(int64_t)rel;
	if (!(code[0] == 0xff && code[1] == 0x15)) {
		if (code[1] != 0xe8 || rrc_mem_read(t->pid, at, stub, sizeof(stub)))
			return NULL;
		/* a stub: [endbr64] [bnd] jmp *slot(%rip) */
		n += !memcmp(stub, "\xf3\x0f\x1e\xfa", 4) ? 4 : 0;
		n += stub[n] == 0xf2;
		if (stub[n] != 0xff || stub[n + 1] != 0x25)
			return NULL;
		memcpy(&rel, stub + n + 2, sizeof(rel));
		at += n + 6 + (uint64_t)(int64_t)rel;
	}
	if (rrc_mem_read(t->pid, at, &target, sizeof(target)) || !rrc_object_has(&t->ours, target))
		return NULL;
	return rrc_object_name(&t->ours, target, i);
}

static int find_acquisition(const char *name)
{
	for (size_t i = 0; name && i < RRC_ARRAY_SIZE(acquisitions); i++)
		if (!strcmp(acquisitions[i].name, name))
			return (int)i;
	return -1;
}

/* Which one the outermost function of libc's is: by the call that led there, or by its own name. */
static int which(const struct target *t, uint64_t pc, uint64_t ret)
{
	const char *name;
	size_t i = 0;
	int found = -1;

	name = called(t, ret, &i);
	if (name)
		return find_acquisition(name);
	for (i = 0; found < 0 && (name = rrc_object_name(&t->libc, pc, &i));)
		found = find_acquisition(name);
	return found;
}

/* glibc keeps them together on the stack of who waits: { sequence, condition, mutex, shared }. */
static uint64_t mutex_of(const struct target *t, uint64_t cond, uint64_t from, uint64_t to)
{
	uint64_t words[512], sequence;
	size_t n = rrc_min((to - from) / 8, RRC_ARRAY_SIZE(words));

	if (from & 7 || rrc_mem_read(t->pid, from, words, n * 8) ||
	    rrc_mem_read(t->pid, cond, &sequence, sizeof(sequence)))
		return 0;
	for (size_t i = 1; i + 2 < n; i++)
		if (words[i] == cond && words[i - 1] <= sequence && words[i + 1] &&
		    !(words[i + 1] & 3) && !(words[i + 2] & 0x7f))
			return words[i + 1];
	return 0;
}

/* An address within struct pthread_cond_t on which its two groups of waiters sleep. */
static uint64_t cond_of(uint64_t futex)
{
	return futex - (40 + (futex & 4));
}

enum where {
	CLEAR, /* not inside of anything that has an order */
	WAITS, /* in what the library will complete */
	BUSY, /* inside of something that is over soon */
};

static enum where waits(const struct target *t, const struct user_regs_struct *r, uint8_t kind,
			const struct rrc_frame *f, struct rrc_injected_thread *out)
{
	int cond = kind == RRC_LL_COND || kind == RRC_LL_COND_TIMED;

	/* one with a time limit begins again by another call */
	if (kind == RRC_LL_NONE || (r->orig_rax != SYS_futex && r->orig_rax != SYS_restart_syscall))
		return BUSY;
	out->kind = kind;
	out->slot = f->slot;
	out->lock = cond ? mutex_of(t, cond_of(r->rdi), r->rsp, f->slot) : r->rdi;
	return out->lock ? WAITS : BUSY;
}

static enum where stand(const struct target *t, const struct user_regs_struct *r,
			struct rrc_injected_thread *out)
{
	struct rrc_frame f = { .pc = r->rip, .sp = r->rsp, .bp = r->rbp };
	uint64_t pc = f.pc;
	int i;

	if (rrc_object_has(&t->loader, r->rip) || (r->rip >= t->vdso && r->rip < t->vdso_end))
		return BUSY;
	if (!rrc_object_has(&t->libc, pc))
		return CLEAR;
	for (int depth = 0; depth < FRAMES_MAX && rrc_object_has(&t->libc, f.pc); depth++) {
		pc = f.pc;
		if (rrc_unwind(t->pid, t->libc.frame_hdr, depth == 0, &f))
			/* only what waits for long matters */
			return r->orig_rax == SYS_futex ? BUSY : CLEAR;
	}
	if (rrc_object_has(&t->ours, f.pc))
		return CLEAR;
	i = which(t, pc, f.pc);
	return i < 0 ? CLEAR : waits(t, r, acquisitions[i].kind, &f, out);
}

/* ---- loading ---- */

static int is_safe(const struct target *t, const struct rrc_stopped *s, int i, size_t rank)
{
	const struct user_regs_struct *r = &s->regs[i];
	struct rrc_injected_thread at = { 0 };

	if ((long)r->orig_rax < 0 || r->orig_rax != safe_calls[rank] ||
	    !rrc_object_has(&t->libc, r->rip) || !rrc_remote_has_stack(s, i))
		return 0;
	/* a futex is as well the loader's or the allocator's, but those have no time limit */
	if (r->orig_rax == SYS_restart_syscall)
		return stand(t, r, &at) != BUSY;
	return r->orig_rax != SYS_futex || (stand(t, r, &at) == WAITS && at.kind != RRC_LL_MUTEX);
}

/* Index of a thread that can be made to call something, or -1. */
static int pick(const struct target *t, const struct rrc_stopped *s)
{
	for (size_t rank = 0; rank < RRC_ARRAY_SIZE(safe_calls); rank++)
		for (int i = 0; i < s->n; i++)
			if (is_safe(t, s, i, rank))
				return i;
	return -1;
}

/* Where thread i has its errno: `mov errno@gottpoff(%rip), %rax; add %fs:0, %rax` says how far from its fs. */
static uint64_t find_errno(const struct target *t, const struct rrc_stopped *s, int i)
{
	uint64_t at = rrc_object_find(&t->libc, "__errno_location"), slot, offset;
	uint8_t code[16];
	int32_t rel;
	size_t n;

	if (!at || rrc_mem_read(t->pid, at, code, sizeof(code)))
		return 0;
	n = !memcmp(code, "\xf3\x0f\x1e\xfa", 4) ? 4 : 0;
	if (memcmp(code + n, "\x48\x8b\x05", 3))
		return 0;
	memcpy(&rel, code + n + 3, sizeof(rel));
	slot = at + n + 7 + (uint64_t)(int64_t)rel;
	return rrc_mem_read(t->pid, slot, &offset, sizeof(offset)) ? 0
								   : s->regs[i].fs_base + offset;
}

/* With thread i, all others running from here on. */
static int load_with(const struct target *t, struct rrc_stopped *s, int i, const char *path,
		     struct rrc_error *err)
{
	uint64_t args[2] = { rrc_remote_room(s, i), DLOPEN_FLAGS };
	uint64_t where = find_errno(t, s, i);
	int value, ret;

	if (strlen(path) + 1 > RRC_REMOTE_ROOM ||
	    rrc_mem_write(t->pid, args[0], path, strlen(path) + 1) || !where ||
	    rrc_mem_read(t->pid, where, &value, sizeof(value)))
		return rrc_fail(err, EFAULT, "%s: its stack or errno cannot be reached", t->name);
	rrc_go_on(s, i);
	ret = rrc_remote_call(s, i, rrc_object_find(&t->libc, "dlopen"), args, err);
	rrc_mem_write(t->pid, where, &value, sizeof(value));
	return ret;
}

/* 1: no thread suits just now. */
static int try_load(const struct target *t, const char *path, struct rrc_error *err)
{
	struct rrc_stopped s;
	int ret = rrc_stop_process(t->pid, &s, err), i;

	if (ret)
		return ret;
	s.restorer = t->restorer;
	i = pick(t, &s);
	ret = i < 0 ? 1 : load_with(t, &s, i, path, err);
	rrc_stopped_free(&s);
	return ret;
}

/* ---- taking its place ---- */

struct round {
	int busy; /* threads to look at again */
	pid_t one; /* one of them */
	unsigned long call; /* it is in */
};

static int describe(const struct target *t, const struct rrc_stopped *s,
		    struct rrc_injected_thread *all, struct round *round, struct rrc_error *err)
{
	if (s->n > RRC_INJECTED_MAX)
		return rrc_fail(err, E2BIG, "%s has %d threads, more than %d", t->name, s->n,
				RRC_INJECTED_MAX);
	for (int i = 0; i < s->n; i++) {
		all[i] = (struct rrc_injected_thread){
			.fs = s->regs[i].fs_base,
			.tid = (uint32_t)rrc_ns_tid(s->tids[i]),
		};
		if (!all[i].fs || stand(t, &s->regs[i], &all[i]) != BUSY)
			continue;
		all[i].kind = RRC_LL_NONE;
		round->busy++;
		round->one = s->tids[i];
		round->call = s->regs[i].orig_rax;
	}
	return 0;
}

/* Its clock is read through the library from here on, so the vDSO that a killed run left is put right. */
static int settle(const struct target *t, struct rrc_stopped *s, int i, long *answer,
		  struct rrc_error *err)
{
	uint64_t args[2] = { (uint64_t)s->n, 0 };
	int ret = rrc_remote_call(s, i, rrc_object_find(&t->ours, RRC_INJECTED_CALL), args, err);

	if (!ret && rrc_mem_read(t->pid, rrc_object_find(&t->ours, RRC_INJECTED_ANSWER), answer,
				 sizeof(*answer)))
		ret = rrc_fail(err, EFAULT, "%s: cannot be read", t->name);
	if (!ret && *answer == RRC_INJECTED_DONE && rrc_vdso_patched(t->pid) == 1)
		ret = rrc_vdso_restore(t->pid, err);
	return ret < 0 ? ret : 0;
}

/* 0: all is done; 1: once more. */
static int try_settle(const struct target *t, struct round *round, struct rrc_error *err)
{
	rrc_autofree struct rrc_injected_thread *all = calloc(RRC_INJECTED_MAX, sizeof(*all));
	uint64_t table = rrc_object_find(&t->ours, RRC_INJECTED_THREADS);
	long answer = RRC_INJECTED_AGAIN;
	struct rrc_stopped s;
	int ret = all ? rrc_stop_process(t->pid, &s, err) : rrc_fail(err, ENOMEM, "no memory"), i;

	if (ret)
		return ret;
	*round = (struct round){ 0 };
	s.restorer = t->restorer;
	i = pick(t, &s);
	ret = describe(t, &s, all, round, err);
	/* Nobody may be in the loader, or at the vDSO, when they change: all of it at one standstill. */
	if (!ret && i >= 0 && !round->busy) {
		if (rrc_mem_write(t->pid, table, all, (size_t)s.n * sizeof(*all)))
			ret = rrc_fail(err, EFAULT, "%s: cannot be written", t->name);
		else
			ret = settle(t, &s, i, &answer, err);
	}
	rrc_stopped_free(&s);
	if (!ret && answer == RRC_INJECTED_SCOPE)
		ret = refuse(t, err, "its loader is not one that is known");
	return ret ? ret : answer != RRC_INJECTED_DONE;
}

static int find_ours(struct target *t, struct rrc_error *err)
{
	struct rrc_locklog ll;
	int ret;

	if (rrc_object_open(t->pid, RRC_PRELOAD_NAME, &t->ours))
		return refuse(t, err,
			      "its libc does not load the recorder: too old, or not allowed to");
	if (!rrc_object_find(&t->ours, RRC_INJECTED_CALL) ||
	    !rrc_object_find(&t->ours, RRC_INJECTED_ANSWER) ||
	    !rrc_object_find(&t->ours, RRC_INJECTED_THREADS))
		return rrc_fail(err, ENOEXEC, "%s: " RRC_PRELOAD_NAME " is not what was loaded",
				t->name);
	ret = rrc_locklog_open(t->pid, &ll, err);
	if (!ret)
		rrc_locklog_close(&ll);
	return ret;
}

static int no_moment(const struct target *t, const struct round *round, struct rrc_error *err)
{
	if (!round->busy)
		return refuse(t, err,
			      "none of its threads ever waits where it could load something");
	return rrc_fail(err, EBUSY,
			"%s: thread %d stays inside a lock of libc that cannot be completed for it "
			"(call %ld): its locks cannot be recorded from here on",
			t->name, round->one, (long)round->call);
}

/* Loads it, in processes that have not. */
static int load(struct target *t, const struct rrc_container *c, uint64_t end,
		struct rrc_error *err)
{
	struct round round = { 0 };
	char path[PATH_MAX];
	int ret = rrc_library_for(c, t->pid, path, sizeof(path), err);

	if (ret)
		return ret;
	while ((ret = try_load(t, path, err)) > 0 && rrc_now_ns(CLOCK_MONOTONIC) < end)
		poll(NULL, 0, ROUND_MS);
	return ret > 0 ? no_moment(t, &round, err) : ret;
}

static int inject(struct target *t, const struct rrc_container *c, int loaded,
		  struct rrc_error *err)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + ROUNDS_NS;
	struct round round = { 0 };
	int ret = loaded ? 0 : load(t, c, end, err);

	if (!ret)
		ret = find_ours(t, err);
	if (ret)
		return ret;
	while ((ret = try_settle(t, &round, err)) > 0 && rrc_now_ns(CLOCK_MONOTONIC) < end)
		poll(NULL, 0, ROUND_MS);
	return ret > 0 ? no_moment(t, &round, err) : ret;
}

/* Somebody loaded it, and was killed before it could take its place. */
static int half_done(pid_t pid)
{
	struct rrc_object o;
	uint64_t at;
	long answer = RRC_INJECTED_DONE;

	if (rrc_object_open(pid, RRC_PRELOAD_NAME, &o))
		return 0;
	at = rrc_object_find(&o, RRC_INJECTED_ANSWER);
	if (at)
		rrc_mem_read(pid, at, &answer, sizeof(answer));
	rrc_object_close(&o);
	return answer != RRC_INJECTED_DONE;
}

/* 1: it has it now; 0: it had it, or does not need it. */
static int process(const struct rrc_container *c, pid_t pid, enum rrc_inject_how how,
		   struct rrc_error *err)
{
	struct target t = { .pid = pid };
	rrc_autofree pid_t *tids = NULL;
	struct rrc_error none = { 0 };
	struct rrc_locklog ll;
	int ret = rrc_locklog_open(pid, &ll, &none), loaded = !ret;

	rrc_locklog_close(&ll);
	if (ret && ret != -ENOENT) {
		*err = none;
		return ret;
	}
	if (loaded ? !half_done(pid) : how == RRC_INJECT_THREADED && rrc_threads(pid, &tids) < 2)
		return 0;
	ret = look_at(&t, err);
	if (!ret)
		ret = inject(&t, c, loaded, err);
	if (!ret)
		rrc_log(RRC_LOG_INFO,
			"%s (process %d) records its locks and its clock from here on", t.name,
			pid);
	close_target(&t);
	return ret ? ret : 1;
}

int rrc_inject_container(const struct rrc_container *c, enum rrc_inject_how how,
			 struct rrc_error *err)
{
	rrc_autofree pid_t *pids = NULL;
	int n = rrc_pidns_processes(c->pidns, &pids), count = 0;

	for (int i = 0; how != RRC_INJECT_NONE && i < n; i++) {
		int ret = process(c, pids[i], how, err);

		/* one that ended meanwhile needs nothing */
		if (ret < 0 && rrc_pidns_ino(pids[i]) != c->pidns)
			continue;
		if (ret < 0)
			return ret;
		count += ret;
	}
	return count;
}
