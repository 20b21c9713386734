// SPDX-License-Identifier: MIT
/* The bytes of a sendfile come into its record: from the open file, from one closed since, or a barrier. */
#include "help.h"
#include "ptrace.h"
#include "reclog.h"
#include "sendfile.h"
#include "syscalls.h"

#define LEN 5000u

struct sent {
	struct rrc_sendfile *s;
	char *dir;
	const char *path;
	uint8_t bytes[LEN];
	struct stat st;
	int fd;
};

static void begin(struct sent *t)
{
	memset(t, 0, sizeof(*t));
	t->dir = help_dir();
	t->path = strdup(help_path("%s/file", t->dir));
	for (size_t i = 0; i < LEN; i++)
		t->bytes[i] = (uint8_t)(i * 7 + i / 256);
	help_write(t->path, t->bytes, LEN);
	t->fd = open(t->path, O_RDONLY | O_CLOEXEC);
	cr_assert(t->fd >= 0 && fstat(t->fd, &t->st) == 0);
	t->s = rrc_sendfile_new(rrc_pidns_ino(getpid()));
}

static void end(struct sent *t)
{
	rrc_sendfile_free(t->s);
	help_remove(t->dir);
	free((char *)t->path);
	free(t->dir);
}

static struct rrc_rec *record(struct help_log *l, const struct sent *t, int64_t ret, uint64_t pos)
{
	struct rrc_rec *r = help_rec(l, RRC_REC_SYSCALL, (uint32_t)rrc_ns_tid(getpid()));

	r->nr = RRC_NR_sendfile;
	r->fdkind = RRC_FD_TCP;
	r->ret = ret;
	r->args[1] = (uint64_t)t->fd;
	r->args[4] = t->st.st_ino;
	r->args[5] = pos;
	return r;
}

/* The record as it should be: sound, with exactly these bytes. */
static void holds(const struct sent *t, const struct rrc_rec *r, size_t from, size_t len)
{
	struct rrc_error err = { 0 };
	const struct rrc_seg *segs = rrc_rec_segs(r);
	const uint8_t *p = rrc_rec_payload(r);

	cr_assert_eq(rrc_rec_check(r, r->size, &err), 0, "%s", err.msg);
	cr_assert(!(r->flags & RRC_F_BARRIER));
	for (unsigned int i = 0; i + 1u < r->nseg; i++)
		p += segs[i].len;
	cr_assert(r->nseg && segs[r->nseg - 1].dir == RRC_SEG_IN);
	cr_assert_eq(segs[r->nseg - 1].len, len);
	cr_assert(!memcmp(p, t->bytes + from, len), "other bytes");
}

Test(sendfile, bytes_of_the_open_file)
{
	struct help_log l = { .len = 0 };
	struct sent t;

	begin(&t);
	holds(&t, rrc_sendfile_complete(t.s, record(&l, &t, 1001, 1001)), 0, 1001);
	holds(&t, rrc_sendfile_complete(t.s, record(&l, &t, 7, 2000)), 1993, 7);
	holds(&t, rrc_sendfile_complete(t.s, record(&l, &t, LEN, LEN)), 0, LEN);
	/* Known by now: the program may close it. */
	close(t.fd);
	holds(&t, rrc_sendfile_complete(t.s, record(&l, &t, 10, LEN)), LEN - 10, 10);
	end(&t);
}

Test(sendfile, the_offset_that_was_written_back)
{
	struct help_log l = { .len = 0 };
	struct rrc_seg seg = { .len = 8, .dir = RRC_SEG_OUT };
	uint64_t after = 321;
	struct rrc_rec *r;
	struct sent t;

	begin(&t);
	r = record(&l, &t, 21, 4444); /* the file's own position means nothing */
	r->args[2] = 0x1000;
	r->nseg = 1;
	r->size += (uint32_t)(sizeof(seg) + sizeof(after));
	memcpy(r + 1, &seg, sizeof(seg));
	memcpy((uint8_t *)(r + 1) + sizeof(seg), &after, sizeof(after));
	holds(&t, rrc_sendfile_complete(t.s, r), 300, 21);
	end(&t);
}

static void opened(struct sent *t, const char *path)
{
	struct help_log l = { .len = 0 };
	struct rrc_rec *r = help_rec(&l, RRC_REC_SYSCALL, (uint32_t)rrc_ns_tid(getpid()));
	struct rrc_seg seg = { .len = (uint32_t)strlen(path) + 1, .dir = RRC_SEG_IN };

	r->nr = RRC_NR_openat;
	r->fdkind = RRC_FD_REG;
	r->obj = t->st.st_ino;
	r->ret = t->fd;
	r->nseg = 1;
	memcpy(r + 1, &seg, sizeof(seg));
	memcpy((uint8_t *)(r + 1) + sizeof(seg), path, seg.len);
	r->size += (uint32_t)(sizeof(seg) + (seg.len + 7) / 8 * 8);
	rrc_sendfile_opened(t->s, r);
}

Test(sendfile, a_file_closed_since_is_found_by_its_name)
{
	struct help_log l = { .len = 0 };
	struct sent t;

	begin(&t);
	opened(&t, t.path);
	close(t.fd);
	holds(&t, rrc_sendfile_complete(t.s, record(&l, &t, 100, 100)), 0, 100);
	end(&t);

	begin(&t); /* relative to where the program is */
	cr_assert_eq(chdir(t.dir), 0);
	opened(&t, "file");
	close(t.fd);
	holds(&t, rrc_sendfile_complete(t.s, record(&l, &t, 100, 100)), 0, 100);
	end(&t);
}

/* Rule 4: bytes that cannot be had are not guessed. */
Test(sendfile, what_cannot_be_had_is_a_barrier)
{
	struct help_log l = { .len = 0 };
	const struct rrc_rec *r;
	struct sent t;

	begin(&t);
	r = rrc_sendfile_complete(t.s, record(&l, &t, 100, LEN + 50)); /* cut meanwhile */
	cr_assert((r->flags & RRC_F_BARRIER) && (r->flags & RRC_F_TRUNC));
	end(&t);

	begin(&t);
	close(t.fd); /* nobody knows its name */
	r = rrc_sendfile_complete(t.s, record(&l, &t, 100, 100));
	cr_assert(r->flags & RRC_F_BARRIER);
	end(&t);

	begin(&t); /* another file has the name now */
	opened(&t, t.path);
	help_sh(t.dir, "cp file other && mv other file");
	close(t.fd);
	r = rrc_sendfile_complete(t.s, record(&l, &t, 100, 100));
	cr_assert(r->flags & RRC_F_BARRIER);
	end(&t);
}
