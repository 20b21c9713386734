/* SPDX-License-Identifier: MIT */
/*
 * What server and client of the test of connection states agree on: kinds, and bytes that depend
 * only on a connection's number, direction and place.
 */
#ifndef TCP_STATES_H
#define TCP_STATES_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "die.h"

#define PORT_DUAL  7000 /* IPv6, and IPv4 as v4-mapped */
#define PORT_V4	   7001
#define PORT_SPEAK 7002 /* the server speaks first */
#define PORT_REUSE 7003 /* two sockets with SO_REUSEPORT */
#define PORT_UDP   7004
#define PORT_BACK  7010 /* the client's, for connections that the server opens */

#define HELLO	  4 /* 'H', kind, number (2 bytes) */
#define SMALL	  1000
#define PART	  40000 /* more than a client with a small buffer takes */
#define LATE	  100000
#define MUCH	  (3u << 20)
#define MAX_CONN  256
#define DATAGRAMS 5

enum kind {
	ECHO = 'E', /* ESTABLISHED: what comes is sent back */
	CLOSE_WAIT = 'C', /* the client has closed; the server sends LATE after the failure */
	FIN_WAIT2 = 'F', /* the server has closed; the client sends LATE after the failure */
	FIN_WAIT1 = 'W', /* the same with PART unacknowledged bytes before the FIN */
	LAST_ACK = 'L', /* the client has closed, the server wrote PART and closed */
	CLOSING = 'X', /* both have closed at once, the server's PART is unacknowledged */
	TIME_WAIT = 'T', /* both have closed, the client has not got the last acknowledgement */
	ORPHAN = 'O', /* the server has closed wholly, the client has not yet */
	ENDED = 'N', /* both have closed, the server has not read the client's PART */
	UNACKED = 'K', /* the server wrote MUCH, which the client does not read */
	UNREAD = 'R', /* the client sent as much as goes in, which the server does not read */
	QUEUED = 'Q', /* not accepted yet; like ECHO */
	QUEUED_FIN = 'P', /* not accepted yet, and the client has closed; answers as CLOSE_WAIT */
	SYN_SENT = 'S', /* the client has not got the SYN-ACK */
	SYN_RECV =
		'V', /* the server has not got the client's acknowledgement; the client has data */
	SYN_RECV_MUTE = 'M', /* the same; the server speaks first */
};

static inline uint8_t byte_at(unsigned int id, bool up, uint64_t off)
{
	return (uint8_t)((off * 2654435761u >> 9) + id * 31 + (up ? 101 : 0));
}

static inline void fill(uint8_t *buf, unsigned int id, bool up, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(id, up, off + i);
}

static inline bool same(const uint8_t *buf, unsigned int id, bool up, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != byte_at(id, up, off + i))
			return false;
	return true;
}

static inline double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

#endif
