/* SPDX-License-Identifier: MIT */
/*
 * The manifest says what a checkpoint consists of: numbers, files with their checksums, which
 * descriptor is which TCP connection, how the container's link was set up. It is the first thing
 * that is sent of a checkpoint and the file `manifest` in its directory; a checkpoint without a
 * whole manifest and every file that it names does not exist.
 *
 *	img/…		CRIU's images
 *	conns		the table of connections at the cut, where no log tells it (conn.h)
 *	fs.tar		files of the container that changed since the checkpoint before
 *	fs.deleted	names of those that are gone, each ended by a NUL
 *	delta		instead of all these: what changed since the checkpoint before (delta.h)
 */
#ifndef RRC_MANIFEST_H
#define RRC_MANIFEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define RRC_MANIFEST_MAGIC 0x4d435252u /* "RRCM" */
#define RRC_MANIFEST_MAX   (16u << 20)

struct rrc_manifest_head {
	uint32_t magic;
	uint32_t version; /* RRC_FORMAT_VERSION */
	uint64_t length; /* of all sections */
	uint64_t sum; /* XXH3-64 of all sections */
};
_Static_assert(sizeof(struct rrc_manifest_head) == 24, "manifest head");

enum rrc_section_type {
	RRC_SECTION_INFO = 1, /* struct rrc_manifest_info, once, first */
	RRC_SECTION_FILE, /* struct rrc_manifest_file, then its name */
	RRC_SECTION_SOCKET, /* struct rrc_manifest_socket */
	RRC_SECTION_INHERIT, /* text: key that CRIU's restore must be given a descriptor for */
	RRC_SECTION_NETCFG, /* text: the container's link, see netcfg.h */
	RRC_SECTION_ROOT, /* text: path of the container's root on the primary, "" if it is the host's */
	RRC_SECTION_COMMAND, /* text: what runs in the container, for messages */
	RRC_SECTION_RESTART, /* a record: the call that its thread stood waiting in at the cut and goes on
				 * with by restart_syscall; the image has lost that */
};

struct rrc_section {
	uint32_t type;
	uint32_t length; /* without padding; sections begin at multiples of 8 */
};
_Static_assert(sizeof(struct rrc_section) == 8, "section head");

struct rrc_manifest_info {
	uint64_t number; /* of the checkpoint, from 1 */
	uint64_t cut_pos; /* position of its cut record in the log */
	uint64_t mono_ns; /* CLOCK_MONOTONIC of the primary host at the cut */
	uint64_t real_ns; /* CLOCK_REALTIME there */
	int64_t timens_mono_ns; /* what the container's clocks are ahead of the host's */
	int64_t timens_boot_ns;
	uint64_t boot_ns;
	uint32_t init_tid; /* id of the root task inside its namespace: 1 */
	uint32_t flags; /* enum rrc_manifest_flags */
	char name[80];
	char kernel[72];
};
_Static_assert(sizeof(struct rrc_manifest_info) == 216, "manifest info");

enum rrc_manifest_flags {
	RRC_MANIFEST_OWN_ROOT = 1 << 0, /* has its own mount namespace: restore needs a root */
	RRC_MANIFEST_FS_WHOLE = 1 << 1, /* fs.tar is of the whole root, not of an overlay's layer */
	RRC_MANIFEST_PASSIVE = 1 << 2, /* nothing was recorded: resume at the checkpoint */
	RRC_MANIFEST_DELTA =
		1
		<< 3, /* no images but the file `delta` (delta.h), on top of the checkpoint before */
};

struct rrc_manifest_file {
	uint64_t size;
	uint64_t sum; /* XXH3-64 of its bytes */
};

struct rrc_manifest_socket {
	uint32_t pid; /* inside the container */
	int32_t fd;
	uint64_t cookie; /* of the TCP connection, as in the log */
};

/* A manifest in memory; built by add functions, or checked and read by load. */
struct rrc_manifest;

struct rrc_manifest *rrc_manifest_new(const struct rrc_manifest_info *info);
void rrc_manifest_free(struct rrc_manifest *m);
static inline void rrc_manifest_freep(struct rrc_manifest **m)
{
	rrc_manifest_free(*m);
}

int rrc_manifest_add(struct rrc_manifest *m, enum rrc_section_type type, const void *head,
		     size_t head_len, const void *tail, size_t tail_len);
int rrc_manifest_add_text(struct rrc_manifest *m, enum rrc_section_type type, const char *text);

/* Adds every regular file below dir (not `manifest` itself), names relative to dir, with checksums. */
int rrc_manifest_add_files(struct rrc_manifest *m, const char *dir, struct rrc_error *err);

/* The bytes, sealed; valid until the next add. */
const void *rrc_manifest_bytes(struct rrc_manifest *m, size_t *len);

/* Hostile bytes: checked wholly before use. NULL with *err set. */
struct rrc_manifest *rrc_manifest_load(const void *buf, size_t len, struct rrc_error *err);
struct rrc_manifest *rrc_manifest_load_dir(const char *dir, struct rrc_error *err);
int rrc_manifest_save_dir(struct rrc_manifest *m, const char *dir, struct rrc_error *err);

const struct rrc_manifest_info *rrc_manifest_info(const struct rrc_manifest *m);

/* Iterates over sections of a type: *iter starts at 0. Returns the body or NULL at the end. Text
 * bodies end with a NUL that is not counted. */
const void *rrc_manifest_next(const struct rrc_manifest *m, enum rrc_section_type type,
			      size_t *iter, size_t *len);

/* First text section of a type, or "". */
const char *rrc_manifest_text(const struct rrc_manifest *m, enum rrc_section_type type);

/* Reads every named file in dir and compares size and checksum. */
int rrc_manifest_verify_dir(const struct rrc_manifest *m, const char *dir, struct rrc_error *err);

/* 0 when a file name from a manifest is safe to create below a directory. */
int rrc_manifest_name_ok(const char *name, size_t len);

#endif
