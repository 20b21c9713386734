/* SPDX-License-Identifier: MIT */
/* The agent is killed in each phase of a fork: the originals go on, the shadow goes. Then what ends a pause
 * without it: the clock, an original that is killed, a thread that cannot be parked.
 *	phases CONTAINER */
#include "agent.h"

enum {
	PHASES = 10
};

static void whole_fork(int pidns)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION, .flags = RRC_FORK_WANT_STATE };
	struct rrc_fork_park park = park_of(pidns);
	struct rrc_fork_release release;
	struct rrc_fork_wait wait;
	int dev = open_device();

	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	must_call(dev, RRC_FORK_FORK, &fork, "FORK");
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE");
	must_call(dev, RRC_FORK_WAIT, &wait, "WAIT");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	close(dev);
}

static int processes(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	int n = 0;

	while (proc && (d = readdir(proc))) {
		char path[64], link[64] = "";

		snprintf(path, sizeof(path), "/proc/%.16s/ns/pid", d->d_name);
		n += d->d_name[0] > '0' && d->d_name[0] <= '9' &&
		     readlink(path, link, sizeof(link)) > 0;
	}
	if (proc)
		closedir(proc);
	return n;
}

/* Pid namespaces beside ours and the container's: those of shadows. */
static bool shadows_gone(pid_t container, double seconds)
{
	double end = now() + seconds;
	char ours[64] = "", its[64] = "", path[64], link[64];
	struct dirent *d;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", container);
	if (readlink("/proc/self/ns/pid", ours, sizeof(ours) - 1) < 0 ||
	    readlink(path, its, sizeof(its) - 1) < 0)
		return false;
	do {
		DIR *proc = opendir("/proc");

		n = 0;
		while (proc && (d = readdir(proc))) {
			memset(link, 0, sizeof(link));
			snprintf(path, sizeof(path), "/proc/%.16s/ns/pid", d->d_name);
			if (d->d_name[0] > '0' && d->d_name[0] <= '9' &&
			    readlink(path, link, sizeof(link) - 1) > 0)
				n += strcmp(link, ours) && strcmp(link, its);
		}
		if (proc)
			closedir(proc);
		if (!n && !param("sessions"))
			return true;
		usleep(1000);
	} while (now() < end);
	printf("# %d processes of shadows, %ld forks, %d processes\n", n, param("sessions"),
	       processes());
	return false;
}

static void kill_in(pid_t container, int pidns, int phase)
{
	double end = now() + 10, killed;
	int which = -1, status;
	pid_t agent;
	bool on;

	set_stop(phase);
	agent = fork();
	if (!agent) {
		whole_fork(pidns);
		_exit(0);
	}
	while (param("at") != phase && now() < end)
		usleep(500);
	if (param("at") != phase) {
		check(false, "phase %d is never reached", phase);
		kill(agent, SIGKILL);
		waitpid(agent, &status, 0);
		set_stop(0);
		return;
	}
	kill(agent, SIGKILL);
	killed = now();
	waitpid(agent, &status, 0);
	set_stop(0);
	on = goes_on(container, 5, &which);
	killed = now() - killed;
	check(on && shadows_gone(container, 5),
	      "agent killed in phase %d: originals go on (%.0f ms, %d), shadow gone", phase,
	      killed * 1e3, which);
}

/* Somebody else has the descriptor too. */
static void kill_with_heir(pid_t container, int pidns)
{
	int which, status, ready[2];
	pid_t agent, heir;

	if (pipe(ready))
		die("pipe");
	agent = fork();
	if (!agent) {
		struct rrc_fork_fork fork_now = { .version = RRC_FORK_VERSION };
		struct rrc_fork_park park = park_of(pidns);
		int dev = open_device();

		heir = fork();
		if (!heir) {
			pause();
			_exit(0);
		}
		must_call(dev, RRC_FORK_PARK, &park, "PARK");
		must_call(dev, RRC_FORK_FORK, &fork_now, "FORK");
		if (write(ready[1], &heir, sizeof(heir)) < 0)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(ready[0], &heir, sizeof(heir)) != sizeof(heir))
		die("agent with an heir");
	kill(agent, SIGKILL);
	waitpid(agent, &status, 0);
	check(goes_on(container, 5, &which),
	      "agent killed, its child has the device open: originals go on");
	kill(heir, SIGKILL);
	check(shadows_gone(container, 5), "and the shadow goes with the child");
	close(ready[0]);
	close(ready[1]);
}

