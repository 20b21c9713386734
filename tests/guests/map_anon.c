/* SPDX-License-Identifier: MIT */
/* Guest: anonymous mappings: mprotect, mremap, madvise, shared with a child. */
#include <sys/mman.h>

#include "guest.h"

#define PAGE 4096

int main(void)
{
	unsigned char vec[16];
	char *p, *q, *r, *s;
	pid_t pid;

	guest_begin();
	p = ok(mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("at <%p> zero %d\n", (void *)p, p[5 * PAGE]);
	guest_fill(p, 16 * PAGE, 1);
	ok(mprotect(p, PAGE, PROT_READ));
	ok(munmap(p + 4 * PAGE, PAGE));
	say("sum %08x\n", guest_sum(p, 4 * PAGE));
	ok(madvise(p + PAGE, PAGE, MADV_DONTNEED));
	say("dropped %d %08x\n", p[PAGE + 7], guest_sum(p, 2 * PAGE));
	q = ok(mremap(p + 5 * PAGE, 2 * PAGE, 20 * PAGE, MREMAP_MAYMOVE));
	say("grown at <%p> %08x\n", (void *)q, guest_sum(q, 20 * PAGE));
	q = ok(mremap(q, 20 * PAGE, PAGE, 0));
	r = ok(mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	s = ok(mmap(r + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	say("fixed where asked %d\n", s == r + 3 * PAGE);
	say("not mapped %d %d\n", msync(p + 4 * PAGE, PAGE, MS_SYNC), errno);
	ok(mlock(s, PAGE));
	ok(mincore(s, PAGE, vec));
	say("resident %d\n", vec[0] & 1);
	s = ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pid = ok(fork());
	if (!pid) {
		strcpy(s, "from the child");
		p[0 + PAGE] = 'c';
		_exit(0);
	}
	guest_reap(pid, "child");
	say("shared: %s, private: %d\n", s, p[PAGE]);
	return 0;
}
