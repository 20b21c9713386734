/* SPDX-License-Identifier: MIT */
/* Pieces of text for records: names, quoted bytes, addresses, packets. */
#include <arpa/inet.h>
#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "reclog.h"
#include "recprint.h"
#include "recprint_int.h"
#include "util.h"

static const char *const kind_names[RRC_REC_KINDS] = {
	[RRC_REC_NONE] = "none",   [RRC_REC_SYSCALL] = "syscall",
	[RRC_REC_ENTER] = "enter", [RRC_REC_SIGNAL] = "signal",
	[RRC_REC_BIRTH] = "birth", [RRC_REC_DEATH] = "death",
	[RRC_REC_EXEC] = "exec",   [RRC_REC_PACKET] = "packet",
	[RRC_REC_CONN] = "conn",   [RRC_REC_CONN_STATE] = "conn-state",
	[RRC_REC_CUT] = "cut",	   [RRC_REC_LOST] = "lost",
	[RRC_REC_LOCKS] = "locks",
};

static const char *const fdkind_names[RRC_FDKINDS] = {
	[RRC_FD_NONE] = "none",		[RRC_FD_REG] = "file",
	[RRC_FD_DIR] = "dir",		[RRC_FD_PROC] = "proc",
	[RRC_FD_CHR] = "device",	[RRC_FD_FIFO] = "pipe",
	[RRC_FD_TCP] = "tcp",		[RRC_FD_TCP_LISTEN] = "tcp-listen",
	[RRC_FD_UDP] = "udp",		[RRC_FD_UNIX] = "unix",
	[RRC_FD_SOCK_OTHER] = "socket", [RRC_FD_ANON] = "anon",
};

const char *const rrc_rec_flag_names[RRC_REC_FLAGS] = {
	"BARRIER", "FAULT", "TRUNC", "UNPATCHED", "NONBLOCK", "COMPAT",
};

const char *rrc_rec_kind_name(unsigned int kind)
{
	return kind < RRC_REC_KINDS ? kind_names[kind] : "?";
}

const char *rrc_fdkind_name(unsigned int fdkind)
{
	return fdkind < RRC_FDKINDS ? fdkind_names[fdkind] : "?";
}

const struct rrc_sysrow *rrc_rec_row(const struct rrc_rec *rec)
{
	return rrc_sysrow(rec->flags & RRC_F_COMPAT ? RRC_NSYS : rec->nr);
}

const char *rrc_rec_call_name(const struct rrc_rec *rec)
{
	return rec->flags & RRC_F_COMPAT ? NULL : rrc_sysname(rec->nr);
}

const char *rrc_result_error(int64_t ret)
{
	switch (ret) {
	case -512:
		return "ERESTARTSYS";
	case -513:
		return "ERESTARTNOINTR";
	case -514:
		return "ERESTARTNOHAND";
	case -516:
		return "ERESTART_RESTARTBLOCK";
	}
	return ret < 0 && ret >= -4095 ? strerrorname_np((int)-ret) : NULL;
}

const char *rrc_tcp_state_name(unsigned int state)
{
	static const char *const states[] = {
		"?",	     "ESTABLISHED", "SYN_SENT",	    "SYN_RECV",	  "FIN_WAIT1",
		"FIN_WAIT2", "TIME_WAIT",   "CLOSE",	    "CLOSE_WAIT", "LAST_ACK",
		"LISTEN",    "CLOSING",	    "NEW_SYN_RECV",
	};

	return states[state < RRC_ARRAY_SIZE(states) ? state : 0];
}

const char *rrc_signal_name(char buf[16], int sig)
{
	const char *abbrev = sig > 0 && sig < NSIG ? sigabbrev_np(sig) : NULL;

	if (abbrev)
		snprintf(buf, 16, "SIG%s", abbrev);
	else
		snprintf(buf, 16, "%d", sig);
	return buf;
}

void rrc_quote(char buf[RRC_QUOTE_SIZE], const uint8_t *data, size_t len)
{
	static const char escapes[] = "\aa\bb\tt\nn\vv\ff\rr\"\"\\\\";
	size_t shown = rrc_min(len, (size_t)RRC_QUOTE_BYTES);
	char *to = buf;

	*to++ = '"';
	for (size_t i = 0; i < shown; i++) {
		const char *esc = data[i] ? strchr(escapes, data[i]) : NULL;

		if (data[i] < 0x7f && isprint(data[i]) && data[i] != '"' && data[i] != '\\')
			*to++ = (char)data[i];
		else if (esc)
			to += sprintf(to, "\\%c", esc[1]);
		else if (i + 1 < shown && isdigit(data[i + 1]))
			to += sprintf(to, "\\%03o", data[i]);
		else
			to += sprintf(to, "\\%o", data[i]);
	}
	strcpy(to, len > shown ? "\"..." : "\"");
}

