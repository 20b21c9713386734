/* SPDX-License-Identifier: MIT */
/* Guest: a handler for faults that repairs the page and goes on. */
#include <setjmp.h>
#include <sys/mman.h>

#include "guest.h"

static char *page;
static sigjmp_buf out;
static int count;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	if (++count == 3)
		siglongjmp(out, sig);
	say("fault %d code %d offset %ld\n", sig, si->si_code, (long)((char *)si->si_addr - page));
	ok(mprotect(page, 4096, PROT_READ | PROT_WRITE));
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	volatile int one = 1, zero = 0;
	int i;

	guest_begin();
	ok(sigaction(SIGSEGV, &sa, NULL));
	ok(sigaction(SIGFPE, &sa, NULL));
	page = ok(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	for (i = 0; i < 2; i++) {
		page[i * 40] = 'x';
		ok(mprotect(page, 4096, PROT_READ));
	}
	i = sigsetjmp(out, 1);
	if (!i)
		zero = one / zero;
	say("jumped out of %d\n", i);
	return 0;
}
