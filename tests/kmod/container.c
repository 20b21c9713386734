/* SPDX-License-Identifier: MIT */
/* The container that is forked again and again: threads and processes that are born and die, timers,
 * signals, pipes, vfork, hand-offs between threads, and numbers that must agree in every copy. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "container.h"

static struct shared *const shared = (struct shared *)SHARED_AT;
static struct private *const mine = (struct private *)PRIVATE_AT;
static int tokens[2];
static int gate[2]; /* opens when all processes are there: their threads take ids too */

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "container: %s: %s\n", what, strerror(errno));
	shared->wrong = 1;
	_exit(1);
}

static void went_on(enum progress what)
{
	__atomic_fetch_add(&shared->progress[what], 1, __ATOMIC_RELAXED);
}

static void on_alarm(int sig)
{
	(void)sig;
	went_on(ALARMS);
}

static void on_timer(int sig)
{
	(void)sig;
	went_on(TIMER_SIGNALS);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void *short_life(void *arg)
{
	char *p = malloc(1000 + (uintptr_t)arg % 5000);

	memset(p, 1, 1000);
	sched_yield();
	free(p);
	return arg;
}

static void *bear_threads(void *arg)
{
	void *r;
	pthread_t t;

	(void)arg;
	for (uintptr_t i = 1;; i++) {
		if (pthread_create(&t, NULL, short_life, (void *)i)) {
			usleep(100);
			continue;
		}
		must(!pthread_join(t, &r) && r == (void *)i, "a thread's result");
		went_on(THREADS_BORN);
	}
	return NULL;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *hand_off(void *arg)
{
	int me = (int)(intptr_t)arg;

	for (;;) {
		pthread_mutex_lock(&lock);
		while (turn != me)
			pthread_cond_wait(&turn_changed, &lock);
		must(mine->a == mine->b, "the pair");
		mine->a++;
		mine->b++;
		turn = !me;
		pthread_cond_broadcast(&turn_changed);
		pthread_mutex_unlock(&lock);
		went_on(HANDOFFS);
	}
	return NULL;
}

static void *go_ahead(void *arg)
{
	(void)arg;
	for (;;) {
		mine->ahead++;
		if (mine->ahead % 1000 == 0)
			sched_yield();
		shared->shared_n = mine->private_n + 1;
		mine->private_n++;
		if (mine->ahead % 1000 == 0)
			went_on(SHARED_WRITES);
	}
	return NULL;
}

static void *follow(void *arg)
{
	(void)arg;
	for (;;) {
		mine->behind = mine->ahead;
		sched_yield();
	}
	return NULL;
}

/* The pattern lives in a register alone for a while, whatever interrupts. The loop is there once, and its place is
 * told. */
extern char spin_loop[], spin_loop_end[];
__attribute__((noinline, noclone)) static void keep(uint64_t pattern, uint64_t *low, uint64_t *high)
{
	asm volatile("movq %2, %%xmm7\n\tpunpcklqdq %%xmm7, %%xmm7\n\t"
		     "mov $200000, %%ecx\nspin_loop:\tdec %%ecx\n\tjnz spin_loop\nspin_loop_end:\t"
		     "movq %%xmm7, %0\n\tpsrldq $8, %%xmm7\n\tmovq %%xmm7, %1"
		     : "=&r"(*low), "=&r"(*high)
		     : "r"(pattern)
		     : "xmm7", "ecx", "cc");
}

static void *spin(void *arg)
{
	uint64_t pattern = 0x1122334455667788ull, low, high;

	(void)arg;
	mine->pattern = pattern;
	mine->loop = (uintptr_t)spin_loop;
	mine->loop_end = (uintptr_t)spin_loop_end;
	mine->spinner_tid = (int)syscall(SYS_gettid);
	for (;;) {
		keep(pattern, &low, &high);
		must(low == pattern && high == pattern, "vector registers");
		went_on(SPINS);
		usleep(500);
	}
	return NULL;
}

static void *send_tokens(void *arg)
{
	uint32_t token = 0;

	(void)arg;
	for (;;) {
		token = (uint32_t)mine->sent;
		mine->sent++;
		while (write(tokens[1], &token, sizeof(token)) != sizeof(token))
			must(errno == EINTR, "write to the pipe");
	}
	return NULL;
}

static void *write_file(void *arg)
{
	uint64_t n;

	mine->file_fd = open(arg, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	/* Its length does not change: the contents of files are not the fork's. */
	must(mine->file_fd >= 0 && !unlink(arg) && !ftruncate(mine->file_fd, 4096 * 8), "the file");
	for (;;) {
		n = mine->written;
		must(write(mine->file_fd, &n, sizeof(n)) == sizeof(n), "write to the file");
		mine->written++;
		if (mine->written % 4096 == 0) {
			must(lseek(mine->file_fd, 0, SEEK_SET) == 0, "seek");
			mine->written = 0;
		}
		went_on(FILE_WRITES);
		usleep(200);
	}
	return NULL;
}

static int events[2];
static void *pass_events(void *arg)
{
	int me = (int)(intptr_t)arg;
	uint64_t n = 1;

	for (;;) {
		while (read(events[me], &n, sizeof(n)) != sizeof(n))
			must(errno == EINTR, "read of the eventfd");
		went_on(EVENTS);
		must(write(events[!me], &n, sizeof(n)) == sizeof(n), "write to the eventfd");
	}
	return NULL;
}

static pthread_t start(void *(*what)(void *), intptr_t arg)
{
	pthread_t t;

	must(!pthread_create(&t, NULL, what, (void *)arg), "a thread");
	return t;
}

static void set_timers(void)
{
	struct sigaction alarms = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct sigaction timers = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 5000 }, { 0, 5000 } };
	struct sigevent by = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec period = { { 0, 7000000 }, { 0, 7000000 } };
	timer_t timer;

	must(!sigaction(SIGALRM, &alarms, NULL) && !sigaction(SIGRTMIN, &timers, NULL), "handlers");
	must(!setitimer(ITIMER_REAL, &every, NULL), "setitimer");
	must(!timer_create(CLOCK_MONOTONIC, &by, &timer) && !timer_settime(timer, 0, &period, NULL),
	     "timer");
}

static void worker(char *file)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	uint64_t one = 1;
	pthread_t waiter;

	mine->pipe_fd = tokens[1];
	events[0] = eventfd(0, EFD_CLOEXEC);
	events[1] = eventfd(0, EFD_CLOEXEC);
	sigaction(SIGUSR1, &sa, NULL);
	set_timers();
	start(bear_threads, 0);
	start(hand_off, 0);
	start(hand_off, 1);
	start(go_ahead, 0);
	start(follow, 0);
	start(spin, 0);
	waiter = start(send_tokens, 0);
	start(write_file, (intptr_t)file);
	start(pass_events, 0);
	start(pass_events, 1);
	must(write(events[0], &one, sizeof(one)) == sizeof(one), "the first event");
	for (;;) {
		must(!pthread_kill(waiter, SIGUSR1), "pthread_kill");
		went_on(SIGNALS_SENT);
		usleep(1000);
	}
}

