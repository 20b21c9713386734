/* SPDX-License-Identifier: MIT */
/* Guest: a library loaded while running. */
#include <dlfcn.h>

#include "guest.h"

int main(void)
{
	double (*cosine)(double);
	void *lib;

	guest_begin();
	say("none %d\n", dlopen("libno-such-library.so", RTLD_NOW) != NULL);
	lib = dlopen("libm.so.6", RTLD_NOW);
	must(lib);
	cosine = (double (*)(double))dlsym(lib, "cos");
	must(cosine);
	say("cos 1 = %.6f at <%p>\n", cosine(1.0), (void *)cosine);
	say("closed %d\n", dlclose(lib));
	return 0;
}
