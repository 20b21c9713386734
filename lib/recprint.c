/* SPDX-License-Identifier: MIT */
/* A record as one line of text. The JSON way is in recjson.c, the words of both in rectext.c. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "locklog.h"
#include "reclog.h"
#include "recprint.h"
#include "recprint_int.h"
#include "syscalls.h"

#define SOCKADDR_MAX 128 /* the limit by which the table marks a socket address */

/* The bytes that the record has for an argument, if any; *row says what they are. */
static const struct rrc_seg *arg_seg(const struct rrc_rec *rec, unsigned int arg,
				     const struct rrc_segrow **row, const uint8_t **data)
{
	const struct rrc_sysrow *call = rrc_rec_row(rec);
	const struct rrc_seg *found = NULL, *seg;
	const uint8_t *bytes;

	for (unsigned int i = 0; i < call->nseg; i++) {
		if (call->seg[i].ptr != arg)
			continue;
		seg = rrc_rec_seg(rec, i, &bytes);
		/* Of several (msghdr: the structure, its data) the data says most. */
		if (!seg || (found && call->seg[i].len != RRC_LEN_MSGHDR &&
			     call->seg[i].len != RRC_LEN_MMSGHDR))
			continue;
		found = seg;
		*row = &call->seg[i];
		*data = bytes;
	}
	return found;
}

/* A register: small numbers and errors as numbers, the rest, pointers and flags, as hex. */
static void print_number(FILE *out, uint64_t value)
{
	int64_t wide = (int64_t)value;
	int32_t narrow = (int32_t)value;

	if (value < 65536 || (wide < 0 && wide >= -4095))
		fprintf(out, "%lld", (long long)wide);
	else if (value >> 32 == 0 && narrow < 0 && narrow >= -4095)
		fprintf(out, "%d", narrow);
	else
		fprintf(out, "%#llx", (unsigned long long)value);
}

static void print_bytes(FILE *out, const struct rrc_segrow *row, const uint8_t *data, size_t len)
{
	char text[RRC_QUOTE_SIZE];

	/* The kernel's string, without its NUL. */
	rrc_quote(text, data, row->len == RRC_LEN_STR ? strnlen((const char *)data, len) : len);
	fputs(text, out);
}

static void print_ints(FILE *out, const uint8_t *data, size_t len)
{
	int32_t value;

	fputc('[', out);
	for (size_t i = 0; i + sizeof(value) <= len; i += sizeof(value)) {
		memcpy(&value, data + i, sizeof(value));
		fprintf(out, i ? ", %d" : "%d", value);
	}
	fputc(']', out);
}

/* A length, an exit status, or the descriptors of a pipe. */
static int is_ints(const struct rrc_rec *rec, const struct rrc_segrow *row)
{
	if (row->len != RRC_LEN_CONST || row->dir != RRC_SEG_OUT)
		return 0;
	return row->k == 4 || (row->k == 8 && (rrc_rec_row(rec)->flags & RRC_ROW_FDTABLE));
}

static int is_dirfd(const struct rrc_rec *rec, unsigned int arg)
{
	const struct rrc_sysrow *call = rrc_rec_row(rec);

	if ((int32_t)rec->args[arg] != -100 /* AT_FDCWD */)
		return 0;
	for (unsigned int i = 0; i < call->nseg; i++)
		if (call->seg[i].len == RRC_LEN_STR && call->seg[i].ptr == arg + 1)
			return 1;
	return 0;
}

static void print_arg(FILE *out, const struct rrc_rec *rec, unsigned int arg)
{
	const struct rrc_segrow *row = NULL;
	const uint8_t *data = NULL;
	const struct rrc_seg *seg = arg_seg(rec, arg, &row, &data);
	char addr[RRC_ENDPOINT_SIZE];

	if (is_dirfd(rec, arg)) {
		fputs("AT_FDCWD", out);
	} else if (!rec->args[arg] && seg) {
		fputs("NULL", out);
	} else if (!seg) {
		print_number(out, rec->args[arg]);
	} else if ((row->len == RRC_LEN_ARG || row->len == RRC_LEN_VALRES) &&
		   row->k == SOCKADDR_MAX && !rrc_sockaddr_text(addr, data, seg->len)) {
		fputs(addr, out);
	} else if (is_ints(rec, row)) {
		print_ints(out, data, seg->len);
	} else if (row->len == RRC_LEN_CONST || row->len == RRC_LEN_ARGMUL ||
		   row->len == RRC_LEN_RETMUL || row->len == RRC_LEN_FDSET) {
		print_number(out, rec->args[arg]);
	} else {
		print_bytes(out, row, data, seg->len);
	}
}

