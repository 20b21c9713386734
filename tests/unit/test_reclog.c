// SPDX-License-Identifier: MIT
/* lib/reclog.c and lib/recprint.c: damaged records are refused, sound ones read and printed. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "locklog.h"
#include "reclog.h"
#include "recprint.h"
#include "syscalls.h"
#include "util.h"

/* A record under construction. */
struct build {
	union {
		struct rrc_rec rec;
		uint8_t bytes[4096];
	} __attribute__((aligned(8)));
};

static void begin(struct build *b, int kind, unsigned int nr, long ret)
{
	memset(b, 0, sizeof(*b));
	b->rec.size = sizeof(b->rec);
	b->rec.kind = (__u8)kind;
	b->rec.nr = (__u16)nr;
	b->rec.ret = ret;
	b->rec.tid = 12;
	b->rec.pid = 12;
	b->rec.exit_ns = 5000000123;
}

static void finish(struct build *b, const struct rrc_seg *segs, unsigned int n, const void *bytes);

/* What slot 3 did: two operations, that many events. */
static void build_locks(struct build *b, unsigned int events)
{
	struct rrc_ll_event e[8] = { 0 };

	begin(b, RRC_REC_LOCKS, 0, 0);
	b->rec.args[0] = 3;
	b->rec.args[1] = b->rec.args[2] = 2;
	finish(b, &(struct rrc_seg){ .len = events * (uint32_t)sizeof(e[0]) }, 1, e);
}

/* Segments first, then their bytes in one go, as the format wants them. */
static void finish(struct build *b, const struct rrc_seg *segs, unsigned int n, const void *data)
{
	uint8_t *to = b->bytes + sizeof(b->rec);
	size_t len = 0;

	b->rec.nseg = (__u8)n;
	memcpy(to, segs, n * sizeof(*segs));
	to += n * sizeof(*segs);
	for (unsigned int i = 0; i < n; i++)
		len += segs[i].len;
	memcpy(to, data, len);
	b->rec.size = (__u32)RRC_ALIGN8(sizeof(b->rec) + n * sizeof(*segs) + len);
}

static void build_read(struct build *b)
{
	begin(b, RRC_REC_SYSCALL, SYS_read, 5);
	b->rec.args[0] = 3;
	b->rec.args[1] = 0x7ffe00001000;
	b->rec.args[2] = 16384;
	b->rec.fdkind = RRC_FD_TCP;
	b->rec.obj = 0x77;
	finish(b, &(struct rrc_seg){ .len = 5 }, 1, "he\nlo");
}

static void build_packet(struct build *b, unsigned int ip_len)
{
	uint8_t data[sizeof(struct rrc_rec_packet) + 60] = { 0 };
	struct rrc_rec_packet head = { .len = ip_len, .gso_segs = 1, .family = AF_INET };
	static const uint8_t ip[44] = {
		0x45, 0,    0,	  44,	0,    0,    0,	  0,	64,   6, 0,   0,    10,	  0,   0,
		2,    10,   0,	  0,	1,    0x10, 0x92, 0x18, 0xeb, 0, 0,   0x03, 0xe8, 0,   0,
		0x07, 0xd0, 0x50, 0x18, 0x01, 0xf6, 0,	  0,	0,    0, 'P', 'I',  'N',  'G',
	};

	begin(b, RRC_REC_PACKET, 0, 0);
	b->rec.tid = 0;
	memcpy(data, &head, sizeof(head));
	memcpy(data + sizeof(head), ip, sizeof(ip));
	finish(b, &(struct rrc_seg){ .len = sizeof(head) + sizeof(ip) }, 1, data);
}

