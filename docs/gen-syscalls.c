// SPDX-License-Identifier: MIT
/* Writes docs/syscalls.md from the table; run by `make docs/syscalls.md`. */
#include "syscalls.h"

int main(void)
{
	return rrc_syscalls_print(stdout, RRC_PRINT_MARKDOWN) ? 1 : 0;
}
