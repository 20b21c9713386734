/* SPDX-License-Identifier: MIT */
/* Wrong calls are answered by an error, whatever they say, in whatever order, by several at once.
 *	hostile CONTAINER */
#include <grp.h>
#include <pthread.h>
#include <sys/stat.h>

#include "agent.h"

static int dev;

static void refused(unsigned long cmd, void *arg, int error, const char *what)
{
	int r = call(dev, cmd, arg);

	check(r == error, "%s: %s", what, strerror(r));
}

static void park_refused(struct rrc_fork_park p, int error, const char *what)
{
	refused(RRC_FORK_PARK, &p, error, what);
}

static void bad_park(pid_t container, int pidns)
{
	struct rrc_fork_park ok = park_of(pidns), p;
	__s32 nobody = 0x3ffffff, self = getpid(), pid = container, kernel_thread = 2;

	refused(RRC_FORK_PARK, NULL, EFAULT, "no argument");
	refused(_IOWR('R', 0xf0, char[200]), &ok, ENOTTY, "another size");
	refused(_IO('R', 0xff), NULL, ENOTTY, "another call");
	p = ok, p.version = RRC_FORK_VERSION + 1;
	park_refused(p, EINVAL, "another version");
	p = ok, p.zero = 1;
	park_refused(p, EINVAL, "what must be 0");
	p = ok, p.by = 0;
	park_refused(p, EINVAL, "by nothing");
	p = ok, p.by = 77;
	park_refused(p, EINVAL, "by what there is not");
	p = ok, p.hold_ms = RRC_FORK_HOLD_MS_MAX + 1;
	park_refused(p, EINVAL, "too long a pause");
	p = ok, p.try_us = ~0u;
	park_refused(p, EINVAL, "too long a try");
	p = ok, p.tries = ~0u;
	park_refused(p, EINVAL, "too many tries");
	p = ok, p.fd = -1;
	park_refused(p, EBADF, "no descriptor");
	p = ok, p.fd = dev;
	park_refused(p, EINVAL, "a descriptor of something else");
	p = ok, p.fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	park_refused(p, EINVAL, "another kind of namespace");
	close(p.fd);
	p = ok, p.fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	park_refused(p, EINVAL, "the host's namespace");
	close(p.fd);
	p = ok, p.by = RRC_FORK_BY_CGROUP;
	park_refused(p, EBADF, "a namespace as cgroup");
	p.fd = open("/sys/fs/cgroup", O_RDONLY | O_CLOEXEC);
	park_refused(p, EINVAL, "the host's cgroup");
	close(p.fd);
	p = ok, p.by = RRC_FORK_BY_PIDS, p.n_pids = 0;
	park_refused(p, EINVAL, "an empty list");
	p.n_pids = RRC_FORK_PIDS_MAX + 1;
	park_refused(p, EINVAL, "too long a list");
	p.n_pids = 1, p.pids = 0;
	park_refused(p, EFAULT, "a list at 0");
	p.pids = ~0ull << 12;
	park_refused(p, EFAULT, "a list in the kernel");
	p.pids = (unsigned long)&nobody;
	park_refused(p, ESRCH, "a process that there is not");
	p.pids = (unsigned long)&kernel_thread;
	park_refused(p, ESRCH, "a thread of the kernel");
	p.pids = (unsigned long)&self;
	park_refused(p, EDEADLK, "oneself");
	p.pids = (unsigned long)&pid;
	if (!check(!call(dev, RRC_FORK_PARK, &p), "a list with the container's first process") ||
	    p.processes < BASE_PROCESSES)
		check(false, "with %u processes only", p.processes);
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
}

static void bad_order(int pidns)
{
	struct rrc_fork_park park = park_of(pidns);
	struct rrc_fork_fork fork = { .version = RRC_FORK_VERSION };
	struct rrc_fork_process p[64];
	struct rrc_fork_list l = { .processes = (unsigned long)p, .room = 64 };
	struct rrc_fork_state s = { 0 };
	struct rrc_fork_release release;
	struct rrc_fork_wait wait;
	const struct {
		unsigned long cmd;
		void *arg;
		const char *name;
	} later[] = {
		{ RRC_FORK_FORK, &fork, "FORK" }, { RRC_FORK_RELEASE, &release, "RELEASE" },
		{ RRC_FORK_WAIT, &wait, "WAIT" }, { RRC_FORK_LIST, &l, "LIST" },
		{ RRC_FORK_STATE, &s, "STATE" },  { RRC_FORK_DROP, NULL, "DROP" },
	};
	char what[64];

	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		snprintf(what, sizeof(what), "%s before PARK", later[i].name);
		refused(later[i].cmd, later[i].arg, EINVAL, what);
	}
	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	refused(RRC_FORK_PARK, &park, EBUSY, "PARK twice");
	refused(RRC_FORK_LIST, &l, EINVAL, "LIST before FORK");
	refused(RRC_FORK_STATE, &s, EINVAL, "STATE before FORK");
	refused(RRC_FORK_WAIT, &wait, EINVAL, "WAIT before FORK");
	fork.flags = 8;
	refused(RRC_FORK_FORK, &fork, EINVAL, "FORK with a flag that there is not");
	fork.flags = 0;
	must_call(dev, RRC_FORK_FORK, &fork, "FORK");
	refused(RRC_FORK_FORK, &fork, EINVAL, "FORK twice");
	refused(RRC_FORK_STATE, &s, EINVAL, "STATE that was not asked for");
	l.room = 1;
	refused(RRC_FORK_LIST, &l, ENOSPC, "LIST without room");
	l.room = 64, l.processes = 8;
	refused(RRC_FORK_LIST, &l, EFAULT, "LIST to nowhere");
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE");
	refused(RRC_FORK_RELEASE, &release, EINVAL, "RELEASE twice");
	refused(RRC_FORK_PARK, &park, EBUSY, "PARK with a shadow");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
	must_call(dev, RRC_FORK_PARK, &park, "PARK");
	must_call(dev, RRC_FORK_RELEASE, &release, "RELEASE without FORK");
	refused(RRC_FORK_FORK, &fork, EINVAL, "FORK after RELEASE");
	must_call(dev, RRC_FORK_DROP, NULL, "DROP");
}

