/* SPDX-License-Identifier: MIT */
/* A record as one line of JSON, apart from recprint.c because json-c is needed only here. */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "locklog.h"
#include "reclog.h"
#include "recprint_int.h"
#include "recprint.h"
#include "syscalls.h"

static void add_u64(struct json_object *to, const char *key, uint64_t value)
{
	json_object_object_add(to, key, json_object_new_uint64(value));
}

static void add_s64(struct json_object *to, const char *key, int64_t value)
{
	json_object_object_add(to, key, json_object_new_int64(value));
}

static void add_str(struct json_object *to, const char *key, const char *value)
{
	json_object_object_add(to, key, json_object_new_string(value));
}

static void add_flags(struct json_object *to, const struct rrc_rec *rec)
{
	struct json_object *flags = json_object_new_array();

	for (unsigned int i = 0; i < RRC_REC_FLAGS; i++)
		if (rec->flags & 1u << i)
			json_object_array_add(flags, json_object_new_string(rrc_rec_flag_names[i]));
	json_object_object_add(to, "flags", flags);
}

static void add_segments(struct json_object *to, const struct rrc_rec *rec)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const struct rrc_sysrow *row = rrc_rec_row(rec);
	const uint8_t *data = rrc_rec_payload(rec);
	struct json_object *list = json_object_new_array();
	char text[RRC_QUOTE_SIZE];

	for (unsigned int i = 0; i < rec->nseg; i++) {
		struct json_object *seg = json_object_new_object();

		if (segs[i].row < row->nseg)
			add_u64(seg, "arg", row->seg[segs[i].row].ptr);
		add_str(seg, "dir", segs[i].dir == RRC_SEG_IN ? "in" : "out");
		add_u64(seg, "index", segs[i].index);
		add_u64(seg, "len", segs[i].len);
		rrc_quote(text, data, segs[i].len);
		add_str(seg, "text", text);
		json_object_array_add(list, seg);
		data += segs[i].len;
	}
	json_object_object_add(to, "segments", list);
}

static void add_call(struct json_object *to, const struct rrc_rec *rec)
{
	const char *name = rrc_rec_call_name(rec), *error = rrc_result_error(rec->ret);
	struct json_object *args = json_object_new_array();

	if (name)
		add_str(to, "call", name);
	add_u64(to, "nr", rec->nr);
	for (unsigned int i = 0; i < rrc_rec_row(rec)->nargs; i++)
		json_object_array_add(args, json_object_new_uint64(rec->args[i]));
	json_object_object_add(to, "args", args);
	if (rec->kind == RRC_REC_SYSCALL)
		add_s64(to, "ret", rec->ret);
	if (rec->kind == RRC_REC_SYSCALL && error)
		add_str(to, "error", error);
	add_u64(to, "entry_ns", rec->entry_ns);
	if (rec->fdkind) {
		add_str(to, "fdkind", rrc_fdkind_name(rec->fdkind));
		add_u64(to, "obj", rec->obj);
	}
	add_segments(to, rec);
}

static void add_signal(struct json_object *to, const struct rrc_rec *rec)
{
	struct rrc_rec_signal sig;
	int32_t info[6];
	char name[16];

	memcpy(&sig, rrc_rec_payload(rec), sizeof(sig));
	memcpy(info, sig.info, sizeof(info));
	add_str(to, "signal", rrc_signal_name(name, info[0]));
	add_s64(to, "code", info[2]);
	add_s64(to, "from", info[4]);
	add_u64(to, "ip", sig.ip);
	add_s64(to, "orig_ax", sig.orig_ax);
}

static void add_packet(struct json_object *to, const struct rrc_rec *rec)
{
	struct rrc_rec_packet head;
	struct rrc_packet_text text;

	rrc_packet_describe(rec, &head, &text);
	add_str(to, "proto", text.proto);
	add_str(to, "src", text.src);
	add_str(to, "dst", text.dst);
	add_u64(to, "len", head.len);
	add_u64(to, "gso_segs", head.gso_segs);
	if (strcmp(text.proto, "tcp"))
		return;
	add_str(to, "tcp_flags", text.flags);
	add_u64(to, "seq", text.tcp.seq);
	add_u64(to, "ack", text.tcp.ack);
	add_u64(to, "window", text.tcp.win);
	add_u64(to, "data", text.tcp.len);
}

