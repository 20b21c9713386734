// SPDX-License-Identifier: MIT
/* Places where libc makes calls, see sites.h. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ptrace.h"
#include "sites.h"
#include "syscalls.h"
#include "util.h"

#define TEXT_MAX (16u << 20)

/* Calls that servers make all the time, and that replay answers from the log. */
static const uint16_t wanted[] = {
	RRC_NR_read,	 RRC_NR_write,	    RRC_NR_readv,	RRC_NR_writev,
	RRC_NR_pread64,	 RRC_NR_sendto,	    RRC_NR_recvfrom,	RRC_NR_sendmsg,
	RRC_NR_recvmsg,	 RRC_NR_poll,	    RRC_NR_ppoll,	RRC_NR_select,
	RRC_NR_pselect6, RRC_NR_epoll_wait, RRC_NR_epoll_pwait, RRC_NR_accept4,
};

static bool is_wanted(uint32_t nr)
{
	for (size_t i = 0; i < RRC_ARRAY_SIZE(wanted); i++)
		if (wanted[i] == nr)
			return true;
	return false;
}

/* syscall; cmp $-4096,%rax or $-4095 */
static bool is_call(const uint8_t *p, size_t left)
{
	static const uint8_t call[] = { 0x0f, 0x05, 0x48, 0x3d }, rest[] = { 0xf0, 0xff, 0xff };

	return left >= 8 && !memcmp(p, call, sizeof(call)) && p[4] <= 1 &&
	       !memcmp(p + 5, rest, sizeof(rest));
}

/* How many bytes before the call at p are to be overwritten, and where they begin. It is always one whole
 * instruction, so that nobody can jump into the middle. 0: none that we know. */
static size_t known_before(const uint8_t *p, size_t before, size_t *back)
{
	static const uint8_t generic[] = { 0x4c, 0x8b, 0x4c, 0x24, 0x08 }; /* mov 8(%rsp),%r9 */
	uint32_t nr;

	*back = 5;
	/* mov $nr,%eax, and not what looks like it: a prefix makes it another register's */
	if (before >= 6 && p[-5] == 0xb8 && (p[-6] & 0xf0) != 0x40) {
		memcpy(&nr, p - 4, sizeof(nr));
		return is_wanted(nr) ? 5 : 0;
	}
	if (before >= 5 && !memcmp(p - 5, generic, sizeof(generic)))
		return 5; /* syscall(3) */
	/* read(2): cmpb $0,<threads>(%rip); je; xor %eax,%eax */
	*back = 11;
	if (before >= 11 && p[-11] == 0x80 && p[-10] == 0x3d && !p[-5] && p[-4] == 0x74 &&
	    p[-2] == 0x31 && p[-1] == 0xc0)
		return 7;
	return 0;
}

size_t rrc_sites_in(const uint8_t *code, size_t len, uint64_t addr, struct rrc_site *sites,
		    size_t max)
{
	const uint8_t *p = code;
	size_t n = 0, back;

	while (n < max && (p = memmem(p, len - (size_t)(p - code), "\x0f\x05\x48\x3d", 4))) {
		size_t at = (size_t)(p - code);
		size_t known = is_call(p, len - at) ? known_before(p, at, &back) : 0;

		if (known) {
			struct rrc_site *s = &sites[n++];

			s->call = addr + at;
			s->addr = s->call - back;
			s->len = (uint8_t)known;
			memcpy(s->bytes, p - back, known);
		}
		p++;
	}
	return n;
}

static int jump(uint8_t *code, uint64_t at, uint64_t to)
{
	int64_t by = (int64_t)(to - (at + 5));
	int32_t by32 = (int32_t)by;

	if (by != by32)
		return -ERANGE;
	code[0] = 0xe9;
	memcpy(code + 1, &by32, sizeof(by32));
	return 0;
}

int rrc_site_jump(const struct rrc_site *s, uint64_t to, uint8_t code[RRC_SITE_MAX])
{
	memset(code, 0x90, RRC_SITE_MAX);
	return jump(code, s->addr, to);
}

int rrc_site_thunk(const struct rrc_site *s, unsigned int i, uint64_t at, uint64_t enter,
		   uint8_t code[RRC_SITE_THUNK])
{
	uint64_t place = (uint64_t)i << 48;
	size_t n = 0, real = RRC_SITE_REAL;
	int64_t by = (int64_t)s->addr - (int64_t)at - (int64_t)real;
	int32_t disp;
	int r;

	memset(code, 0xcc, RRC_SITE_THUNK);
	code[n++] = 0x49; /* movabs $place,%r11 */
	code[n++] = 0xbb;
	memcpy(code + n, &place, sizeof(place));
	n += sizeof(place);
	if (s->len == 5) {
		memcpy(code + n, s->bytes, 5);
		n += 5;
		r = jump(code + real, at + real, s->call);
	} else {
		code[n++] = 0x31; /* xor %eax,%eax */
		code[n++] = 0xc0;
		/* what was overwritten looks at a variable: that from here */
		memcpy(code + real, s->bytes, 7);
		memcpy(&disp, s->bytes + 2, sizeof(disp));
		by += disp;
		if (by != (int32_t)by)
			return -ERANGE;
		disp = (int32_t)by;
		memcpy(code + real + 2, &disp, sizeof(disp));
		real += 7;
		r = jump(code + real, at + real, s->addr + s->len);
	}
	if (!r)
		r = jump(code + n, at + n, enter);
	return r ? r : jump(code + RRC_SITE_DONE, at + RRC_SITE_DONE, s->call + 2);
}

/* Where libc's text is, and where its file begins. */
static int find_libc(pid_t pid, uint64_t *start, uint64_t *end, uint64_t *image)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	*image = 0;
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long from, to, off;
		char perms[8], *name = strchr(line, '/');

		if (!name || (!strstr(name, "/libc.so.") && !strstr(name, "/libc-2.")) ||
		    sscanf(line, "%lx-%lx %7s %lx", &from, &to, perms, &off) != 4)
			continue;
		if (!off)
			*image = from;
		if (!strcmp(perms, "r-xp") && *image) {
			*start = from;
			*end = to;
			return 0;
		}
	}
	return -ENOENT;
}

int rrc_sites_find(pid_t pid, struct rrc_site *sites, size_t max, uint64_t *image)
{
	rrc_autofree uint8_t *code = NULL;
	uint64_t start, end;
	int r = find_libc(pid, &start, &end, image);

	if (r || end - start > TEXT_MAX)
		return r ? r : -E2BIG;
	code = malloc(end - start);
	if (!code)
		return -ENOMEM;
	r = rrc_mem_read(pid, start, code, end - start);
	if (r)
		return r;
	r = (int)rrc_sites_in(code, end - start, start, sites, max);
	return r ? r : -ENOENT;
}
