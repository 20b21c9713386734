/* SPDX-License-Identifier: MIT */
/* What a fork of the kernel's does not give: does STATE tell it, does the shadow have its own.
 *	state CONTAINER		the test; CONTAINER is not used */
#include <arpa/inet.h>
#include <grp.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include "agent.h"

#define RESULT_AT 0x220000000000ull
struct guest {
	volatile int ready, move, moved;
	int event, pipe_out, pipe_in, file, twin, directory, memory, datagrams, twin_socket,
		listener, stream, epoll, ticks;
	int timer, tid;
	unsigned long dontfork, wiped, locked, mapped, anonymous;
};

static struct guest *const g = (struct guest *)RESULT_AT;

static void need(bool ok, int line)
{
	if (!ok) {
		fprintf(stderr, "state: line %d: %s\n", line, strerror(errno));
		_exit(1);
	}
}
#define NEED(x) need((x), __LINE__)

static void *page(int flags, int fd)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, fd, 0);

	NEED(p != MAP_FAILED);
	return p;
}

static void *sleeper(void *arg)
{
	struct timespec t = { 1000, 0 };

	(void)arg;
	prctl(PR_SET_NAME, "sleeper");
	g->tid = (int)syscall(SYS_gettid);
	nanosleep(&t, NULL);
	return NULL;
}

static void descriptors(void)
{
	struct itimerspec hour = { { 0, 0 }, { 3600, 0 } };
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 99 };
	int p[2];

	NEED((g->event = eventfd(7, 0)) >= 0 && !pipe(p) && write(p[1], "hello", 5) == 5);
	g->pipe_out = p[0], g->pipe_in = p[1];
	NEED((g->file = open("/tmp/kmod-state", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) >=
	     0);
	NEED(!ftruncate(g->file, 8192) && lseek(g->file, 123, SEEK_SET) == 123 &&
	     (g->twin = dup(g->file)) >= 0);
	g->mapped = (unsigned long)page(MAP_SHARED, g->file);
	NEED((g->directory = open("/tmp", O_RDONLY | O_DIRECTORY)) >= 0);
	NEED((g->memory = memfd_create("state", 0)) >= 0 && write(g->memory, "contents", 8) == 8 &&
	     lseek(g->memory, 3, SEEK_SET) == 3);
	NEED((g->ticks = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0 &&
	     !timerfd_settime(g->ticks, 0, &hour, NULL));
	NEED((g->epoll = epoll_create1(0)) >= 0 &&
	     !epoll_ctl(g->epoll, EPOLL_CTL_ADD, g->event, &e));
}

static void sockets(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int s[2], client;

	NEED(!socketpair(AF_UNIX, SOCK_DGRAM, 0, s) && send(s[1], "1", 1, 0) == 1 &&
	     send(s[1], "2", 1, 0) == 1);
	g->datagrams = s[0], g->twin_socket = s[1];
	NEED((g->listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0 &&
	     !bind(g->listener, (void *)&a, sizeof(a)) && !listen(g->listener, 4) &&
	     !getsockname(g->listener, (void *)&a, &len));
	NEED((client = socket(AF_INET, SOCK_STREAM, 0)) >= 0 &&
	     !connect(client, (void *)&a, sizeof(a)));
	NEED((g->stream = accept(g->listener, NULL, NULL)) >= 0 &&
	     send(client, "0123456789", 10, 0) == 10);
}

static void memory(void)
{
	g->dontfork = (unsigned long)page(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	g->wiped = (unsigned long)page(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	g->locked = (unsigned long)page(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	g->anonymous = (unsigned long)page(MAP_SHARED | MAP_ANONYMOUS, -1);
	strcpy((char *)g->dontfork, "dontfork");
	strcpy((char *)g->wiped, "wiped");
	strcpy((char *)g->anonymous, "before");
	NEED(!madvise((void *)g->dontfork, 4096, MADV_DONTFORK) &&
	     !madvise((void *)g->wiped, 4096, MADV_WIPEONFORK) && !mlock((void *)g->locked, 4096));
}

static void signals(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID,
			       .sigev_signo = SIGRTMIN + 4,
			       .sigev_value.sival_int = 17 };
	struct itimerspec t = { { 50, 0 }, { 100, 0 } };
	struct itimerval virtual = { { 0, 0 }, { 30, 0 } };
	stack_t stack = { .ss_sp = (void *)g->locked, .ss_size = 4096 };
	timer_t timer;

	/* The kernel's field has no name of its own in this C library. */
	ev._sigev_un._tid = (int)syscall(SYS_gettid);
	NEED(!sigaltstack(&stack, NULL));
	NEED(!sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 4711 }) &&
	     !sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 4712 }));
	NEED(!syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR2));
	NEED(!timer_create(CLOCK_BOOTTIME, &ev, &timer) && !timer_settime(timer, 0, &t, NULL));
	g->timer = (int)(intptr_t)timer;
	NEED(!setitimer(ITIMER_VIRTUAL, &virtual, NULL));
}