static void build_conn(struct build *b)
{
	struct rrc_rec_conn conn = {
		.cookie = 0x77,
		.family = AF_INET,
		.lport = 6379,
		.rport = 4242,
		.state = 1,
		.laddr = { 10, 0, 0, 1 },
		.raddr = { 10, 0, 0, 2 },
		.snd_nxt = 100,
		.rcv_nxt = 200,
		.mss_clamp = 1460,
		.sack_ok = 1,
	};

	begin(b, RRC_REC_CONN, 0, 0);
	b->rec.obj = 0x77;
	finish(b, &(struct rrc_seg){ .len = sizeof(conn) }, 1, &conn);
}

static void build_signal(struct build *b)
{
	struct rrc_rec_signal sig = { .ip = 0x401000, .orig_ax = SYS_epoll_wait };
	int32_t info[6] = { 15, 0, 0, 0, 99, 0 };

	begin(b, RRC_REC_SIGNAL, 0, 0);
	memcpy(sig.info, info, sizeof(info));
	finish(b, &(struct rrc_seg){ .len = sizeof(sig) }, 1, &sig);
}

static int check(const struct build *b)
{
	return rrc_rec_check(b->bytes, b->rec.size, NULL);
}

Test(reclog, accepts_what_is_sound)
{
	struct build b;

	build_read(&b);
	cr_assert_eq(check(&b), 0);
	build_packet(&b, 44);
	cr_assert_eq(check(&b), 0);
	build_conn(&b);
	cr_assert_eq(check(&b), 0);
	build_signal(&b);
	cr_assert_eq(check(&b), 0);
	for (int kind = RRC_REC_BIRTH; kind <= RRC_REC_LOST; kind++) {
		if (kind == RRC_REC_EXEC || kind == RRC_REC_PACKET || kind == RRC_REC_CONN)
			continue;
		begin(&b, kind, 0, 1);
		cr_assert_eq(check(&b), 0, "kind %d", kind);
	}
}

Test(reclog, locks_are_whole_events_of_a_slot)
{
	struct build b;

	build_locks(&b, 0);
	cr_assert_eq(check(&b), 0);
	build_locks(&b, 4);
	cr_assert_eq(check(&b), 0);
	b.rec.args[0] = RRC_LL_SLOTS;
	cr_assert_neq(check(&b), 0, "a slot that cannot be");
	build_locks(&b, 4);
	b.rec.args[1] = 0;
	b.rec.args[2] = UINT32_MAX;
	cr_assert_eq(check(&b), 0, "the count has wrapped between the two");
	b.rec.args[2] = 1ull << 32;
	cr_assert_neq(check(&b), 0, "no count of an operation");
	begin(&b, RRC_REC_LOCKS, 0, 0);
	cr_assert_neq(check(&b), 0, "no segment");
	finish(&b, &(struct rrc_seg){ .len = 36 }, 1, (char[36]){ 0 });
	cr_assert_neq(check(&b), 0, "one and a half events");
}

Test(reclog, refuses_every_cut)
{
	struct build b;
	struct rrc_error err = { 0 };

	build_packet(&b, 44);
	for (size_t len = 0; len < b.rec.size; len++) {
		/* A buffer of exactly this size, so that a checker sees a byte too far. */
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, b.bytes, len);
		cr_assert_eq(rrc_rec_check(cut, len, &err), -EBADMSG, "%zu bytes", len);
		cr_assert_gt(strlen(err.msg), 0);
		free(cut);
	}
}

/* The size in the header made smaller or larger, with the bytes all there. */
Test(reclog, refuses_every_other_size)
{
	struct build b;
	uint32_t right;

	build_read(&b);
	right = b.rec.size;
	for (uint32_t size = 0; size < sizeof(b.bytes); size++) {
		b.rec.size = size;
		cr_assert_eq(rrc_rec_check(b.bytes, sizeof(b.bytes), NULL),
			     size == right ? 0 : -EBADMSG, "size %u", size);
	}
	b.rec.size = 0xfffffff8;
	cr_assert_eq(rrc_rec_check(b.bytes, sizeof(b.bytes), NULL), -EBADMSG);
}

