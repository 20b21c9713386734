/* SPDX-License-Identifier: MIT */
/*
 * What this host offers, found out by trying rather than by its version: programs of ours and CRIU,
 * kernel features. `rrc-trace --check` (user/check.c) makes its table from this.
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

/* Each tries the thing: 1 yes, 0 no, negative errno: could not be found out. */
int rrc_host_btf(void); /* the kernel carries its types */
int rrc_host_kfunc(const char *name); /* a function that programs may call is in its BTF */
int rrc_host_tp_btf(void); /* a program on tp_btf/sys_exit loads and attaches */
int rrc_host_tc(void); /* a tc classifier loads */
int rrc_host_ringbuf_dynptr(void); /* records of exact size in a ring buffer */
int rrc_host_bpffs(void); /* mounted at /sys/fs/bpf; 0: it can be */
int rrc_host_nfqueue(void); /* the NFQUEUE target, tried in a network namespace of its own */
int rrc_host_pagemap_scan(void);
int rrc_host_uffd_wp_async(void);
int rrc_host_ptrace(void); /* a child can be seized and stopped */
int rrc_host_mem_write(void); /* read-only memory of a child can be written */
int rrc_host_vdso_clock(void); /* programs read the clock without a call */
int rrc_host_fork_module(void); /* kmod-fork is loaded */

/* Names of the capabilities that are needed and that this process lacks, "" if none. */
void rrc_host_missing_caps(char *buf, size_t len);

/* What every main asks first: that nothing that is always needed and quickly tried is missing. One clear
 * line in err, exit code RRC_EXIT_HOST. */
int rrc_host_require(struct rrc_error *err);

#endif
