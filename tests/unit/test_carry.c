/* SPDX-License-Identifier: MIT */
/* What records leave in the kernel: nothing that is unknown passes for harmless. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "carry.h"
#include "syscalls.h"

static enum rrc_carry of(unsigned int nr, int64_t ret, unsigned int fdkind)
{
	struct rrc_rec r = {
		.kind = RRC_REC_SYSCALL, .nr = (uint16_t)nr, .ret = ret, .fdkind = (uint8_t)fdkind
	};

	return rrc_carry_of(&r);
}

Test(carry, of_a_servers_calls)
{
	cr_assert_eq(of(RRC_NR_read, 5, RRC_FD_TCP), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_read, 5, RRC_FD_REG), RRC_CARRY_OFFSET);
	cr_assert_eq(of(RRC_NR_read, 8, RRC_FD_ANON), RRC_CARRY_READ);
	cr_assert_eq(of(RRC_NR_pread64, 5, RRC_FD_REG), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_write, 5, RRC_FD_TCP), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_write, 5, RRC_FD_FIFO), RRC_CARRY_WRITE);
	cr_assert_eq(of(RRC_NR_accept4, 9, RRC_FD_TCP), RRC_CARRY_ACCEPT);
	cr_assert_eq(of(RRC_NR_accept4, -11, RRC_FD_TCP_LISTEN), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_epoll_ctl, 0, RRC_FD_ANON), RRC_CARRY_CALL);
	cr_assert_eq(of(RRC_NR_epoll_wait, 3, RRC_FD_ANON), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_close, 0, RRC_FD_TCP), RRC_CARRY_CALL);
	cr_assert_eq(of(RRC_NR_mmap, 0x7000, RRC_FD_NONE), RRC_CARRY_CALL);
	cr_assert_eq(of(RRC_NR_sendmsg, 9, RRC_FD_TCP), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_sendmsg, 9, RRC_FD_UNIX), RRC_CARRY_WHOLE);
	cr_assert_eq(of(RRC_NR_futex, 0, RRC_FD_NONE), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_openat, 9, RRC_FD_REG), RRC_CARRY_CALL);
	cr_assert_eq(of(RRC_NR_openat, 9, RRC_FD_FIFO), RRC_CARRY_WHOLE, "it would wait");
	cr_assert_eq(of(RRC_NR_close, -4, RRC_FD_TCP), RRC_CARRY_WHOLE, "closed or not");
	cr_assert_eq(of(RRC_NR_shutdown, 0, RRC_FD_TCP), RRC_CARRY_NOTHING);
	cr_assert_eq(of(RRC_NR_shutdown, 0, RRC_FD_UNIX), RRC_CARRY_WHOLE);
	cr_assert_eq(of(RRC_NR_setuid, 0, RRC_FD_NONE), RRC_CARRY_WHOLE);
	cr_assert_eq(of(RRC_NR_clone, 9, RRC_FD_NONE), RRC_CARRY_WHOLE);
}

Test(carry, barriers_and_numbers_that_nobody_knows)
{
	struct rrc_rec barrier = { .kind = RRC_REC_SYSCALL,
				   .nr = RRC_NR_read,
				   .fdkind = RRC_FD_TCP,
				   .flags = RRC_F_BARRIER };

	cr_assert_eq(rrc_carry_of(&barrier), RRC_CARRY_WHOLE);
	cr_assert_eq(of(RRC_NSYS + 1, 0, RRC_FD_NONE), RRC_CARRY_WHOLE);
	for (unsigned int nr = 0; nr < RRC_NSYS; nr++)
		if (rrc_sysrow(nr)->cls == RRC_BARRIER)
			cr_assert_eq(of(nr, 0, RRC_FD_NONE), RRC_CARRY_WHOLE, "%s",
				     rrc_sysname(nr));
}

Test(carry, tasks)
{
	static const enum rrc_rec_kind whole[] = { RRC_REC_BIRTH, RRC_REC_DEATH, RRC_REC_EXEC,
						   RRC_REC_ENTER, RRC_REC_LOST };

	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
		struct rrc_rec r = { .kind = (uint8_t)whole[i] };

		cr_assert_eq(rrc_carry_of(&r), RRC_CARRY_WHOLE, "kind %u", whole[i]);
	}
}

static int moves(unsigned int nr, unsigned int fdkind)
{
	struct rrc_rec r = { .kind = RRC_REC_SYSCALL,
			     .nr = (uint16_t)nr,
			     .fdkind = (uint8_t)fdkind };

	return !!rrc_carry_connections(&r);
}

Test(carry, connections_change_by_what_concerns_them)
{
	cr_assert_eq(moves(RRC_NR_accept4, RRC_FD_TCP), 1);
	cr_assert_eq(moves(RRC_NR_close, RRC_FD_TCP), 1);
	cr_assert_eq(moves(RRC_NR_fcntl, RRC_FD_TCP), 1);
	cr_assert_eq(moves(RRC_NR_dup2, RRC_FD_REG), 1);
	cr_assert_eq(moves(RRC_NR_close, RRC_FD_PROC), 0);
	cr_assert_eq(moves(RRC_NR_openat, RRC_FD_PROC), 0);
	cr_assert_eq(moves(RRC_NR_write, RRC_FD_TCP), 0);
}