static void add_conn(struct json_object *to, const struct rrc_rec *rec)
{
	struct rrc_rec_conn conn;
	char addr[RRC_ENDPOINT_SIZE];

	memcpy(&conn, rrc_rec_payload(rec), sizeof(conn));
	add_u64(to, "cookie", conn.cookie);
	rrc_endpoint(addr, conn.family, conn.laddr, conn.lport, 1);
	add_str(to, "local", addr);
	rrc_endpoint(addr, conn.family, conn.raddr, conn.rport, 1);
	add_str(to, "remote", addr);
	json_object_object_add(to, "active", json_object_new_boolean(conn.active));
	add_str(to, "state", rrc_tcp_state_name(conn.state));
	add_u64(to, "snd_nxt", conn.snd_nxt);
	add_u64(to, "snd_una", conn.snd_una);
	add_u64(to, "rcv_nxt", conn.rcv_nxt);
	add_u64(to, "mss", conn.mss_clamp);
	add_u64(to, "snd_wscale", conn.snd_wscale);
	add_u64(to, "rcv_wscale", conn.rcv_wscale);
	json_object_object_add(to, "sack", json_object_new_boolean(conn.sack_ok));
	json_object_object_add(to, "timestamps", json_object_new_boolean(conn.tstamp_ok));
}

static void add_exec(struct json_object *to, const struct rrc_rec *rec)
{
	struct rrc_rec_exec exec;

	memcpy(&exec, rrc_rec_payload(rec), sizeof(exec));
	add_u64(to, "start_stack", exec.start_stack);
	add_u64(to, "vdso", exec.vdso);
}

static void add_what(struct json_object *to, const struct rrc_rec *rec)
{
	switch (rec->kind) {
	case RRC_REC_SYSCALL:
	case RRC_REC_ENTER:
		add_call(to, rec);
		break;
	case RRC_REC_SIGNAL:
		add_signal(to, rec);
		break;
	case RRC_REC_BIRTH:
		add_s64(to, "child", rec->ret);
		add_u64(to, "clone_flags", rec->args[0]);
		add_u64(to, "group", rec->args[1]);
		break;
	case RRC_REC_DEATH:
		add_s64(to, "status", rec->ret);
		break;
	case RRC_REC_EXEC:
		add_exec(to, rec);
		break;
	case RRC_REC_PACKET:
		add_packet(to, rec);
		break;
	case RRC_REC_CONN:
		add_conn(to, rec);
		break;
	case RRC_REC_CONN_STATE:
		add_u64(to, "cookie", rec->obj);
		add_str(to, "old", rrc_tcp_state_name((unsigned int)rec->args[0]));
		add_str(to, "new", rrc_tcp_state_name((unsigned int)rec->args[1]));
		break;
	case RRC_REC_CUT:
		add_u64(to, "checkpoint", rec->args[0]);
		break;
	case RRC_REC_LOST:
		add_s64(to, "records", rec->ret);
		break;
	case RRC_REC_LOCKS:
		add_u64(to, "slot", rec->args[0]);
		add_u64(to, "ops", rec->args[1]);
		add_u64(to, "done", rec->args[2]);
		add_u64(to, "events", rrc_rec_segs(rec)->len / sizeof(struct rrc_ll_event));
		break;
	}
}

int rrc_rec_print_json(FILE *out, const struct rrc_rec *rec, uint64_t pos, uint64_t start_ns)
{
	struct json_object *line = json_object_new_object();
	const char *text;

	if (!line)
		return -ENOMEM;
	add_u64(line, "pos", pos);
	add_s64(line, "ns", (int64_t)(rec->exit_ns - start_ns));
	add_str(line, "kind", rrc_rec_kind_name(rec->kind));
	add_u64(line, "tid", rec->tid);
	add_u64(line, "pid", rec->pid);
	add_what(line, rec);
	add_flags(line, rec);
	text = json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		fprintf(out, "%s\n", text);
	json_object_put(line);
	if (!text)
		return -ENOMEM;
	return ferror(out) ? -EIO : 0;
}
