// SPDX-License-Identifier: MIT
/* The replay engine at go-live: what pipes, sockets and eventfds hold then. */
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "guest.h"

static int put_end, take_end;

static void puts_and_takes(void)
{
	syscall(SYS_write, put_end, guest_digits, 10);
	syscall(SYS_read, take_end, guest_in, 4);
	/* here the log ends */
	long n = syscall(SYS_read, take_end, guest_out, sizeof(guest_out));

	syscall(SYS_write, guest_back[1], guest_out, n);
	for (;;)
		syscall(SYS_pause);
}

/* Ten bytes are put in and four taken out, by the log; what is left then? */
static void puts_and_takes_log(struct help_log *l, int kind, const char *taken)
{
	struct rrc_rec *r;

	guest_begins(l);
	r = guest_call(l, 1, RRC_NR_write, 10, (uint64_t)put_end, (uint64_t)guest_digits, 10);
	r->fdkind = (uint8_t)kind;
	r->obj = 8;
	guest_seg(l, r, 0, RRC_SEG_IN, guest_digits, 10);
	r = guest_call(l, 1, RRC_NR_read, 4, (uint64_t)take_end, (uint64_t)guest_in, 4);
	r->fdkind = (uint8_t)kind;
	r->obj = kind == RRC_FD_UNIX ? 9 : 8;
	guest_seg(l, r, 0, RRC_SEG_OUT, taken, 4);
}

Test(engine, pipes_are_right_at_golive, .timeout = 30)
{
	struct help_log l = { .len = 0 };
	int fds[2];
	char buf[64];
	pid_t pid;

	cr_assert(pipe(fds) == 0);
	take_end = fds[0];
	put_end = fds[1];
	pid = guest_start(puts_and_takes);
	puts_and_takes_log(&l, RRC_FD_FIFO, "0123");
	guest_live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "456789");
}

Test(engine, pipes_that_were_not_empty_are_right_at_golive, .timeout = 30)
{
	struct help_log l = { .len = 0 };
	int fds[2];
	char buf[64];
	pid_t pid;

	cr_assert(pipe(fds) == 0 && write(fds[1], "AB", 2) == 2);
	take_end = fds[0];
	put_end = fds[1];
	pid = guest_start(puts_and_takes);
	puts_and_takes_log(&l, RRC_FD_FIFO, "AB01");
	guest_live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "23456789");
}

Test(engine, unix_sockets_are_right_at_golive, .timeout = 30)
{
	struct help_log l = { .len = 0 };
	int fds[2];
	char buf[64];
	pid_t pid;

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	take_end = fds[0];
	put_end = fds[1];
	pid = guest_start(puts_and_takes);
	puts_and_takes_log(&l, RRC_FD_UNIX, "0123");
	guest_live(pid, &l, buf, sizeof(buf));
	cr_assert_str_eq(buf, "456789");
}

static void counts(void)
{
	uint64_t *value = (uint64_t *)guest_in;

	syscall(SYS_write, put_end, guest_digits, 8);
	syscall(SYS_write, put_end, guest_digits + 1, 8);
	/* here the log ends */
	syscall(SYS_read, put_end, value, sizeof(*value));
	syscall(SYS_write, guest_back[1], value, sizeof(*value));
	for (;;)
		syscall(SYS_pause);
}

Test(engine, eventfds_are_right_at_golive, .timeout = 30)
{
	struct help_log l = { .len = 0 };
	uint64_t a, b;
	struct rrc_rec *r;
	char buf[64];
	pid_t pid;

	memcpy(&a, guest_digits, sizeof(a));
	memcpy(&b, guest_digits + 1, sizeof(b));
	put_end = eventfd(5, 0);
	pid = guest_start(counts);
	guest_begins(&l);
	for (int i = 0; i < 2; i++) {
		r = guest_call(&l, 1, RRC_NR_write, 8, (uint64_t)put_end,
			       (uint64_t)(guest_digits + i), 8);
		r->fdkind = RRC_FD_ANON;
		r->obj = 77;
		guest_seg(&l, r, 0, RRC_SEG_IN, guest_digits + i, 8);
	}
	guest_live(pid, &l, buf, sizeof(buf));
	memcpy(&a, (const uint64_t[]){ a + b + 5 }, sizeof(a));
	cr_assert(memcmp(buf, &a, sizeof(a)) == 0);
}