#define REFUSES(change)                                                                         \
	do {                                                                                    \
		struct build b;                                                                 \
		struct rrc_seg *seg = (struct rrc_seg *)(b.bytes + sizeof(b.rec));              \
                                                                                                \
		build_read(&b);                                                                 \
		(void)seg;                                                                      \
		change;                                                                         \
		cr_assert_eq(rrc_rec_check(b.bytes, sizeof(b.bytes), NULL), -EBADMSG, #change); \
	} while (0)

Test(reclog, refuses_alterations)
{
	REFUSES(b.rec.kind = RRC_REC_NONE);
	REFUSES(b.rec.kind = RRC_REC_KINDS);
	REFUSES(b.rec.kind = RRC_REC_CUT); /* has no segments */
	REFUSES(b.rec.kind = RRC_REC_CONN); /* is longer */
	REFUSES(b.rec.fdkind = RRC_FDKINDS);
	REFUSES(b.rec.flags = 1 << 6);
	REFUSES(b.rec.nr = 512);
	REFUSES(b.rec.reserved = 1);
	REFUSES(b.rec.nseg = 0);
	REFUSES(b.rec.nseg = 2);
	REFUSES(b.rec.nseg = 9);
	REFUSES(b.rec.nseg = 255);
	REFUSES(seg->len = 9); /* one byte over the record */
	REFUSES(seg->len = 0);
	REFUSES(seg->len = 0xffffffff);
	REFUSES(seg->row = 5);
	REFUSES(seg->dir = 2);
	REFUSES(b.bytes[b.rec.size - 1] = 1); /* padding */
	REFUSES(b.bytes[b.rec.size - 3] = 1);
}

Test(reclog, refuses_lengths_that_overflow)
{
	struct build b;
	struct rrc_seg segs[8];
	static const uint8_t data[8];

	begin(&b, RRC_REC_SYSCALL, SYS_readv, 5);
	memset(segs, 0, sizeof(segs));
	finish(&b, segs, 8, data);
	cr_assert_eq(check(&b), 0);
	for (int i = 0; i < 8; i++) /* the sum is 2^32 */
		segs[i].len = 1u << 29;
	memcpy(b.bytes + sizeof(b.rec), segs, sizeof(segs));
	cr_assert_eq(rrc_rec_check(b.bytes, sizeof(b.bytes), NULL), -EBADMSG);
}

/* Programs may ask for any number, also by the 32-bit gate; such a log must stay readable. */
Test(reclog, numbers_beyond_the_table_are_barriers)
{
	struct build b;

	begin(&b, RRC_REC_SYSCALL, 0xffff, -ENOSYS);
	cr_assert_eq(check(&b), -EBADMSG);
	b.rec.flags = RRC_F_BARRIER;
	cr_assert_eq(check(&b), 0);
	b.rec.nr = RRC_NSYS;
	cr_assert_eq(check(&b), 0);
}

Test(reclog, packet_lengths_agree)
{
	struct build b;

	build_packet(&b, 43);
	cr_assert_eq(check(&b), -EBADMSG);
	build_packet(&b, 45);
	cr_assert_eq(check(&b), -EBADMSG);
	b.rec.flags = RRC_F_TRUNC | RRC_F_BARRIER; /* says that it is not whole */
	cr_assert_eq(check(&b), 0);
	build_packet(&b, 43);
	b.rec.flags = RRC_F_TRUNC | RRC_F_BARRIER;
	cr_assert_eq(check(&b), -EBADMSG);
}

Test(reclog, refuses_a_place_out_of_step)
{
	struct build b;
	uint8_t moved[sizeof(b.bytes)] __attribute__((aligned(8)));

	build_read(&b);
	memcpy(moved + 4, b.bytes, b.rec.size);
	cr_assert_eq(rrc_rec_check(moved + 4, b.rec.size, NULL), -EBADMSG);
}

Test(reclog, finds_segments)
{
	struct build b;
	const uint8_t *data = NULL;
	const struct rrc_seg segs[] = {
		{ .len = 3, .row = 1 },
		{ .len = 0, .row = 2 },
		{ .len = 4, .row = 0, .index = 1 },
		{ .len = 2, .row = 0 },
	};

	begin(&b, RRC_REC_SYSCALL, SYS_recvmmsg, 2);
	finish(&b, segs, 4, "abcdefghi");
	cr_assert_eq(check(&b), 0);
	cr_assert_eq(rrc_rec_seg(&b.rec, 0, &data)->len, 2);
	cr_assert_arr_eq(data, "hi", 2);
	cr_assert_eq(rrc_rec_seg(&b.rec, 1, &data)->len, 3);
	cr_assert_arr_eq(data, "abc", 3);
	cr_assert_eq(rrc_rec_seg(&b.rec, 2, &data)->len, 0);
	cr_assert_null(rrc_rec_seg(&b.rec, 3, &data));
}

Test(reclog, iterates)
{
	struct build b;
	uint8_t log[1024] __attribute__((aligned(8)));
	size_t len = 0, off = 0, ends[3];
	struct rrc_error err = { 0 };

	for (int i = 0; i < 3; i++) {
		if (i == 1)
			build_packet(&b, 44);
		else
			build_read(&b);
		b.rec.seq = (__u32)i;
		memcpy(log + len, b.bytes, b.rec.size);
		ends[i] = len += b.rec.size;
	}
	for (unsigned int i = 0; i < 3; i++) {
		const struct rrc_rec *rec = rrc_reclog_next(log, len, &off, &err);

		cr_assert_not_null(rec);
		cr_assert_eq(rec->seq, i);
		cr_assert_eq(off, ends[i]);
	}
	cr_assert_null(rrc_reclog_next(log, len, &off, &err));
	cr_assert_eq(err.code, 0);

	/* A damaged record stops the reader there, and it stays there. */
	log[ends[0] + offsetof(struct rrc_rec, kind)] = 0xee;
	off = 0;
	cr_assert_not_null(rrc_reclog_next(log, len, &off, &err));
	cr_assert_null(rrc_reclog_next(log, len, &off, &err));
	cr_assert_eq(err.code, -EBADMSG);
	cr_assert_eq(off, ends[0]);
	cr_assert_not_null(strstr(err.msg, "unknown kind"));
}

/* One line for the record, without its end. */
static void line_of(const struct build *b, int json, char text[2048])
{
	FILE *out = fmemopen(text, 2048, "w");

	cr_assert_eq(check(b), 0);
	cr_assert_eq(rrc_rec_print_since(out, &b->rec, json, 7, 5000000000), 0);
	cr_assert_eq(fclose(out), 0);
	cr_assert_eq(strchr(text, '\n') - text, (long)strlen(text) - 1, "one line");
	*strchr(text, '\n') = 0;
}

static void prints(const struct build *b, const char *want)
{
	char text[2048];

	line_of(b, 0, text);
	cr_assert_str_eq(text, want);
}

Test(recprint, calls)
{
	struct build b;

	build_read(&b);
	prints(&b, "       7 0.000000123 [12] read(3, \"he\\nlo\", 16384) = 5 <tcp 77> {out1 5}");
	b.rec.flags = RRC_F_BARRIER | RRC_F_FAULT;
	b.rec.exit_ns = 4000000000;
	prints(&b, "       7 -1.000000000 [12] read(3, \"he\\nlo\", 16384) = 5 <tcp 77> {out1 5}"
		   " BARRIER FAULT");

	begin(&b, RRC_REC_SYSCALL, SYS_openat, -ENOENT);
	b.rec.args[0] = (__u64)-100;
	b.rec.args[1] = 0x400000;
	b.rec.args[2] = 0x80000;
	finish(&b, &(struct rrc_seg){ .len = 9, .dir = RRC_SEG_IN }, 1, "/a\"\001/\0332\xff");
	prints(&b,
	       "       7 0.000000123 [12] openat(AT_FDCWD, \"/a\\\"\\1/\\0332\\377\", 0x80000, 0) "
	       "= -2 ENOENT {in1 9}");

	begin(&b, RRC_REC_SYSCALL, SYS_mmap, 0x7f0000000000);
	b.rec.args[1] = 4096;
	b.rec.args[4] = 0xffffffff;
	prints(&b, "       7 0.000000123 [12] mmap(0, 4096, 0, 0, -1, 0) = 0x7f0000000000");

	begin(&b, RRC_REC_SYSCALL, SYS_poll, -516);
	prints(&b, "       7 0.000000123 [12] poll(0, 0, 0) = -516 ERESTART_RESTARTBLOCK");

	begin(&b, RRC_REC_SYSCALL, SYS_getppid, INT64_MIN);
	prints(&b, "       7 0.000000123 [12] getppid() = -9223372036854775808");

	begin(&b, RRC_REC_ENTER, SYS_exit_group, 0);
	prints(&b, "       7 0.000000123 [12] exit_group(0) does not return");

	begin(&b, RRC_REC_SYSCALL, 400, -38);
	b.rec.flags = RRC_F_BARRIER;
	prints(&b, "       7 0.000000123 [12] syscall_400(0, 0, 0, 0, 0, 0) = -38 ENOSYS BARRIER");

	begin(&b, RRC_REC_SYSCALL, 3, 0); /* not close, but read */
	b.rec.flags = RRC_F_BARRIER | RRC_F_COMPAT;
	prints(&b, "       7 0.000000123 [12] syscall32_3(0, 0, 0, 0, 0, 0) = 0 BARRIER COMPAT");
}

Test(recprint, long_strings_are_cut)
{
	struct build b;
	char data[200], text[2048];

	build_read(&b);
	b.rec.ret = sizeof(data);
	memset(data, 0xff, sizeof(data));
	finish(&b, &(struct rrc_seg){ .len = sizeof(data) }, 1, data);
	line_of(&b, 0, text);
	cr_assert_not_null(strstr(text, "\\377\"..., 16384) = 200"));
	cr_assert_lt(strlen(text), 250);
}

Test(recprint, addresses)
{
	struct build b;
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(53),
				  .sin_addr.s_addr = htonl(0x0a000001) };
	uint8_t data[sizeof(to) + 4] = { 0 };
	const struct rrc_seg accept_segs[] = { { .len = sizeof(to), .row = 0 },
					       { .len = 4, .row = 1 } };

	begin(&b, RRC_REC_SYSCALL, SYS_connect, -EINPROGRESS);
	b.rec.args[0] = 4;
	b.rec.args[1] = 0x7ffe00001000;
	b.rec.args[2] = sizeof(to);
	finish(&b, &(struct rrc_seg){ .len = sizeof(to), .dir = RRC_SEG_IN }, 1, &to);
	prints(&b, "       7 0.000000123 [12] connect(4, 10.0.0.1:53, 16) = -115 EINPROGRESS "
		   "{in1 16}");

	begin(&b, RRC_REC_SYSCALL, SYS_accept, 9);
	b.rec.args[0] = 4;
	b.rec.args[1] = 0x7ffe00001000;
	b.rec.args[2] = 0x7ffe00002000;
	memcpy(data, &to, sizeof(to));
	data[sizeof(to)] = 16;
	finish(&b, accept_segs, 2, data);
	prints(&b, "       7 0.000000123 [12] accept(4, 10.0.0.1:53, [16]) = 9 "
		   "{out1 16, out2 4}");
}

