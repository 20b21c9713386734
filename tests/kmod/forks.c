/* SPDX-License-Identifier: MIT */
/* Forks the stressed container N times: does every copy agree with itself and with the originals, stand
 * still, and hold nothing of theirs; do the originals go on.
 *	forks CONTAINER N */
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "agent.h"

#define MAX   64
#define CHUNK (1 << 20)

struct fork {
	int dev;
	pid_t container;
	struct rrc_fork_process p[MAX];
	int n;
	void *state;
	size_t size;
	int spinning; /* copies in which the vector registers could be looked at */
	char why[256]; /* empty: nothing is wrong */
};

__attribute__((format(printf, 2, 3))) static void wrong(struct fork *f, const char *fmt, ...)
{
	va_list ap;

	if (f->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

static pid_t shadow(const struct fork *f, int vpid)
{
	const struct rrc_fork_process *p = of_vpid(f->p, f->n, vpid);

	return p ? p->shadow : 0;
}

/* Numbers of which one follows the other. */
static void check_numbers(struct fork *f)
{
	struct private w, r;
	struct shared s;
	const struct rrc_fork_file *file = NULL;
	int64_t flight, unread = 0;

	if (!read_memory(shadow(f, WORKER), PRIVATE_AT, &w, sizeof(w)) ||
	    !read_memory(shadow(f, RECEIVER), PRIVATE_AT, &r, sizeof(r)) ||
	    !read_memory(shadow(f, WORKER), SHARED_AT, &s, sizeof(s))) {
		wrong(f, "a shadow cannot be read");
		return;
	}
	if (w.a - w.b > 1)
		wrong(f, "the pair is %lu, %lu", w.a, w.b);
	if (w.behind > w.ahead)
		wrong(f, "%lu follows %lu", w.behind, w.ahead);
	if (s.shared_n - w.private_n > 1)
		wrong(f, "shared memory has %lu, private %lu", s.shared_n, w.private_n);
	while ((file = next_rec(f->state, f->size, file, RRC_FORK_FILE, WORKER)))
		if (file->fd == w.pipe_fd)
			unread = file->unread / 4;
	flight = (int64_t)(w.sent - r.received) - unread;
	if (flight < 0 || flight > 2)
		wrong(f, "%lu sent, %lu received, %ld in the pipe", w.sent, r.received, unread);
}

static long offset_in_shadow(const struct fork *f, int fd)
{
	char path[64];
	long pos = -1;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", shadow(f, WORKER), fd);
	in = fopen(path, "r");
	if (in && fscanf(in, "pos: %ld", &pos) != 1)
		pos = -1;
	if (in)
		fclose(in);
	return pos;
}

static void check_offset(struct fork *f)
{
	const struct rrc_fork_file *file = NULL;
	struct private w;
	long pos;

	if (!read_memory(shadow(f, WORKER), PRIVATE_AT, &w, sizeof(w)))
		return;
	pos = offset_in_shadow(f, w.file_fd);
	/* The number is counted when it stands in the file; 0 again only after the seek. */
	if (pos != (long)w.written * 8 && pos != (long)(w.written + 1) * 8 &&
	    !(pos == 0 && w.written == 4096))
		wrong(f, "file offset %ld with %lu numbers", pos, w.written);
	while ((file = next_rec(f->state, f->size, file, RRC_FORK_FILE, WORKER)))
		if (file->fd == w.file_fd && file->pos != pos)
			wrong(f, "STATE says offset %lld, the shadow has %ld", (long long)file->pos,
			      pos);
}

/* Everything that the container's processes have in the namespace, and nothing else. */
static void check_complete(struct fork *f)
{
	char path[64], ns[64] = "", other[64];
	struct dirent *d;
	DIR *proc = opendir("/proc");
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", f->container);
	if (readlink(path, ns, sizeof(ns) - 1) < 0 || !proc)
		die("%s", path);
	while ((d = readdir(proc))) {
		char state = 0;
		FILE *stat;

		if (d->d_name[0] < '0' || d->d_name[0] > '9')
			continue;
		memset(other, 0, sizeof(other));
		snprintf(path, sizeof(path), "/proc/%.16s/ns/pid", d->d_name);
		if (readlink(path, other, sizeof(other) - 1) < 0 || strcmp(ns, other))
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/stat", d->d_name);
		stat = fopen(path, "r");
		if (stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state != 'Z')
			count++;
		if (stat)
			fclose(stat);
	}
	closedir(proc);
	if (count != f->n)
		wrong(f, "%d processes, %d shadows", count, f->n);
}

static int tasks(pid_t pid)
{
	char path[64];
	struct dirent *d;
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir)))
		n += d->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

