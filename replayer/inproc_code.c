// SPDX-License-Identifier: MIT
/*
 * The code that answers calls inside a replayed program, see inproc.h. It is copied there: no libc, no data but
 * what inproc_area.h describes, no vector registers, none of the program's stack. It touches nothing that a system
 * call would leave alone.
 */
#include "inproc_area.h"
#include "record.h"
#include "syscall_names.h"

#define HERE __attribute__((section("rrc_inproc"), used))
#define PART static inline __attribute__((always_inline))

typedef uint64_t __attribute__((aligned(1), may_alias)) word;

/* As the kernel has them. */
struct vec {
	uint64_t base, len;
};

struct msg {
	uint64_t name;
	uint32_t namelen, pad;
	uint64_t iov, niov, ctl, ctllen;
	uint32_t flags;
};

PART int same(const uint8_t *a, const uint8_t *b, uint64_t n)
{
	for (; n >= 8; n -= 8, a += 8, b += 8)
		if (*(const word *)a != *(const word *)b)
			return 0;
	for (; n; n--)
		if (*a++ != *b++)
			return 0;
	return 1;
}

PART void copy(uint8_t *to, const uint8_t *from, uint64_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

/* One piece of a segment; 0: other bytes than in the log. */
PART int piece(const struct rrc_ip_seg *seg, uint64_t at, const uint8_t *data, uint64_t n)
{
	if (seg->in)
		return same((const uint8_t *)at, data, n);
	copy((uint8_t *)at, data, n);
	return 1;
}

PART int segment(const struct rrc_ip_seg *seg, const uint64_t *args, const uint8_t *data)
{
	const struct msg *m = (const struct msg *)args[seg->ptr];
	uint64_t left = seg->len, n, at = args[seg->ptr], count = 1;
	const struct vec *v;

	switch (seg->how) {
	case RRC_IP_PLAIN:
		return piece(seg, at, data, left);
	case RRC_IP_MSGNAME:
		return left <= m->namelen && piece(seg, m->name, data, left);
	case RRC_IP_MSGCTL:
		return left <= m->ctllen && piece(seg, m->ctl, data, left);
	case RRC_IP_MSG:
		v = (const struct vec *)m->iov;
		count = m->niov;
		break;
	default:
		v = (const struct vec *)at;
		count = args[seg->count];
		break;
	}
	for (; left && count; count--, v++, left -= n, data += n) {
		n = v->len < left ? v->len : left;
		if (n && !piece(seg, v->base, data, n))
			return 0;
	}
	return !left;
}

PART int differs(const struct rrc_ip_slot *s, const struct rrc_ip_entry *e,
		 const struct rrc_rec *rec)
{
	uint64_t d = (uint32_t)s->rax ^ rec->nr;

	for (unsigned int i = 0; i < 6; i++)
		if (e->mask & 1u << i)
			d |= s->args[i] ^ rec->args[i];
	return d != 0;
}

/* A system call of our own: these stop nobody. */
PART void wait_for_change(uint32_t *at, uint32_t value)
{
	register uint64_t timeout __asm__("r10") = 0;
	uint64_t r = RRC_NR_futex;

	__asm__ volatile("syscall"
			 : "+a"(r)
			 : "D"(at), "S"(0L /* FUTEX_WAIT */), "d"((uint64_t)value), "r"(timeout)
			 : "rcx", "r11", "memory");
}

/* Until its turn has come. 0: it is to be a real call. */
PART int await_grant(struct rrc_ip_slot *s, uint32_t taken)
{
	int granted;

	if (__atomic_load_n(&s->granted, __ATOMIC_ACQUIRE) != taken)
		return 1;
	__atomic_store_n(&s->waiting, 1, __ATOMIC_SEQ_CST);
	while (!(granted = __atomic_load_n(&s->granted, __ATOMIC_ACQUIRE) != taken) &&
	       __atomic_load_n(&s->filled, __ATOMIC_ACQUIRE) != taken)
		wait_for_change(&s->granted, taken);
	__atomic_store_n(&s->waiting, 0, __ATOMIC_RELEASE);
	return granted;
}

/* 1: answered; 0: it is to be a real call, which the engine looks at. */
HERE int rrc_ip_take(struct rrc_ip_slot *s);
HERE int rrc_ip_take(struct rrc_ip_slot *s)
{
	const struct rrc_ip_entry *e = &s->entry[s->taken & (RRC_IP_ENTRIES - 1)];
	const struct rrc_rec *rec = (const struct rrc_rec *)e->rec;

	if (differs(s, e, rec))
		goto no;
	for (unsigned int i = 0; i < e->nseg; i++)
		if (e->seg[i].in &&
		    !segment(&e->seg[i], s->args, (const uint8_t *)rec + e->seg[i].off))
			goto no;
	if (!await_grant(s, s->taken))
		goto no;
	for (unsigned int i = 0; i < e->nseg; i++)
		if (!e->seg[i].in &&
		    !segment(&e->seg[i], s->args, (const uint8_t *)rec + e->seg[i].off))
			goto no;
	s->rax = (uint64_t)rec->ret;
	if (s->taken + 1 == __atomic_load_n(&s->filled, __ATOMIC_ACQUIRE))
		s->active = 0;
	__atomic_store_n(&s->taken, s->taken + 1, __ATOMIC_RELEASE);
	return 1;
no:
	s->active = 0;
	return 0;
}

/* clang-format off */
/* r11: place << 48. rcx and r11 are free, as they are at a system call. */
__asm__(".section rrc_inproc,\"ax\",@progbits\n"
	".globl rrc_ip_enter, rrc_ip_table, rrc_ip_thunks\n"
	".hidden rrc_ip_enter, rrc_ip_table, rrc_ip_thunks\n"
	".balign 16\n"
	"rrc_ip_enter:\n"
	"	add %fs:0, %r11\n"
	"	mov %r11, %rcx\n"
	"	shr $9, %rcx\n"
	"	and $0x1ff8, %ecx\n"
	"	add rrc_ip_table(%rip), %rcx\n"
	"	mov (%rcx), %rcx\n"
	"	test %rcx, %rcx\n"
	"	jz 1f\n"
	"	xor (%rcx), %r11\n"		/* whose slot is it? */
	"	rol $16, %r11\n"
	"	cmp $0xffff, %r11\n"
	"	ja 2f\n"
	"	cmpl $0, 8(%rcx)\n"
	"	je 2f\n"
	"	mov %r11d, 12(%rcx)\n"
	"	mov %rdi, 16(%rcx)\n"
	"	mov %rsi, 24(%rcx)\n"
	"	mov %rdx, 32(%rcx)\n"
	"	mov %r10, 40(%rcx)\n"
	"	mov %r8, 48(%rcx)\n"
	"	mov %r9, 56(%rcx)\n"
	"	mov %rax, 64(%rcx)\n"
	"	mov %rsp, 72(%rcx)\n"
	"	mov %rbx, 80(%rcx)\n"		/* these for the case that it faults */
	"	mov %rbp, 88(%rcx)\n"
	"	mov %r12, 96(%rcx)\n"
	"	mov %r13, 104(%rcx)\n"
	"	mov %r14, 112(%rcx)\n"
	"	mov %r15, 120(%rcx)\n"
	"	mov %rcx, %rdi\n"
	"	lea 2032(%rcx), %rsp\n"
	"	mov %rcx, (%rsp)\n"
	"	call rrc_ip_take\n"
	"	mov (%rsp), %rcx\n"
	"	mov 12(%rcx), %r11d\n"
	"	mov 16(%rcx), %rdi\n"
	"	mov 24(%rcx), %rsi\n"
	"	mov 32(%rcx), %rdx\n"
	"	mov 40(%rcx), %r10\n"
	"	mov 48(%rcx), %r8\n"
	"	mov 56(%rcx), %r9\n"
	"	mov 72(%rcx), %rsp\n"
	"	test %eax, %eax\n"
	"	mov 64(%rcx), %rax\n"
	"	jz 3f\n"
	"	shl $6, %r11d\n"
	"	add rrc_ip_thunks(%rip), %r11\n"
	"	add $48, %r11\n"
	"	jmp *%r11\n"
	"1:	rol $16, %r11\n"
	"2:	movzwl %r11w, %r11d\n"
	"3:	shl $6, %r11d\n"
	"	add rrc_ip_thunks(%rip), %r11\n"
	"	add $24, %r11\n"
	"	jmp *%r11\n"
	".balign 8\n"
	"rrc_ip_table: .quad 0\n"
	"rrc_ip_thunks: .quad 0\n"
	".previous\n");
/* clang-format on */
