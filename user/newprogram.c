/* SPDX-License-Identifier: MIT */
/* From exec to the first recorded lock, see newprogram.h. */
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "library.h"
#include "locklog.h"
#include "newprogram.h"
#include "util.h"
#include "vdso.h"

int rrc_newprogram_preloads(pid_t pid)
{
	static const char variable[] = "LD_PRELOAD=";
	rrc_autofclose FILE *f = NULL;
	rrc_autofree char *entry = NULL;
	char path[64];
	size_t room = 0;
	int found;

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	found = rrc_library_listed(path);
	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	f = fopen(path, "re");
	while (f && !found && getdelim(&entry, &room, 0, f) > 0)
		found = !strncmp(entry, variable, strlen(variable)) &&
			strstr(entry, RRC_PRELOAD_NAME);
	return found;
}

/* Does it stand behind a close()? */
static int closed(pid_t pid)
{
	struct __ptrace_syscall_info info;
	struct user_regs_struct regs;

	return ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) > 0 &&
	       info.op == PTRACE_SYSCALL_INFO_EXIT && !ptrace(PTRACE_GETREGS, pid, NULL, &regs) &&
	       regs.orig_rax == SYS_close;
}

static int first_thread(pid_t tid)
{
	rrc_autofclose FILE *f = NULL;
	char path[64], line[128];
	int tgid = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && sscanf(line, "Tgid: %d", &tgid) != 1)
		;
	return tgid == tid;
}

int rrc_newprogram_forked(pid_t tid)
{
	struct rrc_locklog ll;
	uint32_t mode;

	if (!first_thread(tid) || rrc_locklog_open(tid, &ll, NULL))
		return 0;
	mode = ll.area->mode;
	rrc_locklog_close(&ll);
	return mode == RRC_LL_RECORD;
}

int rrc_newprogram_ready(pid_t pid, struct rrc_locklog *ll)
{
	if (!closed(pid) || rrc_locklog_open(pid, ll, NULL))
		return 0;
	/* Its readings are in the lock log from here on: the vDSO answers them again. */
	if (rrc_vdso_restore(pid, NULL) >= 0)
		rrc_locklog_set_mode(ll, RRC_LL_RECORD);
	return 1;
}
