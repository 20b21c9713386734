/* SPDX-License-Identifier: MIT */
/* A stopped tree is brought on: calls are made in it, pages and registers put in, and it is stopped as before. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "advance.h"
#include "copy.h"
#include "copycalls.h"
#include "guest.h"
#include "ptrace.h"
#include "reclog.h"
#include "util.h"

#define FAR	  0x2000000000ull /* where nothing is */
#define NEW_FD	  57
#define NEW_PIPE  61
#define NEW_EVENT 65

static char page[RRC_DELTA_PAGE] __attribute__((aligned(RRC_DELTA_PAGE)));

/* Says what it finds when it is let run: registers are those of the read that it stands in. */
static void says_what_it_has(void)
{
	char text[16] = "";
	uint64_t count;

	/* The descriptor's offset moved by two, the pipe has what was put in. */
	if (read(NEW_FD, text, 3) != 3 || memcmp(text, "234", 3))
		syscall(SYS_write, guest_back[1], "file", 4);
	else if (read(NEW_PIPE, text, 8) != 2 || memcmp(text, "YZ", 2))
		syscall(SYS_write, guest_back[1], "pipe", 4);
	else if (read(NEW_EVENT, &count, sizeof(count)) != sizeof(count) || count != 4)
		syscall(SYS_write, guest_back[1], "event", 5);
	else if (memcmp((void *)FAR, "far away", 8))
		syscall(SYS_write, guest_back[1], "page", 4);
	else
		syscall(SYS_write, guest_back[1], page, 5);
}

static int copy_add(struct rrc_copy *c, const void *log, size_t log_len, const void *delta,
		    size_t delta_len, struct rrc_error *err)
{
	struct rrc_copy_epoch *e = rrc_copy_prepare(c, log, log_len, delta, delta_len, err);

	if (e)
		rrc_copy_take(c, e);
	return e ? 0 : err->code;
}

static struct rrc_delta_thread registers_of(pid_t pid, char *xsave)
{
	struct rrc_delta_thread t = { .pid = 1, .tid = 1 };
	struct iovec v = { xsave, RRC_DELTA_MAX_XSAVE };
	rrc_autofree pid_t *tids = NULL;
	struct rrc_error err = { 0 };

	cr_assert_eq(rrc_seize_process(pid, 0, &tids, &err), 1, "%s", err.msg);
	cr_assert_eq(ptrace(PTRACE_GETREGS, pid, NULL, &t.regs), 0);
	cr_assert_eq(ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &v), 0);
	cr_assert_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	t.xsave_len = (uint32_t)v.iov_len;
	t.regs.orig_rax = (uint64_t)-1;
	return t;
}

static void fd_record(struct rrc_rec *r, unsigned int kind)
{
	r->pid = 1;
	r->fdkind = (uint8_t)kind;
}

/* Two counts are put in of which the reader, recorded before, got one and a half. */
static void counts(struct help_log *l)
{
	static const uint64_t got = 5, put[] = { 3, 6 };
	struct rrc_rec *r = guest_call(l, 1, RRC_NR_eventfd2, NEW_EVENT, 0, EFD_NONBLOCK, 0);

	fd_record(r, RRC_FD_NONE);
	r = guest_call(l, 1, RRC_NR_read, 8, NEW_EVENT, 0, 8);
	guest_seg(l, r, 0, RRC_SEG_OUT, &got, sizeof(got));
	fd_record(r, RRC_FD_ANON);
	for (size_t i = 0; i < RRC_ARRAY_SIZE(put); i++) {
		r = guest_call(l, 1, RRC_NR_write, 8, NEW_EVENT, 0, 8);
		guest_seg(l, r, 0, RRC_SEG_IN, &put[i], sizeof(put[i]));
		fd_record(r, RRC_FD_ANON);
	}
}