static void without_rights(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (chmod(RRC_FORK_DEVICE, 0666) || setgroups(0, NULL) || setgid(65534) ||
		    setuid(65534))
			_exit(2);
		_exit(open(RRC_FORK_DEVICE, O_RDWR) < 0 && errno == EPERM ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	check(!status && !chmod(RRC_FORK_DEVICE, 0600), "whoever may not: EPERM");
}

static uint32_t random_number(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Nearly right calls: the right shapes, some wrong values. */
static void random_call(int fd, uint32_t *seed, int pidns, const __s32 *pids)
{
	static const unsigned long cmds[] = { RRC_FORK_PARK, RRC_FORK_FORK, RRC_FORK_RELEASE,
					      RRC_FORK_WAIT, RRC_FORK_LIST, RRC_FORK_STATE,
					      RRC_FORK_DROP };
	static __thread char room[1 << 16];
	union {
		struct rrc_fork_park park;
		struct rrc_fork_fork fork;
		struct rrc_fork_list list;
		struct rrc_fork_state state;
		uint32_t words[20];
	} arg;
	unsigned long cmd = cmds[random_number(seed) % 7];

	for (int i = 0; i < 20; i++)
		arg.words[i] =
			random_number(seed) % 3 ? random_number(seed) % 4 : random_number(seed);
	if (cmd == RRC_FORK_PARK && random_number(seed) % 4) {
		arg.park = park_of(pidns);
		arg.park.tries = 1 + random_number(seed) % 3;
		arg.park.try_us = 1 + random_number(seed) % 8000;
		arg.park.hold_ms = 1 + random_number(seed) % 30;
		if (random_number(seed) % 2) {
			arg.park.by = RRC_FORK_BY_PIDS;
			arg.park.pids = (unsigned long)pids;
			arg.park.n_pids = 1 + random_number(seed) % 3;
		}
	}
	if (cmd == RRC_FORK_FORK)
		arg.fork = (struct rrc_fork_fork){ .version = RRC_FORK_VERSION,
						   .flags = random_number(seed) % 9 };
	if (cmd == RRC_FORK_LIST || cmd == RRC_FORK_STATE) {
		arg.list.processes =
			random_number(seed) % 2 ? (unsigned long)room : random_number(seed);
		arg.state.room = random_number(seed) % (sizeof(room) / 16);
	}
	call(fd, cmd, &arg);
}

struct caller {
	int fd, pidns;
	uint32_t seed;
	__s32 pids[3];
	double end;
	int calls;
};

static void *call_at_random(void *arg)
{
	struct caller *c = arg;

	for (; now() < c->end; c->calls++)
		random_call(c->fd, &c->seed, c->pidns, c->pids);
	return NULL;
}

/* Two on one descriptor, a third with one of its own. */
static void many_at_once(pid_t container, int pidns)
{
	int other = open_device(), which = -1, calls = 0;
	struct caller c[3];
	pthread_t t[3];

	for (int i = 0; i < 3; i++) {
		c[i] = (struct caller){
			i < 2 ? dev : other,	     pidns,	(uint32_t)i * 77 + 5,
			{ container, 0x3ffffff, 2 }, now() + 4, 0
		};
		if (pthread_create(&t[i], NULL, call_at_random, &c[i]))
			die("thread");
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		calls += c[i].calls;
	}
	close(other);
	check(goes_on(container, 10, &which),
	      "%d calls at random by three at once; the container goes on (%d)", calls, which);
}

int main(int argc, char **argv)
{
	pid_t container;
	int pidns, which;

	if (argc != 2)
		return 2;
	container = start_stress(argv[1]);
	pidns = pidns_of(container);
	dev = open_device();
	without_rights();
	bad_park(container, pidns);
	bad_order(pidns);
	many_at_once(container, pidns);
	close(dev);
	for (double end = now() + 5; param("sessions") && now() < end;)
		usleep(1000);
	check(goes_on(container, 10, &which) && !param("sessions"), "nothing is left of it");
	return !all_ok;
}