Test(recprint, other_kinds)
{
	struct build b;

	build_packet(&b, 44);
	prints(&b, "       7 0.000000123 packet tcp 10.0.0.2:4242 > 10.0.0.1:6379 PA seq 1000 "
		   "ack 2000 win 502 data 4 len 44");
	build_signal(&b);
	prints(&b, "       7 0.000000123 [12] signal SIGTERM code 0 from 99 at ip 0x401000 in "
		   "epoll_wait");
	build_conn(&b);
	prints(&b, "       7 0.000000123 [12] connection 77 10.0.0.1:6379 from 10.0.0.2:4242 "
		   "ESTABLISHED snd_nxt 100 snd_una 0 rcv_nxt 200 mss 1460 wscale 0/0 sack");
	begin(&b, RRC_REC_DEATH, 0, 9);
	prints(&b, "       7 0.000000123 [12] death by SIGKILL");
	begin(&b, RRC_REC_DEATH, 0, 3 << 8);
	prints(&b, "       7 0.000000123 [12] death, exit code 3");
	begin(&b, RRC_REC_BIRTH, 0, 13);
	b.rec.args[1] = 12;
	prints(&b, "       7 0.000000123 [12] birth of 13 in group 12, flags 0");
	begin(&b, RRC_REC_CUT, 0, 0);
	b.rec.tid = 0;
	b.rec.args[0] = 4;
	prints(&b, "       7 0.000000123 cut: checkpoint 4");
	begin(&b, RRC_REC_LOST, 0, 17);
	b.rec.tid = 0;
	b.rec.flags = RRC_F_BARRIER;
	prints(&b, "       7 0.000000123 lost: 17 records are missing here BARRIER");
}