static void print_result(FILE *out, const struct rrc_rec *rec)
{
	const char *name = rrc_result_error(rec->ret);

	if (rec->kind == RRC_REC_ENTER) {
		fputs(" does not return", out);
		return;
	}
	fputs(" = ", out);
	if (rec->ret > 65535 && (rrc_rec_row(rec)->flags & RRC_ROW_MAPS))
		fprintf(out, "%#llx", (unsigned long long)rec->ret);
	else
		fprintf(out, "%lld", (long long)rec->ret);
	if (name)
		fprintf(out, " %s", name);
}

/* What the record carries: "{out1 5, in2 16}" counts bytes by argument. */
static void print_sizes(FILE *out, const struct rrc_rec *rec)
{
	const struct rrc_seg *segs = rrc_rec_segs(rec);
	const struct rrc_sysrow *row = rrc_rec_row(rec);

	if (!rec->nseg)
		return;
	fputs(" {", out);
	for (unsigned int i = 0; i < rec->nseg; i++) {
		fprintf(out, "%s%s", i ? ", " : "", segs[i].dir == RRC_SEG_IN ? "in" : "out");
		if (segs[i].row < row->nseg)
			fprintf(out, "%u", row->seg[segs[i].row].ptr);
		else
			fputc('?', out);
		if (segs[i].index)
			fprintf(out, ".%u", segs[i].index);
		fprintf(out, " %u", segs[i].len);
	}
	fputc('}', out);
}

static void print_call(FILE *out, const struct rrc_rec *rec)
{
	const struct rrc_sysrow *row = rrc_rec_row(rec);
	const char *name = rrc_rec_call_name(rec);

	if (name)
		fprintf(out, "%s(", name);
	else
		fprintf(out, "%s_%u(", rec->flags & RRC_F_COMPAT ? "syscall32" : "syscall",
			rec->nr);
	for (unsigned int i = 0; i < row->nargs; i++) {
		fputs(i ? ", " : "", out);
		print_arg(out, rec, i);
	}
	fputc(')', out);
	print_result(out, rec);
	if (rec->fdkind)
		fprintf(out, " <%s %llx>", rrc_fdkind_name(rec->fdkind),
			(unsigned long long)rec->obj);
	print_sizes(out, rec);
}

static void print_signal(FILE *out, const struct rrc_rec *rec)
{
	struct rrc_rec_signal sig;
	int32_t info[6];
	char name[16];

	memcpy(&sig, rrc_rec_payload(rec), sizeof(sig));
	memcpy(info, sig.info, sizeof(info));
	fprintf(out, "signal %s code %d from %d at ip %#llx", rrc_signal_name(name, info[0]),
		info[2], info[4], (unsigned long long)sig.ip);
	if (sig.orig_ax < 0)
		fputs(" in user code", out);
	else if (rrc_sysname((unsigned int)sig.orig_ax))
		fprintf(out, " in %s", rrc_sysname((unsigned int)sig.orig_ax));
	else
		fprintf(out, " in call %lld", (long long)sig.orig_ax);
}

static void print_packet(FILE *out, const struct rrc_rec *rec)
{
	struct rrc_rec_packet head;
	struct rrc_packet_text text;

	rrc_packet_describe(rec, &head, &text);
	fprintf(out, "packet %s", text.proto);
	if (*text.src)
		fprintf(out, " %s > %s", text.src, text.dst);
	if (*text.flags)
		fprintf(out, " %s seq %u ack %u win %u data %u", text.flags, text.tcp.seq,
			text.tcp.ack, text.tcp.win, text.tcp.len);
	fprintf(out, " len %u", head.len);
	if (head.gso_segs > 1)
		fprintf(out, " segs %u", head.gso_segs);
}

