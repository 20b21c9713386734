// SPDX-License-Identifier: MIT
/* The child that ends when nothing moves, see watchdog.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "util.h"
#include "watchdog.h"

#define LOOKS 8 /* times that it looks within its limit */

struct rrc_watchdog {
	pid_t pid;
	int line; /* our end; closed when we die */
	volatile uint64_t *moves; /* shared with the child */
};

static void __attribute__((noreturn))
watch(const volatile uint64_t *moves, int line, unsigned int limit_ms)
{
	uint64_t last = *moves;
	unsigned int still = 0;

	prctl(PR_SET_NAME, "rrc-watchdog");
	while (still < LOOKS) {
		struct pollfd p = { .fd = line, .events = POLLIN };

		if (poll(&p, 1, (int)rrc_max(limit_ms / LOOKS, 1u)) > 0)
			break;
		still = *moves == last ? still + 1 : 0;
		last = *moves;
	}
	_exit(0);
}

struct rrc_watchdog *rrc_watchdog_new(unsigned int limit_ms, struct rrc_error *err)
{
	struct rrc_watchdog *w = calloc(1, sizeof(*w));
	void *shared = mmap(NULL, sizeof(*w->moves), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int line[2];

	if (!w || shared == MAP_FAILED || pipe(line)) {
		rrc_fail(err, -errno, "watchdog: %s", strerror(errno));
		free(w);
		return NULL;
	}
	w->moves = shared;
	w->pid = fork();
	if (!w->pid) {
		if (dup2(line[0], 3) == 3) {
			close_range(4, ~0u, 0);
			watch(w->moves, 3, limit_ms);
		}
		_exit(1);
	}
	close(line[0]);
	w->line = line[1];
	if (w->pid < 0) {
		rrc_fail(err, -errno, "watchdog: %s", strerror(errno));
		rrc_watchdog_free(w);
		return NULL;
	}
	return w;
}

void rrc_watchdog_pat(struct rrc_watchdog *w)
{
	++*w->moves;
}

bool rrc_watchdog_is(const struct rrc_watchdog *w, pid_t pid)
{
	return w && w->pid == pid;
}

void rrc_watchdog_free(struct rrc_watchdog *w)
{
	if (!w)
		return;
	close(w->line);
	if (w->pid > 0) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0); /* -ECHILD if it ended and was waited for */
	}
	munmap((void *)w->moves, sizeof(*w->moves));
	free(w);
}
