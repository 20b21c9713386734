/* SPDX-License-Identifier: MIT */
/* What the two ways to print a record (recprint.c, recjson.c) share: pieces of text. */
#ifndef RRC_RECPRINT_INT_H
#define RRC_RECPRINT_INT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "packet.h"
#include "record.h"
#include "syscalls.h"

#define RRC_QUOTE_BYTES	  32 /* of a string that are shown */
#define RRC_QUOTE_SIZE	  (4 * RRC_QUOTE_BYTES + 6)
#define RRC_ENDPOINT_SIZE 64
#define RRC_REC_FLAGS	  6

extern const char *const rrc_rec_flag_names[RRC_REC_FLAGS];

/* The row and name of a record's call. A 32-bit call has other numbers: the unknown call's row. */
const struct rrc_sysrow *rrc_rec_row(const struct rrc_rec *rec);
const char *rrc_rec_call_name(const struct rrc_rec *rec);

/* What a captured packet says of itself, for printing. */
struct rrc_packet_text {
	const char *proto; /* "tcp", "udp", "icmp", "ip" (anything else), "damaged" */
	char src[RRC_ENDPOINT_SIZE], dst[RRC_ENDPOINT_SIZE];
	char flags[16]; /* of TCP: "SYN,ACK" in strace's way: "SA" */
	struct rrc_packet tcp; /* valid if proto is "tcp" */
};

void rrc_packet_describe(const struct rrc_rec *rec, struct rrc_rec_packet *head,
			 struct rrc_packet_text *text);

/* The first bytes as a C string in quotes, "..." behind it if there are more. */
void rrc_quote(char buf[RRC_QUOTE_SIZE], const uint8_t *data, size_t len);

/* "10.0.0.1:80", "[::1]:80", for an address in network and a port in host byte order. */
void rrc_endpoint(char buf[RRC_ENDPOINT_SIZE], unsigned int family, const uint8_t *addr,
		  unsigned int port, int with_port);

/* The same for a struct sockaddr of any family; returns 0, or -1 if it is none that is known. */
int rrc_sockaddr_text(char buf[RRC_ENDPOINT_SIZE], const uint8_t *data, size_t len);

/* Name of an error ("ENOENT", "ERESTARTSYS") for a result, NULL if it is no error. */
const char *rrc_result_error(int64_t ret);

/* "ESTABLISHED" for TCP_ESTABLISHED. */
const char *rrc_tcp_state_name(unsigned int state);

/* "SIGTERM"; buf is used for numbers that have no name. */
const char *rrc_signal_name(char buf[16], int sig);

int rrc_rec_print_json(FILE *out, const struct rrc_rec *rec, uint64_t pos, uint64_t start_ns);

#endif
