// SPDX-License-Identifier: MIT
/* Calls answered inside the program: the same checks and the same words as by ptrace, and nothing left at go-live. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "guest.h"
#include "sites.h"

#define ROUNDS 100

static const char hello[] = "hello, world";

/* What a guest does: each round takes a line and gives it back, whole or in pieces. */
static void echoes(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n = read(7, guest_in, sizeof(guest_in));

		if (write(8, guest_in, (size_t)n) != n)
			break;
	}
	syscall(SYS_exit_group, 7);
}

static void one_echo(struct help_log *l, const char *written)
{
	size_t n = strlen(written);
	struct rrc_rec *r;

	r = guest_call(l, 1, RRC_NR_read, (int64_t)n, 7, (uint64_t)guest_in, sizeof(guest_in));
	r->fdkind = RRC_FD_TCP;
	guest_seg(l, r, 0, RRC_SEG_OUT, hello, n);
	r = guest_call(l, 1, RRC_NR_write, (int64_t)n, 8, (uint64_t)guest_in, n);
	r->fdkind = RRC_FD_TCP;
	guest_seg(l, r, 0, RRC_SEG_IN, written, n);
}

Test(inproc, answers_inside_the_program, .timeout = 30)
{
	const struct rrc_engine_report *rep;
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(echoes);

	guest_begins(&l);
	for (int i = 0; i < ROUNDS; i++)
		one_echo(&l, hello);
	guest_ends(&l, 1, 7);
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	rep = rrc_engine_report(e);
	cr_assert(rep->calls == 2 * ROUNDS + 2 && rep->deaths == 1, "%lu", rep->calls);
	cr_assert(rep->outputs == ROUNDS && rep->output_bytes == ROUNDS * strlen(hello));
	cr_assert(rep->passed == rep->records);
	cr_assert(rep->inproc > ROUNDS, "only %lu inside the program", rep->inproc);
	rrc_engine_kill(e);
}

/* Runs a log whose record differs, both ways; they must say the same. */
static void says_the_same(void (*guest)(void), void (*log)(struct help_log *l), const char *what)
{
	static struct help_log l;
	struct rrc_error err[2] = { { 0 } };

	for (int i = 0; i < 2; i++) {
		struct rrc_engine *e;
		pid_t pid = guest_start(guest);

		l.len = 0;
		log(&l);
		guest_by_ptrace = i;
		cr_assert(guest_run(pid, &l, &e, &err[i]) == -EILSEQ, "%s", err[i].msg);
		cr_assert(i || rrc_engine_report(e)->inproc > 20);
		rrc_engine_kill(e);
	}
	guest_by_ptrace = false;
	cr_assert_str_eq(err[0].msg, err[1].msg);
	cr_assert(strstr(err[0].msg, what), "%s", err[0].msg);
}

static void altered_output(struct help_log *l)
{
	guest_begins(l);
	for (int i = 0; i < ROUNDS; i++)
		one_echo(l, i == 50 ? "hello, xorld" : hello);
	guest_ends(l, 1, 7);
}

Test(inproc, names_other_output, .timeout = 30)
{
	says_the_same(echoes, altered_output, "hello, xorld");
}

static void altered_argument(struct help_log *l)
{
	guest_begins(l);
	for (int i = 0; i < ROUNDS; i++) {
		size_t at = l->len;

		one_echo(l, hello);
		if (i == 50)
			((struct rrc_rec *)(l->bytes + at))->args[2] = 63;
	}
	guest_ends(l, 1, 7);
}

Test(inproc, names_other_argument, .timeout = 30)
{
	says_the_same(echoes, altered_argument, "argument 3");
}

static void another_call(struct help_log *l)
{
	guest_begins(l);
	for (int i = 0; i < ROUNDS; i++) {
		one_echo(l, hello);
		if (i == 50)
			guest_call(l, 1, RRC_NR_getppid, 0, 0, 0, 0);
	}
	guest_ends(l, 1, 7);
}

Test(inproc, names_another_call, .timeout = 30)
{
	says_the_same(echoes, another_call, "getppid");
}

/* In pieces, and once from where there is no memory. */
static struct iovec pieces[2] = { { guest_out, 5 }, { guest_out + 20, 7 } };
static struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
static bool goes_wrong;

static void scatters(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n = readv(7, pieces, 2);

		if (goes_wrong && i == 50)
			pieces[1].iov_base = (void *)4096;
		if (sendmsg(8, &message, 0) != n)
			break;
	}
	syscall(SYS_exit_group, 7);
}

