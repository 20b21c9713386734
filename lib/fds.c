/* SPDX-License-Identifier: MIT */
/* Descriptors, see fds.h. */
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fds.h"

#define HIGH 300

void rrc_fds_keep(int *fds, size_t n)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++)
		dup2(null, i);
	/* By way of a high number: a source may sit where a target goes. */
	for (size_t i = 0; i < n; i++)
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HIGH);
	for (size_t i = 0; i < n; i++)
		fds[i] = dup3(fds[i], 3 + (int)i, O_CLOEXEC);
	syscall(SYS_close_range, 3 + n, ~0u, 0);
}
