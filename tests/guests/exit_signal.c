/* SPDX-License-Identifier: MIT */
/* Guest: a program that a signal ends. */
#include "guest.h"

int main(void)
{
	guest_begin();
	say("about to go\n");
	ok(raise(SIGTERM));
	say("not reached\n");
	return 0;
}