static void scattered(struct help_log *l)
{
	size_t n = strlen(hello);

	guest_begins(l);
	for (int i = 0; i < ROUNDS; i++) {
		struct rrc_rec *r =
			guest_call(l, 1, RRC_NR_readv, (int64_t)n, 7, (uint64_t)pieces, 2);

		r->fdkind = RRC_FD_TCP;
		guest_seg(l, r, 0, RRC_SEG_OUT, hello, n);
		r = guest_call(l, 1, RRC_NR_sendmsg, (int64_t)n, 8, (uint64_t)&message, 0);
		r->fdkind = RRC_FD_TCP;
		guest_seg(l, r, 0, RRC_SEG_IN, hello, n);
	}
	guest_ends(l, 1, 7);
}

Test(inproc, bytes_in_pieces, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct help_log l = { .len = 0 };
	struct rrc_engine *e;
	pid_t pid = guest_start(scatters);

	scattered(&l);
	cr_assert(guest_run(pid, &l, &e, &err) == 0, "%s", err.msg);
	cr_assert(rrc_engine_report(e)->inproc > ROUNDS);
	rrc_engine_kill(e);
}

Test(inproc, memory_that_is_not_there, .timeout = 30)
{
	goes_wrong = true;
	says_the_same(scatters, scattered, "not readable");
}

/* ---- go-live ---- */

static struct rrc_site site[RRC_SITES];
static size_t sites;

/* What our code would be in, and is not: the places in libc, and mappings. */
static void looks_after_itself(void)
{
	char line[512];
	bool same = true;
	FILE *f;

	for (int i = 0; i < ROUNDS; i++)
		if (read(7, guest_in, sizeof(guest_in)) != 12)
			break;
	/* here the log ends */
	f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof(line), f))
		same &= strncmp(line, "1c0000", 6) && strncmp(line, "1d0000", 6);
	for (size_t i = 0; i < sites; i++)
		same &= !memcmp((void *)site[i].addr, site[i].bytes, site[i].len);
	dprintf(guest_back[1], f && same ? "plain" : "changed");
	for (;;)
		syscall(SYS_pause);
}

Test(inproc, nothing_is_left_at_golive, .timeout = 30)
{
	struct help_log l = { .len = 0 };
	uint64_t image;
	char buf[64];
	pid_t pid;
	int n;

	n = rrc_sites_find(getpid(), site, RRC_SITES, &image);
	cr_assert(n > 10, "%d places in libc", n);
	sites = (size_t)n;
	pid = guest_start(looks_after_itself);
	guest_begins(&l);
	for (int i = 0; i < ROUNDS; i++) {
		struct rrc_rec *r =
			guest_call(&l, 1, RRC_NR_read, 12, 7, (uint64_t)guest_in, sizeof(guest_in));

		r->fdkind = RRC_FD_TCP;
		guest_seg(&l, r, 0, RRC_SEG_OUT, hello, 12);
	}
	guest_live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "plain");
}

/* ---- places ---- */

Test(sites, are_whole_instructions)
{
	static const uint8_t code[] = {
		0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05, /* mov $1,%eax; syscall */
		0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0xc3, /* cmp $-4096,%rax; ret */
		0x41, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05, /* mov $1,%r8d; syscall */
		0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0xc3, /* … */
		0x80, 0x3d, 0x10, 0x00, 0x00, 0x00, 0x00, 0x74, 0x20, /* cmpb $0,16(%rip); je */
		0x31, 0xc0, 0x0f, 0x05, /* xor %eax,%eax; syscall */
		0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0xc3, /* cmp $-4095,%rax; ret */
	};
	uint8_t thunk[RRC_SITE_THUNK];
	struct rrc_site s[4];
	int32_t by;

	cr_assert(rrc_sites_in(code, sizeof(code), 0x1000, s, 4) == 1, "the first has none before");
	cr_assert(s[0].addr == 0x101d && s[0].call == 0x1028 && s[0].len == 7);
	cr_assert(rrc_sites_in(code - 0, sizeof(code), 0x1000, s, 0) == 0);
	cr_assert(rrc_site_thunk(&s[0], 3, 0x2000, 0x3000, thunk) == 0);
	/* cmpb looks at 0x1034 from where it is now */
	memcpy(&by, thunk + RRC_SITE_REAL + 2, sizeof(by));
	cr_assert(0x2000 + RRC_SITE_REAL + 7 + by == 0x101d + 7 + 16);
	cr_assert(rrc_site_thunk(&s[0], 3, 0x200000000, 0x200003000, thunk) == -ERANGE);
}