static void guest(void)
{
	pthread_t t;
	sigset_t set;

	/* In all threads: what nobody can take stays. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN + 3);
	NEED(!sigprocmask(SIG_BLOCK, &set, NULL));
	NEED(mmap(g, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		  0) == g);
	descriptors();
	sockets();
	memory();
	NEED(!setgroups(0, NULL) && !setgid(65533) && !setuid(65534));
	NEED(!pthread_create(&t, NULL, sleeper, NULL));
	while (!g->tid)
		usleep(1000);
	signals();
	g->ready = 1;
	while (!g->move)
		usleep(1000);
	NEED(lseek(g->file, 777, SEEK_SET) == 777 && pwrite(g->memory, "CONTENTS", 8, 0) == 8);
	strcpy((char *)g->dontfork, "moved");
	strcpy((char *)g->anonymous, "after");
	g->moved = 1;
	for (;;)
		pause();
}

struct test {
	void *state;
	size_t size;
	struct guest g;
	pid_t pid, shadow;
};

static const struct rrc_fork_file *file_rec(const struct test *t, int fd)
{
	const struct rrc_fork_file *f = NULL;

	while ((f = next_rec(t->state, t->size, f, RRC_FORK_FILE, 1)))
		if (f->fd == fd)
			break;
	return f;
}

static const struct rrc_fork_socket *socket_rec(const struct test *t, int fd)
{
	const struct rrc_fork_socket *s = NULL;

	while ((s = next_rec(t->state, t->size, s, RRC_FORK_SOCKET, 1)))
		if (s->fd == fd)
			break;
	return s;
}

static bool info_has(const struct rrc_fork_file *f, const char *what)
{
	return f && f->closed && memmem(f->info, f->info_len, what, strlen(what));
}

static void check_descriptors(const struct test *t)
{
	const struct rrc_fork_file *pipe_out = file_rec(t, t->g.pipe_out),
				   *file = file_rec(t, t->g.file);
	const struct rrc_fork_socket *u = socket_rec(t, t->g.datagrams),
				     *l = socket_rec(t, t->g.listener),
				     *s = socket_rec(t, t->g.stream);
	const struct rrc_fork_file *twin = file_rec(t, t->g.twin_socket);

	check(info_has(file_rec(t, t->g.event), "eventfd-count:                7"),
	      "an eventfd's count");
	check(info_has(file_rec(t, t->g.epoll), "data:               63"), "what an epoll watches");
	check(info_has(file_rec(t, t->g.ticks), "it_value: (35"), "a timerfd's rest");
	check(pipe_out && pipe_out->closed && pipe_out->unread == 5, "bytes in a pipe");
	check(file && !file->closed && file->pos == 123 && file->cloexec && S_ISREG(file->mode),
	      "a file's offset");
	check(u && twin && u->family == AF_UNIX && u->queued == 2 && u->peer_ino == twin->ino,
	      "a unix socket");
	check(l && l->family == AF_INET && l->state == 10 && !l->queued && l->cookie, "a listener");
	check(s && s->state == 1 && s->queued == 10 && s->rcv_nxt - s->copied_seq == 10 &&
		      s->snd_una == s->write_seq && s->cookie != l->cookie,
	      "a connection's numbers");
}

static void check_signals(const struct test *t)
{
	const struct rrc_fork_signal *one = NULL, *two = NULL, *own = NULL, *s = NULL;
	const struct rrc_fork_timer *timer = next_rec(t->state, t->size, NULL, RRC_FORK_TIMER, 1);
	const struct rrc_fork_itimer *itimer =
		next_rec(t->state, t->size, NULL, RRC_FORK_ITIMER, 1);
	const struct rrc_fork_thread *th = NULL, *main_thread = NULL, *sleeps = NULL;
	uint64_t blocked = 1ull << (SIGUSR2 - 1) | 1ull << (SIGRTMIN + 2);

	while ((s = next_rec(t->state, t->size, s, RRC_FORK_SIGNAL, 1))) {
		if (s->rec.tid)
			own = s;
		else if (one)
			two = s;
		else
			one = s;
	}
	check(one && two && ((const siginfo_t *)one->siginfo)->si_value.sival_int == 4711 &&
		      ((const siginfo_t *)two->siginfo)->si_value.sival_int == 4712 &&
		      ((const siginfo_t *)two->siginfo)->si_signo == SIGRTMIN + 3,
	      "queued signals in their order");
	check(own && own->rec.tid == 1 && ((const siginfo_t *)own->siginfo)->si_signo == SIGUSR2,
	      "a thread's own signal");
	check(timer && timer->id == t->g.timer && timer->clock == CLOCK_BOOTTIME &&
		      timer->rec.tid == 1 && timer->signo == SIGRTMIN + 4 &&
		      (int)timer->value == 17 && timer->period_ns == 50000000000 &&
		      timer->left_ns > 60000000000 && timer->left_ns < 100000000000,
	      "a timer");
	check(itimer && itimer->which == ITIMER_VIRTUAL && itimer->left_us > 20000000 &&
		      !itimer->period_us,
	      "an interval timer");
	while ((th = next_rec(t->state, t->size, th, RRC_FORK_THREAD, 1))) {
		if (th->rec.tid == 1)
			main_thread = th;
		else
			sleeps = th;
	}
	check(main_thread && main_thread->blocked == blocked &&
		      main_thread->altstack == t->g.locked &&
		      main_thread->pending == 1ull << (SIGUSR2 - 1),
	      "a thread's masks and stack");
	check(sleeps && sleeps->rec.tid == t->g.tid && !strcmp(sleeps->comm, "sleeper") &&
		      (int64_t)sleeps->regs[10] == -516 &&
		      sleeps->restart == RRC_FORK_RESTART_SLEEP && sleeps->restart_args[1],
	      "a sleep that goes on");
}

static uint32_t map_flags(const struct test *t, unsigned long start)
{
	const struct rrc_fork_mapping *m = NULL;

	while ((m = next_rec(t->state, t->size, m, RRC_FORK_MAPPING, 1)))
		if (m->start <= start && start < m->end)
			return m->flags;
	return 0;
}

static bool holds(pid_t pid, unsigned long at, const char *what)
{
	char text[32] = "";

	return read_memory(pid, at, text, strlen(what) + 1) && !strcmp(text, what);
}

static bool vm_flag(pid_t pid, unsigned long at, const char *flag)
{
	char line[512], path[64];
	unsigned long start = 0, end = 0, s, e;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &s, &e) == 2)
			start = s, end = e;
		if (!strncmp(line, "VmFlags:", 8) && start <= at && at < end)
			found = strstr(line, flag);
	}
	if (f)
		fclose(f);
	return found;
}

static void check_memory(const struct test *t)
{
	char memfd[64], text[16] = "";
	int fd;

	check(map_flags(t, t->g.mapped) == RRC_FORK_MAP_SHARED &&
		      map_flags(t, t->g.locked) & RRC_FORK_MAP_LOCKED,
	      "mappings that the shadow has in another way");
	check(map_flags(t, t->g.dontfork) == RRC_FORK_MAP_DONTFORK &&
		      holds(t->shadow, t->g.dontfork, "dontfork") &&
		      vm_flag(t->shadow, t->g.dontfork, " dc") &&
		      vm_flag(t->pid, t->g.dontfork, " dc"),
	      "memory that is not for children is in the shadow");
	check(map_flags(t, t->g.wiped) == RRC_FORK_MAP_WIPEONFORK &&
		      holds(t->shadow, t->g.wiped, "wiped") &&
		      vm_flag(t->shadow, t->g.wiped, " wf") && vm_flag(t->pid, t->g.wiped, " wf"),
	      "memory that children have wiped is in the shadow");
	check(holds(t->shadow, t->g.anonymous, "before") && holds(t->pid, t->g.anonymous, "after"),
	      "shared memory is a copy of the pause");
	snprintf(memfd, sizeof(memfd), "/proc/%d/fd/%d", t->shadow, t->g.memory);
	fd = open(memfd, O_RDONLY | O_CLOEXEC);
	check(fd >= 0 && pread(fd, text, 8, 0) == 8 && !strcmp(text, "contents"),
	      "a memfd is a copy of the pause");
	close(fd);
}

static long shadow_offset(const struct test *t, int fd)
{
	char path[64];
	long pos = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", t->shadow, fd);
	f = fopen(path, "r");
	if (f && fscanf(f, "pos: %ld", &pos) != 1)
		pos = -1;
	if (f)
		fclose(f);
	return pos;
}

static void status_of(pid_t pid, char *to, size_t size)
{
	static const char *const lines[] = { "Uid",	 "Gid",	   "Groups", "Cap",    "NoNew",
					     "Seccomp:", "SigBlk", "SigIgn", "SigCgt", "Threads" };
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	to[0] = 0;
	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			if (!strncmp(line, lines[i], strlen(lines[i])) &&
			    strlen(to) + strlen(line) < size)
				strcat(to, line);
	if (f)
		fclose(f);
}

static void check_shadow(const struct test *t)
{
	char its[2048], original[2048], path[64];
	struct stat st;

	check(shadow_offset(t, t->g.file) == 123 && shadow_offset(t, t->g.twin) == 123 &&
		      shadow_offset(t, t->g.memory) == 3,
	      "the shadow's offsets stay");
	check(!syscall(SYS_kcmp, t->shadow, t->shadow, KCMP_FILE, t->g.file, t->g.twin) &&
		      syscall(SYS_kcmp, t->pid, t->shadow, KCMP_FILE, t->g.file, t->g.file) > 0,
	      "descriptors of one file share the shadow's own");
	status_of(t->pid, original, sizeof(original));
	status_of(t->shadow, its, sizeof(its));
	if (!check(!strcmp(its, original) && strstr(its, "Uid:\t65534"),
		   "identity, rights and masks"))
		printf("%s%s", original, its);
	/* Whom a dump would call undumpable is so in the original as well. */
	snprintf(path, sizeof(path), "/proc/%d/exe", t->shadow);
	check(!lstat(path, &st) && st.st_uid == 0, "it is as dumpable as the original");
}