/* It stands, and has no socket, pipe or the like. */
static void check_still(struct fork *f, const struct rrc_fork_process *p)
{
	char path[300], to[128], state = 0;
	struct dirent *d;
	FILE *stat;
	DIR *fds;

	if (tasks(p->shadow) != (int)p->threads || tasks(p->pid) != (int)p->threads)
		wrong(f, "process %d: %d threads, shadow %d, said %u", p->vpid, tasks(p->pid),
		      tasks(p->shadow), p->threads);
	snprintf(path, sizeof(path), "/proc/%d/stat", p->shadow);
	stat = fopen(path, "r");
	if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1 || state != 'T')
		wrong(f, "shadow of %d: state %c", p->vpid, state);
	if (stat)
		fclose(stat);
	snprintf(path, sizeof(path), "/proc/%d/fd", p->shadow);
	fds = opendir(path);
	while (fds && (d = readdir(fds))) {
		memset(to, 0, sizeof(to));
		snprintf(path, sizeof(path), "/proc/%d/fd/%.200s", p->shadow, d->d_name);
		if (readlink(path, to, sizeof(to) - 1) > 0 &&
		    (!strncmp(to, "pipe:", 5) || !strncmp(to, "socket:", 7) ||
		     !strncmp(to, "anon_inode:", 11)))
			wrong(f, "shadow of %d holds %s", p->vpid, to);
	}
	if (fds)
		closedir(fds);
}

/* Every writable private byte; FNV-1a of the shadow's in SUM. */
static void compare_memory(struct fork *f, const struct rrc_fork_process *p, bool with_original,
			   uint64_t *sum)
{
	static unsigned char mine[CHUNK], its[CHUNK];
	char path[64], perms[8], line[512];
	unsigned long start, end;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", p->shadow);
	maps = fopen(path, "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) != 3 ||
		    strcmp(perms, "rw-p") || strstr(line, "[v"))
			continue;
		/* Only what is there: threads' stacks and arenas are large and empty. */
		for (; start < end; start += 4096) {
			if (!read_memory(p->shadow, start, its, 4096)) {
				wrong(f, "shadow of %d: %lx cannot be read", p->vpid, start);
				break;
			}
			if (with_original &&
			    (!read_memory(p->pid, start, mine, 4096) || memcmp(mine, its, 4096)))
				wrong(f, "process %d: page %lx differs in the shadow", p->vpid,
				      start);
			for (int i = 0; i < 4096; i += 8)
				*sum = (*sum ^ *(uint64_t *)(its + i)) * 0x100000001b3ull;
			if (end - start > 256 * 1024)
				break; /* its first page will do */
		}
	}
	if (maps)
		fclose(maps);
}

/* A thread's registers, by its id in the container: STATE's are those that the shadow has. */
static void check_registers(struct fork *f, pid_t host_tid, int vpid, int vtid,
			    const struct private *w)
{
	const struct rrc_fork_thread *r = NULL;
	struct user_regs_struct regs;
	static unsigned char fpu[16384];
	struct iovec io = { fpu, sizeof(fpu) };
	uint64_t want[2] = { 0x1122334455667788ull, 0x1122334455667788ull };
	int status;

	while ((r = next_rec(f->state, f->size, r, RRC_FORK_THREAD, vpid)))
		if (r->rec.tid == vtid)
			break;
	if (!r) {
		wrong(f, "STATE has no thread %d", vtid);
		return;
	}
	if (ptrace(PTRACE_SEIZE, host_tid, NULL, NULL) ||
	    waitpid(host_tid, &status, __WALL) != host_tid) {
		wrong(f, "shadow's thread %d cannot be seized: %s", vtid, strerror(errno));
		return;
	}
	if (ptrace(PTRACE_GETREGS, host_tid, NULL, &regs) || memcmp(&regs, r->regs, 8 * 23))
		wrong(f, "thread %d: registers differ (ip %llx, %llx)", vtid, regs.rip,
		      (unsigned long long)r->regs[16]);
	if (vtid == w->spinner_tid && regs.rip >= w->loop && regs.rip < w->loop_end) {
		struct user_fpregs_struct *fp = (void *)fpu;

		if (ptrace(PTRACE_GETREGSET, host_tid, NT_X86_XSTATE, &io))
			wrong(f, "no FPU state: %s", strerror(errno));
		else if (memcmp(&fp->xmm_space[7 * 4], want, 16))
			wrong(f, "the spinner's vector register is lost");
		f->spinning++;
	}
	ptrace(PTRACE_DETACH, host_tid, NULL, NULL);
}

