/* SPDX-License-Identifier: MIT */
/* Shadows are dumped by CRIU, the first wholly, the second only what was written since, and the second is
 * restored: it goes on where the container was in the second pause.
 *	dump CONTAINER CRIU */
#include <sys/stat.h>

#include "agent.h"

#define DIR_NAME "/tmp/kmod-dump"

static const char *criu;

/* Runs CRIU, shows the end of its log when it fails. */
static bool run_criu(const char *log, char *const argv[])
{
	char line[256];
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execv(criu, argv);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) == pid && status == 0)
		return true;
	snprintf(line, sizeof(line), "grep -nE 'Error|Warn' %s | tail -n 12 | sed 's/^/# /'", log);
	if (system(line))
		printf("# no log\n");
	return false;
}

/* So that the next copy tells what was written since this one. */
static void forget_written(const struct rrc_fork_process *p, int n)
{
	char path[64];

	for (int i = 0; i < n; i++) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/clear_refs", p[i].pid);
		f = fopen(path, "w");
		if (!f || fputs("4", f) < 0 || fclose(f))
			die("%s", path);
	}
}

struct numbers {
	struct private w;
	struct shared s;
};

static void read_numbers(const struct rrc_fork_process *p, int n, bool shadow, struct numbers *to)
{
	const struct rrc_fork_process *worker = of_vpid(p, n, WORKER);
	pid_t pid = shadow ? worker->shadow : worker->pid;

	if (!read_memory(pid, PRIVATE_AT, &to->w, sizeof(to->w)) ||
	    !read_memory(pid, SHARED_AT, &to->s, sizeof(to->s)))
		die("the worker's numbers");
}

/* One copy, dumped; the shadow's first process is gone afterwards. */
static bool dump(int dev, int pidns, const char *dir, const char *parent, struct numbers *numbers)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION };
	struct rrc_fork_park park = park_of(pidns);
	struct rrc_fork_process p[16];
	struct rrc_fork_release release;
	struct rrc_fork_wait wait;
	char pid[16], log[128];
	char *argv[] = { (char *)criu,
			 (char *)"dump",
			 (char *)"-t",
			 pid,
			 (char *)"-D",
			 (char *)dir,
			 (char *)"-o",
			 (char *)"dump.log",
			 (char *)"-v4",
			 (char *)"--track-mem",
			 (char *)"--leave-stopped",
			 (char *)"--ghost-limit",
			 (char *)"16M",
			 parent ? (char *)"--prev-images-dir" : NULL,
			 (char *)parent,
			 NULL };
	bool ok;
	int n;

	mkdir(dir, 0700);
	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	must_call(dev, RRC_FORK_FORK, &fork, "FORK");
	n = list(dev, p, 16);
	forget_written(p, n);
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE");
	must_call(dev, RRC_FORK_WAIT, &wait, "WAIT");
	read_numbers(p, n, true, numbers);
	snprintf(pid, sizeof(pid), "%d", fork.init);
	snprintf(log, sizeof(log), "%s/dump.log", dir);
	ok = run_criu(log, argv);
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	return ok;
}

static long pages(const char *dir)
{
	char cmd[160];
	long n = -1;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "cat %s/pages-*.img | wc -c", dir);
	f = popen(cmd, "r");
	if (!f || fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		pclose(f);
	return n / 4096;
}

/* Its worker is the only child of the restored first process. */
static pid_t worker_of(pid_t init)
{
	char path[96];
	pid_t pid = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", init, init);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%d", &pid) != 1)
		pid = -1;
	if (f)
		fclose(f);
	return pid;
}

static bool not_before(const struct numbers *a, const struct numbers *b)
{
	for (int i = 0; i < PROGRESS; i++)
		if (a->s.progress[i] > b->s.progress[i])
			return false;
	return a->w.a <= b->w.a && a->w.ahead <= b->w.ahead && a->w.private_n <= b->w.private_n;
}

static void restore(const struct numbers *dumped)
{
	char *argv[] = { (char *)criu,
			 (char *)"restore",
			 (char *)"-D",
			 (char *)DIR_NAME "/2",
			 (char *)"-o",
			 (char *)"restore.log",
			 (char *)"-v4",
			 (char *)"-d",
			 (char *)"--pidfile",
			 (char *)DIR_NAME "/2/pid",
			 NULL };
	struct numbers first, then;
	int which = -1, init;
	pid_t worker;
	FILE *f;

	if (!check(run_criu(DIR_NAME "/2/restore.log", argv), "the second shadow is restored"))
		return;
	f = fopen(DIR_NAME "/2/pid", "r");
	if (!f || fscanf(f, "%d", &init) != 1)
		die("pid file");
	fclose(f);
	worker = worker_of(init);
	if (!read_memory(worker, PRIVATE_AT, &first.w, sizeof(first.w)) ||
	    !read_memory(worker, SHARED_AT, &first.s, sizeof(first.s)))
		die("restored worker %d", worker);
	check(!memcmp(&first, dumped, sizeof(first)), "with the numbers of the pause");
	/* A shadow stands stopped, so what is restored from it does too. */
	kill(worker, SIGCONT);
	kill(init, SIGCONT);
	check(these_go_on(worker, 10, PLAIN_PROGRESS & ~(1u << ALARMS | 1u << TIMER_SIGNALS),
			  &which),
	      "it goes on (%d)", which);
	usleep(50000);
	check(read_memory(worker, PRIVATE_AT, &then.w, sizeof(then.w)) &&
		      read_memory(worker, SHARED_AT, &then.s, sizeof(then.s)) &&
		      not_before(dumped, &then) && !then.s.wrong,
	      "and found nothing wrong");
	kill(init, SIGKILL);
}

int main(int argc, char **argv)
{
	char *container[] = { argv[1], (char *)DIR_NAME "/file", (char *)"plain", NULL };
	struct numbers one, two;
	int dev, pidns, which;
	double end = now() + 10;
	pid_t pid;

	if (argc != 3)
		return 2;
	criu = argv[2];
	mkdir(DIR_NAME, 0700);
	pid = spawn_container(container);
	while (!read_memory(pid, SHARED_AT, &which, sizeof(which)) && now() < end)
		usleep(1000);
	if (!these_go_on(pid, 10, PLAIN_PROGRESS, &which))
		die("the container does not start: %d", which);
	pidns = pidns_of(pid);
	dev = open_device();
	if (check(dump(dev, pidns, DIR_NAME "/1", NULL, &one), "a shadow is dumped") &&
	    check(these_go_on(pid, 10, PLAIN_PROGRESS, &which),
		  "the container goes on meanwhile") &&
	    check(dump(dev, pidns, DIR_NAME "/2", "../1", &two), "the next is dumped after it")) {
		long all = pages(DIR_NAME "/1"), some = pages(DIR_NAME "/2");

		check(not_before(&one, &two) && some > 0 && some < all / 2, "%ld pages, then %ld",
		      all, some);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		restore(&two);
	}
	close(dev);
	return !all_ok;
}