/* open, read two bytes, pipe, write four, read two, mmap far away. */
static void epoch(struct help_log *l, const char *file)
{
	static const int ends[2] = { NEW_PIPE, NEW_PIPE + 1 };
	struct rrc_rec *r;

	r = guest_call(l, 1, RRC_NR_openat, NEW_FD, (uint64_t)AT_FDCWD, (uint64_t)guest_digits,
		       O_RDONLY);
	guest_seg(l, r, 0, RRC_SEG_IN, file, strlen(file) + 1);
	fd_record(r, RRC_FD_REG);
	r = guest_call(l, 1, RRC_NR_read, 2, NEW_FD, 0, 2);
	fd_record(r, RRC_FD_REG);
	r = guest_call(l, 1, RRC_NR_pipe2, 0, (uint64_t)guest_in, 0, 0);
	guest_seg(l, r, 0, RRC_SEG_OUT, ends, sizeof(ends));
	fd_record(r, RRC_FD_NONE);
	/* The reader is recorded before the writer returned. */
	r = guest_call(l, 1, RRC_NR_read, 2, NEW_PIPE, 0, 2);
	fd_record(r, RRC_FD_FIFO);
	r = guest_call(l, 1, RRC_NR_write, 4, NEW_PIPE + 1, 0, 4);
	guest_seg(l, r, 0, RRC_SEG_IN, "WXYZ", 4);
	fd_record(r, RRC_FD_FIFO);
	r = guest_call(l, 1, RRC_NR_mmap, (int64_t)FAR, 0, RRC_DELTA_PAGE, PROT_READ);
	r->args[3] = MAP_PRIVATE | MAP_ANONYMOUS;
	r->args[4] = (uint64_t)-1;
	fd_record(r, RRC_FD_NONE);
	counts(l);
}

/* The delta: a page that the program may not write, one that it may, and registers. */
static const void *delta(struct rrc_delta **d, pid_t pid, size_t *len)
{
	static char far[RRC_DELTA_PAGE] = "far away", near[RRC_DELTA_PAGE] = "right";
	static char xsave[RRC_DELTA_MAX_XSAVE];
	const uint8_t *pages[] = { (uint8_t *)far, (uint8_t *)near };
	uint64_t addr[] = { FAR, (uint64_t)page };
	struct rrc_delta_thread t = registers_of(pid, xsave);

	*d = rrc_delta_new(2, 1);
	cr_assert(*d);
	cr_assert_eq(rrc_delta_add_thread(*d, &t, xsave), 0);
	cr_assert_eq(rrc_delta_add_pages(*d, 1, addr, pages, 2), 0);
	return rrc_delta_bytes(*d, len);
}