int main(int argc, char **argv)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION, .flags = RRC_FORK_WANT_STATE };
	char *container[] = { (char *)"/proc/self/exe", NULL };
	struct rrc_fork_release release;
	struct rrc_fork_process p[4];
	struct rrc_fork_park park;
	struct rrc_fork_wait wait;
	struct test t = { 0 };
	double end = now() + 10;
	int dev;

	(void)argv;
	if (getpid() == 1)
		guest();
	if (argc != 2)
		return 2;
	t.pid = spawn_container(container);
	while ((!read_memory(t.pid, RESULT_AT, &t.g, sizeof(t.g)) || !t.g.ready) && now() < end)
		usleep(1000);
	if (!t.g.ready)
		die("the container does not start");
	dev = open_device();
	park = park_of(pidns_of(t.pid));
	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	must_call(dev, RRC_FORK_FORK, &fork, "FORK");
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE");
	must_call(dev, RRC_FORK_WAIT, &wait, "WAIT");
	check(list(dev, p, 4) == 1 && p[0].vpid == 1 && p[0].threads == 2 && p[0].pid == t.pid &&
		      p[0].shadow == fork.init,
	      "one process with two threads");
	t.shadow = p[0].shadow;
	t.state = state(dev, &t.size);
	t.g.move = 1;
	if (process_vm_writev(t.pid, &(struct iovec){ (void *)&t.g.move, sizeof(int) }, 1,
			      &(struct iovec){ (void *)(RESULT_AT + offsetof(struct guest, move)),
					       sizeof(int) },
			      1, 0) < 0)
		die("move");
	while (read_memory(t.pid, RESULT_AT, &t.g, sizeof(t.g)) && !t.g.moved && now() < end)
		usleep(1000);
	check(t.g.moved && !wait.kept_shared, "the original moved on");
	check_descriptors(&t);
	check_signals(&t);
	check_memory(&t);
	check_shadow(&t);
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	close(dev);
	/* It does not go with us: a change of identity takes that wish away. */
	kill(t.pid, SIGKILL);
	waitpid(t.pid, NULL, 0);
	return !all_ok;
}
