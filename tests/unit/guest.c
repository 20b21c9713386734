// SPDX-License-Identifier: MIT
/* Small programs under the replay engine, see guest.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest.h"

char guest_in[64], guest_out[64];
const char guest_digits[] = "0123456789";
int guest_pipe[2], guest_back[2];
bool guest_by_ptrace;

struct rrc_rec *guest_call(struct help_log *l, uint32_t tid, int nr, int64_t ret, uint64_t a,
			   uint64_t b, uint64_t c)
{
	struct rrc_rec *r = help_rec(l, RRC_REC_SYSCALL, tid);

	r->nr = (uint16_t)nr;
	r->ret = ret;
	r->args[0] = a;
	r->args[1] = b;
	r->args[2] = c;
	return r;
}

/* One segment, for the last record. */
void guest_seg(struct help_log *l, struct rrc_rec *r, int row, int dir, const void *data, size_t n)
{
	struct rrc_seg s = { .len = (uint32_t)n, .row = (uint8_t)row, .dir = (uint8_t)dir };
	size_t padded = (sizeof(s) + n + 7) & ~(size_t)7;

	memset(l->bytes + l->len, 0, padded);
	memcpy(l->bytes + l->len, &s, sizeof(s));
	memcpy(l->bytes + l->len + sizeof(s), data, n);
	r->nseg = 1;
	r->size += (uint32_t)padded;
	l->len += padded;
}

void guest_fifo(struct rrc_rec *r, uint64_t obj)
{
	r->fdkind = RRC_FD_FIFO;
	r->obj = obj;
}

void guest_ends(struct help_log *l, uint32_t tid, int code)
{
	struct rrc_rec *r = help_rec(l, RRC_REC_ENTER, tid);

	r->nr = RRC_NR_exit_group;
	r->args[0] = (uint64_t)code;
	r = help_rec(l, RRC_REC_DEATH, tid);
	r->ret = code << 8;
}

/* ---- guests ---- */

struct start {
	void (*guest)(void);
};

static int child(void *arg)
{
	const struct start *s = arg;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
	/* waits here while it is stopped; the log begins with this read */
	syscall(SYS_read, guest_pipe[0], &c, 1);
	s->guest();
	syscall(SYS_exit_group, 99);
	return 99;
}

/* Stands in a call: the first field of /proc/PID/syscall is its number. */
static void wait_in_read(pid_t pid)
{
	char path[64], line[128] = "";

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	while (strncmp(line, "0 ", 2)) {
		FILE *f = fopen(path, "r");

		cr_assert(f && fgets(line, sizeof(line), f));
		fclose(f);
		sched_yield();
	}
}

pid_t guest_start(void (*guest)(void))
{
	static char stack[65536] __attribute__((aligned(16)));
	static struct start s;
	int status;
	pid_t pid;

	cr_assert(pipe(guest_pipe) == 0 && pipe(guest_back) == 0);
	s.guest = guest;
	pid = clone(child, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, &s);
	if (pid < 0 && errno == EPERM)
		cr_skip_test("needs root");
	cr_assert(pid > 0);
	wait_in_read(pid);
	kill(pid, SIGSTOP);
	cr_assert(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	return pid;
}

/* The read that every guest starts in: end of file. */
void guest_begins(struct help_log *l)
{
	struct rrc_rec *r = guest_call(l, 1, RRC_NR_read, 0, (uint64_t)guest_pipe[0], 0, 1);

	guest_fifo(r, 1);
}

static struct rrc_engine *engine(pid_t pid, const struct help_log *l)
{
	struct rrc_engine_opts opts = {
		.fs_exact = true, .cpu = -1, .stall_ms = 2000, .by_ptrace = guest_by_ptrace
	};
	struct rrc_error err = { 0 };
	struct rrc_engine *e = rrc_engine_new(pid, l->bytes, l->len, &opts, &err);

	cr_assert(e, "%s", err.msg);
	return e;
}

/* The address of the byte that the guest reads first is on its stack: known from the kernel. */
static void set_first_buffer(pid_t pid, struct help_log *l)
{
	struct rrc_rec *r = (struct rrc_rec *)l->bytes;
	unsigned long long fd, buf;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	f = fopen(path, "r");
	cr_assert(f && fgets(line, sizeof(line), f));
	fclose(f);
	cr_assert(sscanf(line, "0 0x%llx 0x%llx", &fd, &buf) == 2, "%s", line);
	r->args[1] = buf;
}

int guest_run(pid_t pid, struct help_log *l, struct rrc_engine **e, struct rrc_error *err)
{
	set_first_buffer(pid, l);
	*e = engine(pid, l);
	return rrc_engine_run(*e, err);
}

/* Runs the log to its end, goes live, gives what the guest then writes. */
void guest_live(pid_t pid, struct help_log *l, char *buf, size_t size)
{
	struct pollfd p = { .fd = guest_back[0], .events = POLLIN };
	struct rrc_error err = { 0 };
	struct rrc_engine *e;
	ssize_t n;

	cr_assert(guest_run(pid, l, &e, &err) == 0, "%s", err.msg);
	cr_assert(poll(&p, 1, 0) == 0, "something was written before go-live");
	cr_assert(rrc_engine_golive(e, &err) == 0, "%s", err.msg);
	rrc_engine_free(e);
	cr_assert(poll(&p, 1, 10000) == 1);
	n = read(guest_back[0], buf, size - 1);
	cr_assert(n > 0);
	buf[n] = '\0';
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