static const char *json_str(struct json_object *obj, const char *key)
{
	struct json_object *value;

	cr_assert(json_object_object_get_ex(obj, key, &value), "%s", key);
	return json_object_get_string(value);
}

Test(recprint, json_of_a_call)
{
	struct build b;
	char text[2048];
	struct json_object *obj, *list;

	build_read(&b);
	line_of(&b, 1, text);
	obj = json_tokener_parse(text);
	cr_assert_not_null(obj, "%s", text);
	cr_assert_str_eq(json_str(obj, "pos"), "7");
	cr_assert_str_eq(json_str(obj, "ns"), "123");
	cr_assert_str_eq(json_str(obj, "kind"), "syscall");
	cr_assert_str_eq(json_str(obj, "call"), "read");
	cr_assert_str_eq(json_str(obj, "ret"), "5");
	cr_assert_str_eq(json_str(obj, "fdkind"), "tcp");
	cr_assert(json_object_object_get_ex(obj, "args", &list));
	cr_assert_eq(json_object_array_length(list), 3);
	cr_assert_eq(json_object_get_uint64(json_object_array_get_idx(list, 1)), 0x7ffe00001000);
	cr_assert(json_object_object_get_ex(obj, "segments", &list));
	cr_assert_eq(json_object_array_length(list), 1);
	cr_assert_str_eq(json_str(json_object_array_get_idx(list, 0), "text"), "\"he\\nlo\"");
	json_object_put(obj);
}

Test(recprint, json_of_every_kind)
{
	struct build b;
	char text[2048];

	for (int kind = RRC_REC_SYSCALL; kind < RRC_REC_KINDS; kind++) {
		struct json_object *obj;

		if (kind == RRC_REC_PACKET) {
			build_packet(&b, 44);
		} else if (kind == RRC_REC_CONN) {
			build_conn(&b);
		} else if (kind == RRC_REC_SIGNAL) {
			build_signal(&b);
		} else {
			begin(&b, kind, 0, 1);
			if (kind == RRC_REC_EXEC)
				finish(&b, &(struct rrc_seg){ .len = 32 }, 1, (char[32]){ 0 });
			else if (kind == RRC_REC_LOCKS)
				build_locks(&b, 2);
		}
		line_of(&b, 1, text);
		obj = json_tokener_parse(text);
		cr_assert_not_null(obj, "%s", text);
		cr_assert_str_eq(json_str(obj, "kind"), rrc_rec_kind_name((unsigned int)kind));
		json_object_put(obj);
	}
}
