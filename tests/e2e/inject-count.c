/* SPDX-License-Identifier: MIT */
/* Prints what the in-process recorder of process PID has counted: operations of the threads in all, those of
 * signal handlers that it left out, and those of threads that it has no slot for; then the mode. */
#include <stdio.h>
#include <stdlib.h>

#include "locklog.h"

int main(int argc, char **argv)
{
	unsigned long ops = 0, skipped = 0;
	struct rrc_error err = { 0 };
	struct rrc_locklog ll;

	if (argc != 2)
		return 2;
	if (rrc_locklog_open(atoi(argv[1]), &ll, &err)) {
		fprintf(stderr, "inject-count: %s\n", err.msg);
		return 1;
	}
	for (unsigned int i = 0; i < ll.area->slots; i++) {
		ops += ll.area->slot[i].ops;
		skipped += ll.area->slot[i].skipped;
	}
	printf("%lu %lu %u %u\n", ops, skipped, ll.area->unslotted, ll.area->mode);
	rrc_locklog_close(&ll);
	return 0;
}
