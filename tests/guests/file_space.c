/* SPDX-License-Identifier: MIT */
/* Guest: fallocate, copy_file_range, fadvise, sync. */
#include "guest.h"

int main(void)
{
	char buf[6000];
	off_t in = 100, out = 0;
	struct stat st;
	int a, b, ret;

	guest_begin();
	a = ok(open("a", O_CREAT | O_RDWR | O_TRUNC, 0600));
	b = ok(open("b", O_CREAT | O_RDWR | O_TRUNC, 0600));
	guest_fill(buf, sizeof(buf), 8);
	guest_write(a, buf, sizeof(buf));
	ret = fallocate(b, 0, 0, 20000);
	say("allocated %d\n", ret == 0 || errno == EOPNOTSUPP);
	ok(ftruncate(b, 20000));
	say("copied %zd, at %ld and", ok(copy_file_range(a, &in, b, &out, 3000, 0)), (long)in);
	say(" %ld\n", (long)out);
	say("read %zd %08x\n", ok(pread(b, buf, 3000, 0)), guest_sum(buf, 3000));
	ret = fallocate(b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	say("hole %d\n", ret == 0 || errno == EOPNOTSUPP);
	ok(fstat(b, &st));
	say("size %ld blocks <%ld>\n", (long)st.st_size, (long)st.st_blocks);
	say("advise %d ahead %zd\n", posix_fadvise(a, 0, 0, POSIX_FADV_SEQUENTIAL),
	    readahead(a, 0, 4096));
	ok(fdatasync(a));
	ok(sync_file_range(a, 0, 0, SYNC_FILE_RANGE_WRITE));
	ok(unlink("a"));
	ok(unlink("b"));
	return 0;
}