static void print_conn(FILE *out, const struct rrc_rec *rec)
{
	struct rrc_rec_conn conn;
	char local[RRC_ENDPOINT_SIZE], remote[RRC_ENDPOINT_SIZE];

	memcpy(&conn, rrc_rec_payload(rec), sizeof(conn));
	rrc_endpoint(local, conn.family, conn.laddr, conn.lport, 1);
	rrc_endpoint(remote, conn.family, conn.raddr, conn.rport, 1);
	fprintf(out, "connection %llx %s %s %s %s", (unsigned long long)conn.cookie, local,
		conn.active ? "to" : "from", remote, rrc_tcp_state_name(conn.state));
	fprintf(out, " snd_nxt %u snd_una %u rcv_nxt %u mss %u wscale %u/%u", conn.snd_nxt,
		conn.snd_una, conn.rcv_nxt, conn.mss_clamp, conn.snd_wscale, conn.rcv_wscale);
	if (conn.sack_ok)
		fputs(" sack", out);
	if (conn.tstamp_ok)
		fputs(" timestamps", out);
}

static void print_death(FILE *out, const struct rrc_rec *rec)
{
	int status = (int)rec->ret;
	char name[16];

	if (WIFSIGNALED(status))
		fprintf(out, "death by %s", rrc_signal_name(name, WTERMSIG(status)));
	else
		fprintf(out, "death, exit code %d", WEXITSTATUS(status));
}

static void print_exec(FILE *out, const struct rrc_rec *rec)
{
	struct rrc_rec_exec exec;

	memcpy(&exec, rrc_rec_payload(rec), sizeof(exec));
	fprintf(out, "exec: new program, stack %#llx, vdso %#llx",
		(unsigned long long)exec.start_stack, (unsigned long long)exec.vdso);
}

static void print_what(FILE *out, const struct rrc_rec *rec)
{
	switch (rec->kind) {
	case RRC_REC_SYSCALL:
	case RRC_REC_ENTER:
		print_call(out, rec);
		break;
	case RRC_REC_SIGNAL:
		print_signal(out, rec);
		break;
	case RRC_REC_BIRTH:
		fprintf(out, "birth of %lld in group %llu, flags %#llx", (long long)rec->ret,
			(unsigned long long)rec->args[1], (unsigned long long)rec->args[0]);
		break;
	case RRC_REC_DEATH:
		print_death(out, rec);
		break;
	case RRC_REC_EXEC:
		print_exec(out, rec);
		break;
	case RRC_REC_PACKET:
		print_packet(out, rec);
		break;
	case RRC_REC_CONN:
		print_conn(out, rec);
		break;
	case RRC_REC_CONN_STATE:
		fprintf(out, "connection %llx %s to %s", (unsigned long long)rec->obj,
			rrc_tcp_state_name((unsigned int)rec->args[0]),
			rrc_tcp_state_name((unsigned int)rec->args[1]));
		break;
	case RRC_REC_CUT:
		fprintf(out, "cut: checkpoint %llu", (unsigned long long)rec->args[0]);
		break;
	case RRC_REC_LOST:
		fprintf(out, "lost: %lld records are missing here", (long long)rec->ret);
		break;
	case RRC_REC_LOCKS:
		fprintf(out, "locks: process %u slot %llu, %zu events, operations to %llu",
			rec->pid, (unsigned long long)rec->args[0],
			rrc_rec_segs(rec)->len / sizeof(struct rrc_ll_event),
			(unsigned long long)rec->args[1]);
		break;
	}
}

static void print_rec_flags(FILE *out, const struct rrc_rec *rec)
{
	for (unsigned int i = 0; i < RRC_REC_FLAGS; i++)
		if (rec->flags & 1u << i)
			fprintf(out, " %s", rrc_rec_flag_names[i]);
}

int rrc_rec_print_since(FILE *out, const struct rrc_rec *rec, int json, uint64_t pos,
			uint64_t start_ns)
{
	uint64_t ns = rec->exit_ns - start_ns;
	const char *sign = "";

	if (json)
		return rrc_rec_print_json(out, rec, pos, start_ns);
	if ((int64_t)ns < 0) { /* began before the start: a call that blocked, say */
		ns = -ns;
		sign = "-";
	}
	fprintf(out, "%8llu %s%llu.%09llu ", (unsigned long long)pos, sign,
		(unsigned long long)(ns / 1000000000), (unsigned long long)(ns % 1000000000));
	if (rec->tid)
		fprintf(out, "[%u] ", rec->tid);
	print_what(out, rec);
	print_rec_flags(out, rec);
	fputc('\n', out);
	return ferror(out) ? -EIO : 0;
}

int rrc_rec_print(FILE *out, const struct rrc_rec *rec, int json, uint64_t pos)
{
	return rrc_rec_print_since(out, rec, json, pos, 0);
}
