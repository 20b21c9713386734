/* SPDX-License-Identifier: MIT */
/* Time namespaces, see timens.h. */
#include <string.h>

#include "timens.h"
#include "util.h"

int64_t rrc_timens_offset(pid_t pid, const char *clock)
{
	char path[64], line[128];
	long long sec, nsec;
	rrc_autofclose FILE *f = NULL;
	size_t n = strlen(clock);

	snprintf(path, sizeof(path), "/proc/%d/timens_offsets", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, clock, n) && sscanf(line + n, "%lld %lld", &sec, &nsec) == 2)
			return sec * 1000000000ll + nsec;
	return 0;
}