static void receiver(void)
{
	uint32_t token;

	mine->pipe_fd = tokens[0];
	for (;;) {
		while (read(tokens[0], &token, sizeof(token)) != sizeof(token))
			must(errno == EINTR, "read of the pipe");
		must(token == (uint32_t)mine->received, "order in the pipe");
		mine->received++;
		went_on(PIPE_TOKENS);
		if (token % 64 == 0)
			usleep(100);
	}
}

static void forker(void)
{
	int status;
	pid_t pid;

	for (;;) {
		pid = vfork();
		if (!pid)
			_exit(3);
		must(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3,
		     "vfork");
		went_on(VFORKS);
		pid = fork();
		if (!pid) {
			mine->a = 7;
			usleep(300);
			_exit(mine->a == 7 ? 4 : 5);
		}
		must(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4,
		     "fork");
		went_on(FORKS);
	}
}

static pid_t process(void (*what)(void), int vpid)
{
	pid_t pid = fork();

	if (!pid) {
		char none;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gate[1]);
		must(read(gate[0], &none, 1) == 0, "the gate");
		close(gate[0]);
		what();
		_exit(1);
	}
	must(pid == vpid, "ids in the order of birth");
	return pid;
}

static void open_gate(void)
{
	close(gate[0]);
	close(gate[1]);
}

static char *file_name;
static void worker_here(void)
{
	worker(file_name);
}

/* What can be dumped and restored without help: nothing that the shadow does not keep. */
static void plain_worker(void)
{
	set_timers();
	start(hand_off, 0);
	start(hand_off, 1);
	start(go_ahead, 0);
	start(follow, 0);
	start(spin, 0);
	write_file(file_name);
}

int main(int argc, char **argv)
{
	bool plain = argc == 3;

	must(argc >= 2 && getpid() == 1, "first process, with the name of a file");
	file_name = argv[1];
	must(mmap((void *)SHARED_AT, 65536, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED &&
		     mmap((void *)PRIVATE_AT, 65536, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED,
	     "memory");
	must(!pipe(gate), "the gate");
	if (plain) {
		/* Nothing of the outside is left; and who restores it ends before it. */
		must(dup2(1, 2) == 2 && !prctl(PR_SET_PDEATHSIG, 0), "independence");
		process(plain_worker, WORKER);
		open_gate();
		for (;;)
			pause();
	}
	must(!pipe(tokens), "pipe");
	process(worker_here, WORKER);
	process(receiver, RECEIVER);
	process(forker, FORKER);
	open_gate();
	for (;;) {
		pid_t ended = wait(NULL);

		must(ended > FORKER, "one of the processes ended");
	}
}