void rrc_endpoint(char buf[RRC_ENDPOINT_SIZE], unsigned int family, const uint8_t *addr,
		  unsigned int port, int with_port)
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (family == AF_INET || family == AF_INET6)
		inet_ntop((int)family, addr, ip, sizeof(ip));
	if (!with_port)
		snprintf(buf, RRC_ENDPOINT_SIZE, "%s", ip);
	else
		snprintf(buf, RRC_ENDPOINT_SIZE, family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip,
			 port);
}

int rrc_sockaddr_text(char buf[RRC_ENDPOINT_SIZE], const uint8_t *data, size_t len)
{
	uint16_t family, port;
	size_t off = offsetof(struct sockaddr_un, sun_path);

	if (len < sizeof(family) + sizeof(port))
		return -1;
	memcpy(&family, data, sizeof(family));
	memcpy(&port, data + sizeof(family), sizeof(port));
	if (family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		rrc_endpoint(buf, family, data + offsetof(struct sockaddr_in, sin_addr),
			     ntohs(port), 1);
	} else if (family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		rrc_endpoint(buf, family, data + offsetof(struct sockaddr_in6, sin6_addr),
			     ntohs(port), 1);
	} else if (family == AF_UNIX) {
		char path[RRC_QUOTE_SIZE];

		/* At most what fits: a name is cut like any string. */
		rrc_quote(path, data + off,
			  rrc_min(strnlen((const char *)data + off, len - off), (size_t)12));
		snprintf(buf, RRC_ENDPOINT_SIZE, "unix:%.56s", path);
	} else {
		return -1;
	}
	return 0;
}

static void tcp_flags(char buf[16], uint8_t flags)
{
	static const char letters[] = "FSRPAUEC";
	char *to = buf;

	for (unsigned int i = 0; i < 8; i++)
		if (flags & 1u << i)
			*to++ = letters[i];
	*to = 0;
}

/* Addresses, and ports if it is UDP, of what is not TCP; -1 if the header does not fit. */
static int other_packet(const uint8_t *ip, size_t len, struct rrc_packet_text *text)
{
	unsigned int v6 = len && ip[0] >> 4 == 6, family = v6 ? AF_INET6 : AF_INET;
	size_t head = v6 ? 40 : len ? (ip[0] & 15u) * 4 : 0;
	unsigned int proto, ports, sport = 0, dport = 0;

	if (len < head || head < 20 || (!v6 && ip[0] >> 4 != 4))
		return -1;
	proto = v6 ? ip[6] : ip[9];
	/* Only a first fragment has ports. */
	ports = proto == IPPROTO_UDP && len >= head + 8 && (v6 || !((ip[6] & 0x1f) | ip[7]));
	if (ports) {
		sport = (unsigned int)ip[head] << 8 | ip[head + 1];
		dport = (unsigned int)ip[head + 2] << 8 | ip[head + 3];
	}
	text->proto = proto == IPPROTO_UDP				 ? "udp"
		      : proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6 ? "icmp"
									 : "ip";
	rrc_endpoint(text->src, family, ip + (v6 ? 8 : 12), sport, (int)ports);
	rrc_endpoint(text->dst, family, ip + (v6 ? 24 : 16), dport, (int)ports);
	return 0;
}

void rrc_packet_describe(const struct rrc_rec *rec, struct rrc_rec_packet *head,
			 struct rrc_packet_text *text)
{
	const uint8_t *data = rrc_rec_payload(rec);
	size_t len = rrc_rec_segs(rec)->len - sizeof(*head);

	memset(text, 0, sizeof(*text));
	memcpy(head, data, sizeof(*head));
	data += sizeof(*head);
	switch (rrc_packet_parse(data, len, false, &text->tcp)) {
	case RRC_PACKET_OK:
		text->proto = "tcp";
		rrc_endpoint(text->src, text->tcp.family, text->tcp.src, text->tcp.sport, 1);
		rrc_endpoint(text->dst, text->tcp.family, text->tcp.dst, text->tcp.dport, 1);
		tcp_flags(text->flags, text->tcp.flags);
		return;
	case RRC_PACKET_NOT_TCP:
		if (!other_packet(data, len, text))
			return;
		break;
	case RRC_PACKET_BAD:
		break;
	}
	text->proto = "damaged";
}
