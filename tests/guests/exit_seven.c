/* SPDX-License-Identifier: MIT */
/* Guest: an exit code, and handlers at exit. */
#include "guest.h"

static void last(void)
{
	say("last\n");
}

static void first(int code, void *arg)
{
	say("first %d %s\n", code, (char *)arg);
}

int main(void)
{
	guest_begin();
	must(atexit(last) == 0);
	must(on_exit(first, "argument") == 0);
	say("leaving\n");
	exit(7);
}