/* The agent is killed at any moment. */
static void kill_anywhere(pid_t container, int pidns, int times)
{
	int which = -1, status, good = 0;

	for (int i = 0; i < times; i++) {
		pid_t agent = fork();

		if (!agent) {
			for (;;)
				whole_fork(pidns);
		}
		usleep((useconds_t)(3000 + i * 1777 % 40000));
		kill(agent, SIGKILL);
		waitpid(agent, &status, 0);
		good += goes_on(container, 5, &which);
	}
	check(good == times && shadows_gone(container, 5), "agent killed at %d of %d other moments",
	      good, times);
}

static void by_the_clock(pid_t container, int pidns)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION };
	struct rrc_fork_park park = park_of(pidns);
	struct rrc_fork_release release;
	int dev = open_device(), which;

	park.hold_ms = 50;
	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	check(goes_on(container, 5, &which), "nobody releases: originals go on by themselves");
	check(call(dev, RRC_FORK_FORK, &fork) == ETIMEDOUT, "FORK after that is refused");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	must_call(dev, RRC_FORK_FORK, &fork, "FORK");
	check(goes_on(container, 5, &which) && call(dev, RRC_FORK_RELEASE, &release) == ETIMEDOUT,
	      "RELEASE after the time says so");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	close(dev);
}

/* By list, so that the ids are those of the host. */
static pid_t host_pid(int dev, int pidns, int vpid)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION };
	struct rrc_fork_park park = park_of(pidns);
	struct rrc_fork_process p[64];
	const struct rrc_fork_process *found;

	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	must_call(dev, RRC_FORK_FORK, &fork, "FORK");
	found = of_vpid(p, list(dev, p, 64), vpid);
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	return found ? found->pid : -1;
}

static void unparkable(pid_t container, int pidns)
{
	struct rrc_fork_park park = park_of(pidns);
	int dev = open_device(), which, r;
	pid_t receiver = host_pid(dev, pidns, RECEIVER);
	char path[64], state = 0;
	double begin;
	FILE *stat;

	kill(receiver, SIGSTOP);
	snprintf(path, sizeof(path), "/proc/%d/stat", receiver);
	while (state != 'T') {
		stat = fopen(path, "r");
		if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
			die("%s", path);
		fclose(stat);
	}
	/* Time enough for all the others, also in an emulator. */
	park.try_us = 30000;
	park.tries = 3;
	begin = now();
	r = call(dev, RRC_FORK_PARK, &park);
	check(r == EAGAIN && park.blocker == receiver && park.tried == 3 && now() - begin < 0.6,
	      "a stopped process: given up after %.0f ms (%s)", (now() - begin) * 1e3, strerror(r));
	kill(receiver, SIGCONT);
	check(goes_on(container, 5, &which), "and the others went on");
	park = park_of(pidns);
	check(!call(dev, RRC_FORK_PARK, &park), "afterwards it parks");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	close(dev);
}

/* Last: the container does not live on. */
static void killed_original(pid_t container, int pidns)
{
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION };
	struct rrc_fork_park park = park_of(pidns);
	int dev = open_device(), status;
	double end = now() + 5;
	pid_t receiver = host_pid(dev, pidns, RECEIVER);
	char path[64];

	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	kill(receiver, SIGKILL);
	/* In the pause nobody takes its end: it is there till then, without memory. */
	snprintf(path, sizeof(path), "/proc/%d/exe", receiver);
	while (readlink(path, (char[64]){ 0 }, 64) > 0 && now() < end)
		usleep(1000);
	check(call(dev, RRC_FORK_FORK, &fork) == ESRCH, "an original killed in the pause: no fork");
	kill(container, SIGKILL);
	check(waitpid(container, &status, 0) == container, "a parked container can be killed");
	close(dev);
}

int main(int argc, char **argv)
{
	pid_t container;
	int pidns;

	if (argc != 2)
		return 2;
	container = start_stress(argv[1]);
	pidns = pidns_of(container);
	for (int phase = 1; phase <= PHASES; phase++)
		kill_in(container, pidns, phase);
	kill_with_heir(container, pidns);
	kill_anywhere(container, pidns, 10);
	by_the_clock(container, pidns);
	unparkable(container, pidns);
	killed_original(container, pidns);
	return !all_ok;
}
