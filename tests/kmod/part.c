/* SPDX-License-Identifier: MIT */
/* Other ways to say who is forked: a cgroup; a part of a container, whose shadow lives in the container's own
 * namespace under new ids. And less of a shadow: memory and threads alone, two of them at a time.
 *	part CONTAINER */
#include <sys/stat.h>

#include "agent.h"

#define CGROUP "/sys/fs/cgroup/rrc-kmod"

/* Flags are the caller's, in *fork. */
static int fork_and_wait(int dev, struct rrc_fork_park *park, struct rrc_fork_fork *fork,
			 struct rrc_fork_process *p, int max)
{
	struct rrc_fork_release release;
	struct rrc_fork_wait wait;

	fork->version = RRC_FORK_VERSION;
	must_call(dev, RRC_FORK_PARK, park, "PARK");
	must_call(dev, RRC_FORK_FORK, fork, "FORK");
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE");
	must_call(dev, RRC_FORK_WAIT, &wait, "WAIT");
	return list(dev, p, max);
}

static bool same_pidns(pid_t a, pid_t b)
{
	char path[64], one[64] = "", two[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", a);
	if (readlink(path, one, sizeof(one) - 1) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", b);
	return readlink(path, two, sizeof(two) - 1) > 0 && !strcmp(one, two);
}

static char state_of(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (f)
		fclose(f);
	return state;
}

static void by_cgroup(int dev, pid_t container, const struct rrc_fork_process *p, int n)
{
	struct rrc_fork_park park = park_of(-1);
	struct rrc_fork_process q[64];
	struct rrc_fork_fork fork = { .flags = RRC_FORK_WANT_STATE };
	int which, members;

	park.by = RRC_FORK_BY_CGROUP;
	if (mkdir(CGROUP, 0755) && errno != EEXIST)
		die(CGROUP);
	for (int i = 0; i < n; i++) {
		FILE *f;

		/* One that had ended when it was asked for has no id here: and 0 would be ourselves. */
		if (p[i].pid <= 0)
			continue;
		f = fopen(CGROUP "/cgroup.procs", "w");
		/* A child may be gone by now. */
		if (!f || fprintf(f, "%d\n", p[i].pid) < 0 ||
		    (fclose(f) && p[i].vpid <= BASE_PROCESSES))
			die("cgroup.procs");
	}
	/* One that was born outside meanwhile ends soon. */
	park.fd = open(CGROUP, O_RDONLY | O_CLOEXEC);
	members = fork_and_wait(dev, &park, &fork, q, 64);
	check(members >= BASE_PROCESSES && of_vpid(q, members, INIT) &&
		      of_vpid(q, members, RECEIVER) && of_vpid(q, members, INIT)->pid == container,
	      "by cgroup: %d processes", members);
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	close(park.fd);
	check(goes_on(container, 5, &which), "and it goes on");
}

static void a_part(int dev, pid_t container, const struct rrc_fork_process *p, int n)
{
	__s32 pid = of_vpid(p, n, WORKER)->pid;
	struct rrc_fork_park park = park_of(-1);
	struct rrc_fork_process q[64];
	struct rrc_fork_fork fork = { .flags = RRC_FORK_WANT_STATE };
	struct private w;
	int which, members;

	park.by = RRC_FORK_BY_PIDS;
	park.pids = (unsigned long)&pid;
	park.n_pids = 1;
	members = fork_and_wait(dev, &park, &fork, q, 64);
	check(members == 1 && q[0].pid == pid && q[0].vpid == WORKER && q[0].shadow == fork.init,
	      "one process by its id");
	check(same_pidns(container, q[0].shadow) && state_of(q[0].shadow) == 'T',
	      "its shadow stands in the same namespace");
	check(read_memory(q[0].shadow, PRIVATE_AT, &w, sizeof(w)) && w.a - w.b <= 1 &&
		      w.behind <= w.ahead,
	      "and agrees with itself");
	check(goes_on(container, 5, &which), "the container does not notice");
	/* That a process is told to go on reaches its group; the shadow is of another. */
	kill(-container, SIGCONT);
	check(goes_on(container, 5, &which) && state_of(q[0].shadow) == 'T',
	      "nor does the shadow hear of it");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	check(!state_of(q[0].shadow) && goes_on(container, 5, &which),
	      "it is gone, the container is not");
}

static int descriptors(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		return -1;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static int records(const void *all, size_t size, unsigned int kind)
{
	int n = 0;

	for (const char *r = all, *end = r + size; r < end; r += ((struct rrc_fork_rec *)r)->size)
		n += ((struct rrc_fork_rec *)r)->kind == kind;
	return n;
}

/* The second is made while the first stands. */
static void memory_alone(pid_t container)
{
	struct rrc_fork_fork fork[2] = {
		{ .flags = RRC_FORK_WANT_MEMBERS | RRC_FORK_NO_FILES },
		{ .flags = RRC_FORK_WANT_MEMBERS | RRC_FORK_NO_FILES },
	};
	struct rrc_fork_park park = park_of(pidns_of(container));
	int dev[2] = { open_device(), open_device() }, open = 0, which;
	struct private w[2];
	size_t size;
	void *all;

	for (int i = 0; i < 2; i++) {
		struct rrc_fork_process p[64];
		int n = fork_and_wait(dev[i], &park, &fork[i], p, 64);

		for (int k = 0; k < n; k++)
			open += p[k].shadow > 0 ? descriptors(p[k].shadow) : 0;
		if (!read_memory(of_vpid(p, n, WORKER)->shadow, PRIVATE_AT, &w[i], sizeof(w[i])))
			die("the shadow's memory");
		if (!i)
			check(goes_on(container, 5, &which), "a shadow of memory alone stands");
	}
	check(!open, "it has no descriptors (%d)", open);
	all = state(dev[1], &size);
	check(records(all, size, RRC_FORK_THREAD) >= BASE_PROCESSES &&
		      !records(all, size, RRC_FORK_FILE) && !records(all, size, RRC_FORK_SOCKET),
	      "of which nothing is told");
	free(all);
	check(w[0].a < w[1].a && state_of(fork[0].init) == 'T' && state_of(fork[1].init) == 'T',
	      "another can be made beside it");
	for (int i = 0; i < 2; i++) {
		must_call(dev[i], RRC_FORK_DROP, NULL, "DROP");
		close(dev[i]);
	}
	check(goes_on(container, 5, &which), "and the container goes on");
}

int main(int argc, char **argv)
{
	struct rrc_fork_process p[64];
	struct rrc_fork_park park;
	struct rrc_fork_fork fork = { .flags = RRC_FORK_WANT_STATE };
	int dev, n;
	pid_t container;

	if (argc != 2)
		return 2;
	container = start_stress(argv[1]);
	dev = open_device();
	park = park_of(pidns_of(container));
	n = fork_and_wait(dev, &park, &fork, p, 64);
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	a_part(dev, container, p, n);
	by_cgroup(dev, container, p, n);
	memory_alone(container);
	close(dev);
	kill(container, SIGKILL);
	waitpid(container, NULL, 0);
	rmdir(CGROUP);
	return !all_ok;
}