Test(advance, a_stopped_tree_becomes_what_the_log_says, .timeout = 30)
{
	char *dir = help_dir(), got[16] = "", before[sizeof(guest_in)], after[sizeof(guest_in)];
	const char *file = help_path("%s/digits", dir);
	struct help_log l = { 0 };
	struct rrc_error err = { 0 };
	struct rrc_copy *copy = rrc_copy_new();
	struct rrc_advance *a;
	struct rrc_delta *d;
	struct pollfd p;
	size_t len;
	const void *bytes;
	pid_t pid;

	help_write(file, "0123456789", 10);
	pid = guest_start(says_what_it_has);
	epoch(&l, file);
	bytes = delta(&d, pid, &len);
	cr_assert_eq(copy_add(copy, l.bytes, l.len, bytes, len, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_copy_size(copy).calls,
		     8u); /* what the eventfd was given and gave is one */
	cr_assert_eq(rrc_copy_size(copy).pages, 2u);
	cr_assert_eq(rrc_mem_read(pid, (uint64_t)guest_in, before, sizeof(before)), 0);
	a = rrc_advance_begin(pid, &err);
	cr_assert(a, "%s", err.msg);
	cr_assert_eq(rrc_copy_apply(copy, a, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_advance_end(a, 1, &err), 0, "%s", err.msg);
	/* An argument that was put in place for a call is not there afterwards. */
	cr_assert_eq(rrc_mem_read(pid, (uint64_t)guest_digits, got, 10), 0);
	cr_assert_str_eq(got, "0123456789");
	/* Nor is what a call gave: memory is what the delta says, which names only what changed. */
	cr_assert_eq(rrc_mem_read(pid, (uint64_t)guest_in, after, sizeof(after)), 0);
	cr_assert(!memcmp(before, after, sizeof(after)));
	/* It has not run, and does so now. */
	p = (struct pollfd){ .fd = guest_back[0], .events = POLLIN };
	cr_assert_eq(poll(&p, 1, 0), 0, "it ran");
	close(guest_pipe[1]);
	kill(pid, SIGCONT);
	cr_assert_eq(poll(&p, 1, 10000), 1);
	memset(got, 0, sizeof(got));
	cr_assert_gt(read(guest_back[0], got, sizeof(got) - 1), 0);
	cr_assert_str_eq(got, "right");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	rrc_delta_free(d);
	rrc_copy_free(copy);
	help_remove(dir);
	free(dir);
}

/* Some lines of the page that the delta before had. */
static int add_lines(struct rrc_copy *c, uint64_t addr, const char *text, struct rrc_error *err)
{
	uint8_t bytes[RRC_DELTA_PAGE] = "";
	const uint8_t *pages[] = { bytes };
	struct rrc_delta_changed l = { addr, 1ull << 63 | 1 };
	struct rrc_delta *d = rrc_delta_new(3, 2);
	size_t len;
	const void *delta;
	int ret;

	snprintf((char *)bytes, RRC_DELTA_LINE, "%s", text);
	cr_assert_eq(rrc_delta_add_lines(d, 1, &l, pages, 1), 0);
	delta = rrc_delta_bytes(d, &len);
	ret = copy_add(c, NULL, 0, delta, len, err);
	rrc_delta_free(d);
	return ret;
}

Test(advance, lines_are_put_into_the_page_that_is_there, .timeout = 30)
{
	struct rrc_error err = { 0 };
	struct rrc_copy *copy = rrc_copy_new();
	pid_t pid = guest_start(says_what_it_has);
	static uint8_t bytes[RRC_DELTA_PAGE];
	const uint8_t *pages[] = { bytes };
	uint64_t at = (uint64_t)page;
	struct rrc_delta *d = rrc_delta_new(2, 1);
	struct rrc_advance *a;
	const void *delta;
	uint8_t got[RRC_DELTA_PAGE];
	size_t len;

	cr_assert_eq(add_lines(copy, at, "of no page", &err), -EBADMSG, "%s", err.msg);
	memset(&err, 0, sizeof(err));
	memset(bytes, 'a', sizeof(bytes));
	cr_assert_eq(rrc_delta_add_pages(d, 1, &at, pages, 1), 0);
	delta = rrc_delta_bytes(d, &len);
	cr_assert_eq(copy_add(copy, NULL, 0, delta, len, &err), 0, "%s", err.msg);
	cr_assert_eq(add_lines(copy, at, "right", &err), 0, "%s", err.msg);
	cr_assert_eq(add_lines(copy, at + RRC_DELTA_PAGE, "of no page", &err), -EBADMSG);
	memset(&err, 0, sizeof(err));
	a = rrc_advance_begin(pid, &err);
	cr_assert(a, "%s", err.msg);
	cr_assert_eq(rrc_copy_apply(copy, a, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_advance_end(a, 0, &err), 0, "%s", err.msg);
	cr_assert_eq(rrc_mem_read(pid, at, got, sizeof(got)), 0);
	cr_assert_str_eq((char *)got, "right");
	for (size_t i = RRC_DELTA_LINE; i < RRC_DELTA_PAGE - RRC_DELTA_LINE; i++)
		cr_assert_eq(got[i], 'a', "%zu", i);
	cr_assert_eq(got[RRC_DELTA_PAGE - 1], 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	rrc_delta_free(d);
	rrc_copy_free(copy);
}

Test(advance, a_call_that_goes_another_way_is_named, .timeout = 30)
{
	struct help_log l = { 0 };
	struct rrc_error err = { 0 };
	struct rrc_advance *a;
	const struct rrc_rec *recs[1];
	pid_t pid = guest_start(says_what_it_has);
	struct rrc_rec *r = guest_call(&l, 1, RRC_NR_close, 0, 900, 0, 0);

	r->pid = 1;
	recs[0] = r;
	a = rrc_advance_begin(pid, &err);
	cr_assert(a, "%s", err.msg);
	cr_assert_eq(rrc_advance_calls(a, recs, 1, &err), -ESTALE);
	cr_assert(strstr(err.msg, "close returns -9 and not 0"), "%s", err.msg);
	rrc_advance_end(a, 0, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Of what a reader got only a part is there: it is not taken, and the copy is refused. */
Test(advance, a_part_of_what_was_read_is_not_taken, .timeout = 30)
{
	struct help_log l = { 0 };
	struct rrc_error err = { 0 };
	pid_t pid = guest_start(says_what_it_has);
	struct rrc_advance *a = rrc_advance_begin(pid, &err);
	const struct rrc_rec *recs[1];
	struct rrc_rec *r = guest_call(&l, 1, RRC_NR_read, 2, (uint64_t)guest_back[0], 0, 2);
	char c;

	cr_assert(a, "%s", err.msg);
	guest_fifo(r, 1);
	r->pid = 1;
	recs[0] = r;
	cr_assert_eq(write(guest_back[1], "x", 1), 1);
	cr_assert_eq(rrc_advance_calls(a, recs, 1, &err), -ESTALE);
	rrc_advance_end(a, 0, NULL);
	fcntl(guest_back[0], F_SETFL, O_NONBLOCK);
	cr_assert_eq(read(guest_back[0], &c, 1), 1, "it is still there");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(copy, what_was_unmapped_is_forgotten)
{
	static char bytes[RRC_DELTA_PAGE] = "x";
	const uint8_t *pages[] = { (uint8_t *)bytes, (uint8_t *)bytes };
	uint64_t addr[] = { 0x10000, 0x20000 };
	struct help_log none = { 0 }, unmap = { 0 };
	struct rrc_copy *copy = rrc_copy_new();
	struct rrc_delta *first = rrc_delta_new(2, 1), *second = rrc_delta_new(3, 2);
	struct rrc_error err = { 0 };
	size_t len, full;
	const void *d;

	rrc_delta_add_pages(first, 1, addr, pages, 2);
	d = rrc_delta_bytes(first, &len);
	cr_assert_eq(copy_add(copy, none.bytes, 0, d, len, &err), 0, "%s", err.msg);
	full = rrc_copy_size(copy).bytes;
	guest_call(&unmap, 1, RRC_NR_munmap, 0, 0x10000, RRC_DELTA_PAGE, 0)->pid = 1;
	d = rrc_delta_bytes(second, &len);
	cr_assert_eq(copy_add(copy, unmap.bytes, unmap.len, d, len, &err), 0, "%s", err.msg);
	cr_assert_leq(rrc_copy_size(copy).bytes, full - RRC_DELTA_PAGE + unmap.len);
	rrc_delta_free(first);
	rrc_delta_free(second);
	rrc_copy_free(copy);
}

Test(copy, what_the_heap_gave_back_is_forgotten)
{
	static char bytes[RRC_DELTA_PAGE] = "x";
	const uint8_t *pages[] = { (uint8_t *)bytes, (uint8_t *)bytes, (uint8_t *)bytes };
	uint64_t addr[] = { 0x10000, 0x11000, 0x12000 };
	struct help_log none = { 0 }, shrink = { 0 };
	struct rrc_copy *copy = rrc_copy_new();
	struct rrc_delta *first = rrc_delta_new(2, 1), *second = rrc_delta_new(3, 2);
	struct rrc_error err = { 0 };
	size_t len, full;
	const void *d;

	guest_call(&shrink, 1, RRC_NR_brk, 0x10800, 0x10800, 0, 0)->pid = 1;
	rrc_delta_add_pages(first, 1, addr, pages, 3);
	d = rrc_delta_bytes(first, &len);
	cr_assert_eq(copy_add(copy, none.bytes, 0, d, len, &err), 0, "%s", err.msg);
	full = rrc_copy_size(copy).bytes;
	d = rrc_delta_bytes(second, &len);
	cr_assert_lt(copy_add(copy, shrink.bytes, shrink.len, d, len, &err), 0,
		     "nobody knows where the heap ended");
	memset(&err, 0, sizeof(err));
	cr_assert_eq(rrc_copy_heap(copy, 1, 0x12000), 0);
	cr_assert_eq(copy_add(copy, shrink.bytes, shrink.len, d, len, &err), 0, "%s", err.msg);
	/* One page of three: what is behind the heap's end is not its own. */
	cr_assert_eq(rrc_copy_size(copy).bytes, full - RRC_DELTA_PAGE + shrink.len);
	rrc_delta_free(first);
	rrc_delta_free(second);
	rrc_copy_free(copy);
}

Test(copy, an_epoch_that_cannot_be_carried_changes_nothing)
{
	struct help_log l = { 0 };
	struct rrc_copy *copy = rrc_copy_new();
	struct rrc_delta *d = rrc_delta_new(2, 1);
	struct rrc_error err = { 0 };
	size_t len;
	const void *bytes = rrc_delta_bytes(d, &len);

	guest_call(&l, 1, RRC_NR_close, 0, 5, 0, 0);
	guest_call(&l, 1, RRC_NR_setuid, 0, 5, 0, 0);
	cr_assert_eq(copy_add(copy, l.bytes, l.len, bytes, len, &err), -EOPNOTSUPP);
	cr_assert(strstr(err.msg, "setuid"), "%s", err.msg);
	cr_assert_eq(rrc_copy_size(copy).calls, 0u);
	/* One that is made ready and not taken does not either. */
	memset(&err, 0, sizeof(err));
	rrc_copy_drop(rrc_copy_prepare(copy, l.bytes, ((struct rrc_rec *)l.bytes)->size, bytes, len,
				       &err));
	cr_assert_eq(err.code, 0, "%s", err.msg);
	cr_assert_eq(rrc_copy_size(copy).calls, 0u);
	rrc_delta_free(d);
	rrc_copy_free(copy);
}

static struct rrc_rec *kept(struct rrc_copycalls *c, unsigned int nr, int64_t ret, uint64_t a,
			    uint64_t b, uint64_t d)
{
	struct rrc_rec *r = calloc(1, sizeof(*r));

	*r = (struct rrc_rec){ .size = sizeof(*r),
			       .kind = RRC_REC_SYSCALL,
			       .pid = 1,
			       .nr = (uint16_t)nr,
			       .ret = ret,
			       .args = { a, b, d } };
	cr_assert_eq(rrc_copycalls_reserve(c, 1), 0);
	rrc_copycalls_add(c, r);
	return r;
}

Test(copycalls, a_descriptor_that_was_made_and_closed_leaves_nothing)
{
	struct rrc_copycalls c = { 0 };

	kept(&c, RRC_NR_accept4, 9, 3, 0, 0);
	kept(&c, RRC_NR_accept4, 10, 3, 0, 0);
	kept(&c, RRC_NR_epoll_ctl, 0, 5, 1, 9);
	kept(&c, RRC_NR_close, 0, 9, 0, 0);
	cr_assert_eq(c.n, 1u);
	cr_assert_eq(c.list[0]->ret, 10);
	/* It was there before: that it is closed counts. */
	kept(&c, RRC_NR_close, 0, 9, 0, 0);
	cr_assert_eq(c.n, 2u);
	rrc_copycalls_free(&c);
}

Test(copycalls, a_number_that_another_thread_got_at_once_is_its_own)
{
	struct rrc_copycalls c = { 0 };
	struct rrc_rec *last;

	kept(&c, RRC_NR_accept4, 9, 3, 0, 0)->exit_ns = 10;
	kept(&c, RRC_NR_accept4, 9, 3, 0, 0)->exit_ns = 30;
	/* Its close began before the second accept returned. */
	last = calloc(1, sizeof(*last));
	*last = (struct rrc_rec){ .size = sizeof(*last),
				  .kind = RRC_REC_SYSCALL,
				  .pid = 1,
				  .nr = RRC_NR_close,
				  .args = { 9 },
				  .entry_ns = 20,
				  .exit_ns = 40 };
	cr_assert_eq(rrc_copycalls_reserve(&c, 1), 0);
	rrc_copycalls_add(&c, last);
	cr_assert_eq(c.n, 3u);
	rrc_copycalls_free(&c);
}

Test(copycalls, what_outlives_a_descriptor_stays)
{
	struct rrc_copycalls c = { 0 };

	kept(&c, RRC_NR_openat, 9, (uint64_t)AT_FDCWD, 0, O_CREAT | O_RDWR);
	kept(&c, RRC_NR_close, 0, 9, 0, 0);
	cr_assert_eq(c.n, 2u, "the file that was made");
	kept(&c, RRC_NR_openat, 9, (uint64_t)AT_FDCWD, 0, O_RDWR);
	kept(&c, RRC_NR_write, 4, 9, 0, 4)->fdkind = RRC_FD_REG;
	kept(&c, RRC_NR_close, 0, 9, 0, 0);
	cr_assert_eq(c.n, 5u, "the bytes that were written");
	kept(&c, RRC_NR_openat, 9, (uint64_t)AT_FDCWD, 0, O_RDONLY);
	kept(&c, RRC_NR_dup, 11, 9, 0, 0);
	kept(&c, RRC_NR_close, 0, 9, 0, 0);
	cr_assert_eq(c.n, 8u, "the duplicate");
	rrc_copycalls_free(&c);
}

Test(copycalls, advice_given_twice_is_kept_once)
{
	struct rrc_copycalls c = { 0 };

	kept(&c, RRC_NR_madvise, 0, 0x1000, 0x1000, MADV_DONTNEED);
	kept(&c, RRC_NR_madvise, 0, 0x3000, 0x1000, MADV_DONTNEED);
	kept(&c, RRC_NR_madvise, 0, 0x1000, 0x1000, MADV_DONTNEED);
	cr_assert_eq(c.n, 2u);
	rrc_copycalls_free(&c);
}

static struct rrc_rec *kept_count(struct rrc_copycalls *c, unsigned int nr, uint64_t count)
{
	struct {
		struct rrc_rec r;
		struct rrc_seg s;
		uint64_t n;
	} *rec = calloc(1, sizeof(*rec));

	rec->r = (struct rrc_rec){ .size = sizeof(*rec),
				   .kind = RRC_REC_SYSCALL,
				   .nr = (uint16_t)nr,
				   .fdkind = RRC_FD_ANON,
				   .obj = 7,
				   .nseg = 1,
				   .ret = 8,
				   .args = { 5, 0, 8 } };
	rec->s.len = 8;
	rec->n = count;
	cr_assert_eq(rrc_copycalls_reserve(c, 1), 0);
	rrc_copycalls_add(c, &rec->r);
	return c->n ? c->list[c->n - 1] : NULL;
}

static uint64_t count_of(const struct rrc_rec *rec)
{
	uint64_t n;

	memcpy(&n, rrc_rec_payload(rec), sizeof(n));
	return n;
}

Test(copycalls, what_an_eventfd_was_given_and_gave_is_one_count)
{
	struct rrc_copycalls c = { 0 };

	for (int i = 0; i < 1000; i++) {
		kept_count(&c, RRC_NR_write, 1);
		kept_count(&c, RRC_NR_write, 2);
		kept_count(&c, RRC_NR_read, 3);
	}
	cr_assert_eq(c.n, 0u);
	/* The reader was recorded first, and one of the writers was not read yet. */
	kept_count(&c, RRC_NR_read, 3);
	kept_count(&c, RRC_NR_write, 1);
	cr_assert_eq(count_of(kept_count(&c, RRC_NR_write, 4)), 2u);
	cr_assert_eq(c.n, 1u);
	cr_assert_eq(c.list[0]->nr, RRC_NR_write);
	rrc_copycalls_free(&c);
}
