/* SPDX-License-Identifier: MIT */
/* A mapped file, read by itself; see mappedfile.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mappedfile.h"
#include "util.h"

static int copy_run(int fd, uint64_t addr, size_t n, off_t at, struct rrc_pages *p)
{
	uint8_t *room = rrc_pages_room(p, n);
	int ret = 0;

	if (!room)
		return -ENOMEM;
	if (pread(fd, room, n * RRC_PAGE, at) != (ssize_t)(n * RRC_PAGE))
		return -ENOTSUP; /* it has just become shorter */
	for (size_t i = 0; i < n && !ret; i++)
		ret = rrc_pages_put(p, addr + i * RRC_PAGE, room + i * RRC_PAGE);
	return ret;
}

int rrc_mappedfile_copy(pid_t pid, const struct rrc_mapping *m, struct rrc_pages *p,
			struct rrc_error *err)
{
	rrc_autoclose int fd = -1;
	struct stat st;
	char path[96];
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid,
		 (unsigned long long)m->start, (unsigned long long)m->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return rrc_fail(err, ENOTSUP, "%s: %s", path, strerror(errno));
	if ((uint64_t)st.st_size < m->offset + (m->end - m->start))
		return rrc_fail(err, ENOTSUP, "a file that is mapped is shorter than its mapping");
	for (uint64_t addr = m->start; addr < m->end && !ret;) {
		size_t n = rrc_min((m->end - addr) / RRC_PAGE, (uint64_t)RRC_PAGES_RUN);

		ret = copy_run(fd, addr, n, (off_t)(m->offset + (addr - m->start)), p);
		addr += n * RRC_PAGE;
	}
	return ret ? rrc_fail(err, ret, "a file that is mapped: %s", strerror(-ret)) : 0;
}
