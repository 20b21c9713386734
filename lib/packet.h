/* SPDX-License-Identifier: MIT */
/*
 * IP and TCP packets: captured ones are taken apart (bytes from outside, so every length is
 * checked), bare segments are made. Apart from conn.c so that it can be fuzzed alone.
 */
#ifndef RRC_PACKET_H
#define RRC_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RRC_TCP_FIN 0x01
#define RRC_TCP_SYN 0x02
#define RRC_TCP_RST 0x04
#define RRC_TCP_PSH 0x08
#define RRC_TCP_ACK 0x10

/* Longest frame made here: Ethernet, IPv6, and either TCP with all options, or ICMP and the begin of
 * the packet that it is about. */
#define RRC_PACKET_BARE_MAX (14 + 40 + 20 + 40)

enum rrc_packet_opts {
	RRC_PKT_MSS = 1 << 0,
	RRC_PKT_WSCALE = 1 << 1,
	RRC_PKT_SACK_OK = 1 << 2,
	RRC_PKT_TS = 1 << 3,
};

/* A TCP packet taken apart. Addresses are in network byte order (IPv4 in the first 4 bytes, the
 * rest zero), all other numbers in host byte order. */
struct rrc_packet {
	uint16_t family; /* AF_INET or AF_INET6: what was on the wire */
	uint16_t sport, dport;
	uint8_t src[16], dst[16];
	uint32_t seq, ack;
	uint16_t win; /* as on the wire, not scaled */
	uint8_t flags; /* RRC_TCP_* */
	uint8_t opts; /* which of the following were there: enum rrc_packet_opts */
	uint8_t wscale;
	uint16_t mss;
	uint32_t tsval, tsecr;
	const uint8_t *data; /* payload, inside the parsed buffer */
	uint32_t len;
};

enum rrc_packet_result {
	RRC_PACKET_OK = 0,
	RRC_PACKET_NOT_TCP, /* another protocol, or a fragment */
	RRC_PACKET_BAD, /* lengths that contradict each other, or a wrong checksum */
};

/* Takes apart the bytes from the IP header on. With sum the TCP checksum is verified; a packet
 * that never left the machine carries the pseudo header's sum alone, which is accepted too. */
enum rrc_packet_result rrc_packet_parse(const void *buf, size_t len, bool sum,
					struct rrc_packet *pkt);

/* What rrc_packet_build puts into a frame. */
struct rrc_bare {
	uint16_t family; /* AF_INET or AF_INET6 */
	uint16_t sport, dport;
	uint8_t src[16], dst[16];
	uint8_t mac_src[6], mac_dst[6];
	uint32_t seq, ack;
	uint16_t win; /* as on the wire */
	uint8_t flags;
	bool ts;
	uint32_t tsval, tsecr;
	bool byte; /* with one byte of payload (0) */
	const void *data; /* or with these */
	size_t len;
	const uint8_t *opts; /* options in place of the timestamps: a multiple of 4 bytes */
	uint8_t opts_len; /* at most 40 */
};

/* Makes an Ethernet frame with checksums; returns its length. buf has RRC_PACKET_BARE_MAX bytes and
 * room for the data. */
size_t rrc_packet_build(const struct rrc_bare *bare, uint8_t *buf);

/* Makes the ICMP message that the packet dst -> src with bare->ack as its sequence number (and the
 * ports the other way round) found no way to src; it goes where the bare segment would go. */
size_t rrc_packet_build_unreachable(const struct rrc_bare *bare, uint8_t *buf);

/* Gives a whole UDP packet, whose payload is at `at`, its checksum. */
void rrc_packet_sum_udp(uint8_t *packet, size_t at);

/* The internet checksum's running sum over len bytes, to be folded by rrc_sum_fold. */
uint64_t rrc_sum_add(uint64_t sum, const void *data, size_t len);
uint16_t rrc_sum_fold(uint64_t sum);

#endif
