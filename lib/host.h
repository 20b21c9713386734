/* SPDX-License-Identifier: MIT */
/*
 * What this host offers, found out by trying rather than by its version: programs of ours and CRIU,
 * kernel features. The table that `rrc-trace --check` prints is made from this in user/check.c.
 */
#ifndef RRC_HOST_H
#define RRC_HOST_H

#include <stddef.h>

#include "err.h"

/* Directory of the running program, as a path without links. */
int rrc_host_exe_dir(char *dir, size_t len, struct rrc_error *err);

/*
 * Path of a CRIU that passes its own check on this kernel; the first of
 *	$RRC_CRIU (taken as it is)
 *	<dir of the program>/criu/criu
 *	<dir of the program>/../lib/rrc/criu/criu	where `make deps` and `make install` agree on PREFIX
 *	/usr/local/lib/rrc/criu/criu
 *	criu from PATH, /usr/sbin, /sbin
 * Takes up to 0.2 s: ask once. Without one: exit code 3 and a message that says how to get it.
 */
int rrc_host_criu(char *path, size_t len, struct rrc_error *err);

/* Path of a helper program of ours: beside the running program or in ../lib/rrc. */
int rrc_host_helper(const char *name, char *path, size_t len, struct rrc_error *err);

/* Runs argv[0] (a path) and gives the first len - 1 bytes of what it printed to both streams. Returns
 * its exit code (128 + signal), or a negative errno when it could not be started. */
int rrc_host_run(char *const argv[], char *out, size_t len);

/* Each: 1 yes, 0 no, negative errno: could not be found out. */
int rrc_host_btf(void);				/* /sys/kernel/btf/vmlinux */
int rrc_host_btf_func(const char *name);	/* a kernel function (kfunc) in the kernel's BTF */
int rrc_host_prog_type(const char *section);	/* a tiny program loads: "tc", "tp_btf/sys_exit", … */
int rrc_host_ringbuf_dynptr(void);
int rrc_host_bpffs(void);			/* mounted at /sys/fs/bpf */
int rrc_host_nfqueue(void);			/* the NFQUEUE target in a scratch network namespace */
int rrc_host_pagemap_scan(void);
int rrc_host_uffd_wp_async(void);
int rrc_host_ptrace(void);			/* a child can be seized and its memory file written */
int rrc_host_fork_module(void);			/* /dev/rrc_fork */

#endif