static int vtid_of(pid_t leader, const char *tid)
{
	char path[96], line[256];
	int a, b, c, n, vtid = 0;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", leader, tid);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in)) {
		n = sscanf(line, "NSpid: %d %d %d", &a, &b, &c);
		if (n >= 1)
			vtid = n == 1 ? a : n == 2 ? b : c;
	}
	if (in)
		fclose(in);
	return vtid;
}

static void check_all_registers(struct fork *f, const struct rrc_fork_process *p)
{
	struct private w = { 0 };
	struct dirent *d;
	char path[64];
	DIR *dir;

	if (p->vpid == WORKER)
		read_memory(p->shadow, PRIVATE_AT, &w, sizeof(w));
	snprintf(path, sizeof(path), "/proc/%d/task", p->shadow);
	dir = opendir(path);
	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			check_registers(f, atoi(d->d_name), p->vpid, vtid_of(p->shadow, d->d_name),
					&w);
	if (dir)
		closedir(dir);
}

static void one_fork(struct fork *f, int pidns, bool deep, struct rrc_fork_park *park)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION, .flags = RRC_FORK_WANT_STATE };
	uint64_t in_pause = 14695981039346656037ull, later = in_pause;
	struct rrc_fork_release release;
	struct rrc_fork_wait wait;
	int which, r;

	*park = park_of(pidns);
	r = call(f->dev, RRC_FORK_PARK, park);
	if (r) {
		wrong(f, "PARK: %s, %u tries, blocked by %d", strerror(r), park->tried,
		      park->blocker);
		return;
	}
	must_call(f->dev, RRC_FORK_FORK, &fork, "FORK");
	if (deep)
		must_call(f->dev, RRC_FORK_WAIT, &wait, "WAIT in the pause");
	f->n = list(f->dev, f->p, MAX);
	f->state = state(f->dev, &f->size);
	check_complete(f);
	for (int i = 0; deep && i < f->n; i++)
		compare_memory(f, &f->p[i], true, &in_pause);
	must_call(f->dev, RRC_FORK_RELEASE, &release, "RELEASE");
	must_call(f->dev, RRC_FORK_WAIT, &wait, "WAIT");
	if (wait.kept_shared)
		wrong(f, "%u files are shared with the originals", wait.kept_shared);
	if (!goes_on(f->container, 10, &which))
		wrong(f, "the container does not go on: %d", which);
	check_numbers(f);
	check_offset(f);
	for (int i = 0; i < f->n; i++) {
		const struct rrc_fork_process *p = &f->p[i];

		/* The originals' threads may be others by now; so only the shadow's are counted here. */
		if (tasks(p->shadow) != (int)p->threads)
			wrong(f, "process %d: %u threads, its shadow has %d", p->vpid, p->threads,
			      tasks(p->shadow));
		if (deep)
			compare_memory(f, p, false, &later);
	}
	if (deep && in_pause != later)
		wrong(f, "the shadow's memory changed after the pause");
	for (int i = 0; i < f->n; i++) {
		struct rrc_fork_process p = f->p[i];

		p.pid = p.shadow;
		check_still(f, &p);
		if (deep)
			check_all_registers(f, &p);
	}
	free(f->state);
	must_call(f->dev, RRC_FORK_DROP, NULL, "DROP");
	if (waitpid(-1, &r, WNOHANG | __WALL) > 0)
		wrong(f, "the agent has a child more");
}

int main(int argc, char **argv)
{
	struct fork f = { 0 };
	struct rrc_fork_park park;
	int n = argc == 3 ? atoi(argv[2]) : 0, good = 0, tries = 0, pidns, which;
	double begin, lost = 0;

	if (n < 1)
		return 2;
	f.container = start_stress(argv[1]);
	pidns = pidns_of(f.container);
	f.dev = open_device();
	begin = now();
	for (int i = 0; i < n; i++) {
		f.why[0] = 0;
		one_fork(&f, pidns, i % 5 == 0, &park);
		tries += (int)park.tried;
		lost += (double)park.lost_ns / 1e6;
		if (f.why[0])
			check(false, "fork %d: %s", i, f.why);
		else
			good++;
	}
	check(good == n, "%d of %d forks consistent (%.1f s, %d tries, %.0f ms lost in tries)",
	      good, n, now() - begin, tries, lost);
	printf("# in %d copies the spinner was in its loop\n", f.spinning);
	check(goes_on(f.container, 10, &which), "the container lives");
	close(f.dev);
	for (double end = now() + 5; param("sessions") && now() < end;)
		usleep(1000);
	check(!param("sessions"), "no fork holds memory");
	return !all_ok;
}
